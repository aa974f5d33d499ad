"""What is in the landing folder, what changed since the last tick, and which days that concerns. No Dagster here.

A file counts once it is stable: its size and time of change are the same on two ticks, or the folder holds a
`_SUCCESS`. A day folder's fingerprint is a digest of its files' names and contents, so that the same content
landed twice requests nothing, and changed content always requests a run. The wall clock plays no part.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from shift_assets.contracts.cleaning import DELIVERIES
from shift_assets.ingest.readers.source_files import EVENTS_FOLDER, SourceFile, list_landing
from shift_assets.storage.lake import Lake

_SUCCESS = "_SUCCESS"
FULL_HASH_MAX_BYTES = 256 * 1024**2
"""Larger files are compared by size, time of change, and first and last quarter of this many bytes: a tick has to end
within its minute. Such a file requests a run when it lands again, even unchanged; no change is ever missed."""
DAYS_PER_RUN = 31
"""A long backlog is worked off in runs of a month, which end before `max_runtime_seconds` of dagster.yaml."""


@dataclass(frozen=True)
class RequestedFolder:
    """What was asked for a day folder: its content, the look (names, sizes, times) it had, how often it changed."""

    fingerprint: str
    stat_digest: str
    change_count: int = 0


@dataclass(frozen=True)
class FileStamp:
    """A file of a folder whose present content was not requested: its stamp, and its digest once it is stable."""

    size: int
    changed_ns: int
    digest: str | None = None


@dataclass(frozen=True)
class LandingCursor:
    """The sensor's cursor. It grows by one short entry per day folder: a folder's files are forgotten once asked."""

    files: Mapping[str, FileStamp] = field(default_factory=dict)
    requested: Mapping[date, RequestedFolder] = field(default_factory=dict)
    again: frozenset[date] = frozenset()
    """Folders to be asked for once more, though they did not change: the categories of their events did."""

    @classmethod
    def from_json(cls, cursor: str | None) -> LandingCursor:
        """The cursor's content; an unreadable one counts as none, because run keys and the lake prevent double runs."""
        try:
            content = json.loads(cursor or "{}")
            return cls(
                {str(n): FileStamp(int(s), int(t), d and str(d)) for n, (s, t, d) in content.get("files", {}).items()},
                {
                    date.fromisoformat(day): RequestedFolder(str(fingerprint), str(stat_digest), int(change_count))
                    for day, (fingerprint, stat_digest, change_count) in content.get("asked", {}).items()
                },
                frozenset(date.fromisoformat(day) for day in content.get("again", [])),
            )
        except (ValueError, TypeError, AttributeError):
            return cls()

    def to_json(self) -> str:
        files = {name: [file.size, file.changed_ns, file.digest] for name, file in self.files.items()}
        requested = {
            day.isoformat(): [it.fingerprint, it.stat_digest, it.change_count] for day, it in self.requested.items()
        }
        again = sorted(day.isoformat() for day in self.again)
        return json.dumps({"files": files, "asked": requested, "again": again}, sort_keys=True)


@dataclass(frozen=True)
class Folder:
    """A stable day folder. `digests` by file; empty where the folder is unchanged since it was last requested."""

    fingerprint: str
    stat_digest: str
    digests: Mapping[str, str]


@dataclass(frozen=True)
class Scan:
    """The landing folder as one tick finds it."""

    stable: Mapping[date, Folder]
    unstable: list[date]
    ignored: list[str]
    files: Mapping[str, FileStamp]

    def changed(self, before: LandingCursor) -> list[date]:
        """Stable folders whose content was not asked for, or has to be asked for again, oldest first."""
        return [
            day
            for day, folder in sorted(self.stable.items())
            if day not in before.requested
            or day in before.again
            or before.requested[day].fingerprint != folder.fingerprint
        ]

    def removed(self, before: LandingCursor) -> list[date]:
        """Folders that were asked for once and are gone."""
        return sorted(before.requested.keys() - self.stable.keys() - set(self.unstable))

    def next_cursor(self, before: LandingCursor, requested: Collection[date]) -> LandingCursor:
        """The next cursor, when runs for the folders `requested` are under way or not needed."""
        known = dict(before.requested)
        for day in requested:
            change_count = known[day].change_count + 1 if day in known else 0
            known[day] = RequestedFolder(self.stable[day].fingerprint, self.stable[day].stat_digest, change_count)
        for day, folder in self.stable.items():
            if day in known and known[day].fingerprint == folder.fingerprint:
                known[day] = RequestedFolder(folder.fingerprint, folder.stat_digest, known[day].change_count)
        settled = {
            _folder_name(day)
            for day, folder in self.stable.items()
            if day in known and known[day].fingerprint == folder.fingerprint
        }
        keep = {path: file for path, file in self.files.items() if _folder_of(path) not in settled}
        return LandingCursor(keep, known, before.again.difference(requested))


