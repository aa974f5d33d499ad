"""List the source files of a landing folder: which are read, and why the others are not."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path

EVENTS_FOLDER = "events"

_NAME = re.compile(r"\w[\w.+=@,() -]{0,199}")

_IGNORED_NAMES = (
    (re.compile(r"[._].*", re.DOTALL), "names starting with _ or . are not deliveries"),
    (re.compile(r".*\.tmp", re.DOTALL), "temporary name: the file is still being written"),
    (re.compile(r".*\.labels\.parquet", re.DOTALL), "labels of a simulation, not events"),
)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A source file: its path relative to the landing folder (with slashes), its folder's day, its size in bytes."""

    path: str
    folder_day: date
    size: int


@dataclass(frozen=True, slots=True)
class IgnoredEntry:
    """An entry of the landing folder that is not read, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class LandingListing:
    """Content of the day folders: files to read, sorted by folder day then name, and all other entries."""

    files: list[SourceFile]
    ignored: list[IgnoredEntry]


def list_source_files(landing: Path, first_folder: date, last_folder: date) -> list[SourceFile]:
    """Return the files to read in the event folders of a closed range of days, sorted by folder day then name."""
    return list_landing(landing, first_folder, last_folder).files


def list_landing(landing: Path, first_folder: date = date.min, last_folder: date = date.max) -> LandingListing:
    """Return every entry of the event folders of a closed range of days, and entries that are no day folder."""
    listing = LandingListing([], [])
    for entry in _entries(landing / EVENTS_FOLDER):
        relative = f"{EVENTS_FOLDER}/{_printable(entry.name)}"
        day = folder_day(entry.name)
        if day is None or not entry.is_dir(follow_symlinks=False):
            listing.ignored.append(IgnoredEntry(relative, "not a folder named day=YYYY-MM-DD"))
        elif first_folder <= day <= last_folder:
            for file in _entries(Path(entry.path)):
                _list_file(listing, file, f"{relative}/{_printable(file.name)}", day)
    listing.files.sort(key=lambda file: (file.folder_day, file.path))
    return listing


def list_table_files(landing: Path, table: str) -> list[SourceFile]:
    """Return the files of a table (`items` or `users`), sorted by name; they belong to no day."""
    listing = LandingListing([], [])
    for file in _entries(landing / table):
        _list_file(listing, file, f"{table}/{_printable(file.name)}", date.min)
    return sorted(listing.files, key=lambda file: file.path)


def folder_day(name: str) -> date | None:
    """Return the day of a folder named `day=YYYY-MM-DD`; None for any other name.

    >>> folder_day("day=2026-01-31"), folder_day("day=20260131")
    (datetime.date(2026, 1, 31), None)
    """
    key, _, text = name.partition("=")
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if key == "day" and day.isoformat() == text else None


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _list_file(listing: LandingListing, entry: os.DirEntry[str], relative: str, day: date) -> None:
    reason = next((reason for pattern, reason in _IGNORED_NAMES if pattern.fullmatch(entry.name)), None)
    if reason is None and not _NAME.fullmatch(entry.name):
        reason = "name has characters that file names here may not have"
    if reason is None and not entry.is_file(follow_symlinks=False):
        reason = "not a regular file"
    if reason is None:
        listing.files.append(SourceFile(relative, day, entry.stat(follow_symlinks=False).st_size))
    else:
        listing.ignored.append(IgnoredEntry(relative, reason))


def _printable(name: str) -> str:
    """Return a name for logs, escaped if it has control characters or bytes that are not UTF-8."""
    return name if name.isprintable() else ascii(name)[1:-1]
