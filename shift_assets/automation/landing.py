"""What stands in the landing folder, and what changed since the last look. No Dagster here.

A file counts once it is stable: its size and time of change are the same on two ticks, or the folder holds a
`_SUCCESS`. A day folder's fingerprint is a digest of its files' names and contents, so that the same content
delivered twice asks for nothing, and changed content always asks. The wall clock plays no part.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from shift_assets.ingest.files import Delivered, list_landing

Fingerprints = dict[date, str]
_SUCCESS = "_SUCCESS"
_HASHED_WHOLE_BYTES = 256 * 1024**2
"""Larger files are told apart by size, first and last quarter of this: a tick has to end within its minute."""


@dataclass(frozen=True)
class Seen:
    """The sensor's cursor: stamps of the files of the last look, their content digests, and what was asked for."""

    stamps: dict[str, list[int]] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    requested: Fingerprints = field(default_factory=dict)

    @classmethod
    def from_cursor(cls, cursor: str | None) -> Seen:
        """The cursor's content; an unreadable cursor counts as none, because run keys still prevent double runs."""
        try:
            content = json.loads(cursor or "{}")
            return cls(
                {str(name): list(map(int, stamp)) for name, stamp in content.get("stamps", {}).items()},
                {str(name): str(digest) for name, digest in content.get("digests", {}).items()},
                {date.fromisoformat(day): str(found) for day, found in content.get("requested", {}).items()},
            )
        except (ValueError, TypeError, AttributeError):
            return cls()

    def to_cursor(self) -> str:
        return json.dumps(
            {
                "stamps": self.stamps,
                "digests": self.digests,
                "requested": {day.isoformat(): found for day, found in self.requested.items()},
            },
            sort_keys=True,
        )


@dataclass(frozen=True)
class Scan:
    """One look at the landing folder."""

    stable: Fingerprints
    waiting: list[date]
    malformed: list[str]
    newest: date
    stamps: dict[str, list[int]]
    digests: dict[str, str]

    def seen(self, before: Seen, asked: Fingerprints) -> Seen:
        return Seen(self.stamps, self.digests, {**before.requested, **asked})


def scan(landing: Path, before: Seen, bytes_at_most: int) -> Scan:
    """Looks at every day folder; hashes at most `bytes_at_most` of files that are new or changed, oldest day first."""
    listing = list_landing(landing)
    stamps: dict[str, list[int]] = {}
    digests: dict[str, str] = {}
    stable: Fingerprints = {}
    waiting: list[date] = []
    folders: dict[date, list[Delivered]] = {}
    for file in listing.files:
        folders.setdefault(file.folder_day, []).append(file)
    for day, files in sorted(folders.items()):
        complete = (landing / "events" / f"day={day.isoformat()}" / _SUCCESS).exists()
        ready = True
        for file in files:
            status = (landing / file.path).stat()
            stamp = [status.st_size, status.st_mtime_ns]
            stamps[file.path] = stamp
            unchanged = before.stamps.get(file.path) == stamp
            if unchanged and file.path in before.digests:
                digests[file.path] = before.digests[file.path]
            elif (unchanged or complete) and bytes_at_most > 0:
                bytes_at_most -= min(status.st_size, _HASHED_WHOLE_BYTES)
                digests[file.path] = _digest(landing / file.path, status.st_size)
            else:
                ready = False
        if ready:
            names = "".join(f"{file.path}={digests[file.path]};" for file in files)
            stable[day] = hashlib.sha256(names.encode()).hexdigest()[:16]
        else:
            waiting.append(day)
    newest = max(folders, default=date.min)
    return Scan(stable, waiting, [f"{entry.path} ({entry.why})" for entry in listing.ignored], newest, stamps, digests)


def _digest(path: Path, size: int) -> str:
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as content:
        if size <= _HASHED_WHOLE_BYTES:
            while block := content.read(1024**2):
                digest.update(block)
        else:
            digest.update(content.read(_HASHED_WHOLE_BYTES // 4))
            content.seek(-_HASHED_WHOLE_BYTES // 4, 2)
            digest.update(content.read())
    return digest.hexdigest()[:16]