def scan(landing: Path, before: LandingCursor, bytes_at_most: int) -> Scan:
    """Scan every day folder; hash at most `bytes_at_most` of new or changed files, oldest day first."""
    listing = list_landing(landing)
    ignored = [f"{entry.path} ({entry.reason})" for entry in listing.ignored if Path(entry.path).name != _SUCCESS]
    files: dict[str, FileStamp] = {}
    stable: dict[date, Folder] = {}
    unstable: list[date] = []
    folders: dict[date, list[SourceFile]] = {}
    for file in listing.files:
        folders.setdefault(file.folder_day, []).append(file)
    for day, delivered in sorted(folders.items()):
        complete = (landing / _folder_name(day) / _SUCCESS).exists()
        found: dict[str, FileStamp] = {}
        try:
            for file in delivered:
                status = (landing / file.path).stat()
                found[file.path] = FileStamp(status.st_size, status.st_mtime_ns)
            stat_digest = _short("".join(f"{path} {file.size} {file.changed_ns};" for path, file in found.items()))
            requested = before.requested.get(day)
            if requested is not None and requested.stat_digest == stat_digest:
                stable[day] = Folder(requested.fingerprint, stat_digest, {})
                continue
            for path, now in found.items():
                earlier = before.files.get(path, FileStamp(-1, -1))
                unchanged = (earlier.size, earlier.changed_ns) == (now.size, now.changed_ns)
                if unchanged and earlier.digest:
                    found[path] = earlier
                elif (unchanged or complete) and bytes_at_most > 0:
                    bytes_at_most -= min(now.size, FULL_HASH_MAX_BYTES)
                    found[path] = FileStamp(now.size, now.changed_ns, _digest(landing / path, now))
        except OSError as error:
            ignored.append(f"{_folder_name(day)} ({error.strerror or error}: {error.filename})")
            unstable.append(day)
            continue
        files.update(found)
        digests = {path: file.digest for path, file in found.items() if file.digest is not None}
        if len(digests) == len(found):
            stable[day] = Folder(_short("".join(f"{path}={d};" for path, d in digests.items())), stat_digest, digests)
        else:
            unstable.append(day)
    return Scan(stable, unstable, ignored, files)


def ingested_folders(lake: Lake, folders: Mapping[date, Folder], lateness_days: int) -> set[date]:
    """The folders of which every row was cleaned already, content for content: by a run that no sensor asked for.

    The deliveries table says how many rows of which content of a file fell to which partition.
    """
    if not folders:
        return set()
    first = min(folders) - timedelta(days=lateness_days)
    rows = lake.read(
        DELIVERIES,
        first_day=first,
        last_day=max(folders),
        columns=["source_file", "file_sha256", "file_rows", "rows"],
    ).to_pylist()
    left: Counter[tuple[str, str]] = Counter()
    for row in rows:
        left[row["source_file"], row["file_sha256"]] -= row["rows"]
    for file in {(row["source_file"], row["file_sha256"], row["file_rows"]) for row in rows}:
        left[file[0], file[1]] += file[2]
    contents: dict[str, set[str]] = {}
    for path, digest in left:
        contents.setdefault(_folder_of(path), set()).add(f"{path}={digest}")
    return {
        day
        for day, folder in folders.items()
        if all(left.get(item, 1) == 0 for item in folder.digests.items())
        and contents.get(_folder_name(day), set()) == {f"{p}={d}" for p, d in folder.digests.items()}
    }


@dataclass(frozen=True)
class Span:
    """A range of days to compute in one run, and the day folders that asked for it."""

    first: date
    last: date
    folders: tuple[date, ...]


def spans(
    changed: Iterable[date],
    *,
    newest: date,
    lateness_days: int,
    start: date,
    covered: set[date],
    removed: set[date],
    replayed: bool = False,
) -> list[Span]:
    """The ranges that changed folders concern, oldest first; ranges that touch are one, long ones are cut.

    A folder may hold events of the `lateness_days` before it. Within that distance of `newest` the range goes on to
    `newest`, because the state chain follows; an older folder's own days are recomputed alone. Days before a range
    that no run covered (`covered`) belong to it, because the state needs its yesterday. A folder that was `removed`
    keeps its clean events: days up to it are not computed again from what is no longer there. Where the days are
    `replayed`, the range goes on to `newest` from every folder.
    """
    late = timedelta(days=lateness_days)
    merged: list[Span] = []
    for folder in sorted(changed):
        last = newest if replayed or newest - folder <= late else folder
        first = max([start, folder - late, *(day + timedelta(days=1) for day in removed if day < folder)])
        if merged and first <= merged[-1].last + timedelta(days=1):
            before = merged[-1]
            merged[-1] = Span(before.first, max(before.last, last), (*before.folders, folder))
            continue
        while first > start and first - timedelta(days=1) not in covered:
            first -= timedelta(days=1)
            if merged and first <= merged[-1].last + timedelta(days=1):
                first = merged[-1].last + timedelta(days=1)
                break
        merged.append(Span(first, last, (folder,)))
    return [piece for span in merged for piece in _limited(span)]


def _limited(span: Span) -> Iterable[Span]:
    first = span.first
    while first <= span.last:
        last = min(first + timedelta(days=DAYS_PER_RUN - 1), span.last)
        yield Span(first, last, span.folders)
        first = last + timedelta(days=1)


def _digest(path: Path, file: FileStamp) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as content:
        if file.size <= FULL_HASH_MAX_BYTES:
            while block := content.read(1024**2):
                digest.update(block)
            return digest.hexdigest()
        digest.update(content.read(FULL_HASH_MAX_BYTES // 4))
        content.seek(-FULL_HASH_MAX_BYTES // 4, 2)
        digest.update(content.read())
    return f"{file.size}-{file.changed_ns}-{digest.hexdigest()[:16]}"


def _folder_name(day: date) -> str:
    return f"{EVENTS_FOLDER}/day={day.isoformat()}"


def _folder_of(path: str) -> str:
    return path.rpartition("/")[0]


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
