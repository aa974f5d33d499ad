"""Delivered files: which there are, and how one is opened without trusting it.

Names come from strangers: they are matched against an allow-list and never used as paths of their own. Only
regular files inside a day folder are opened; what is not read is listed with the reason, never passed over.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

CHUNK_BYTES = 4 * 1024 * 1024
RATIO_CAP = 200
RATIO_FREE_BYTES = 50 * 1024 * 1024
"""Beyond so many bytes a file may not have grown by more than RATIO_CAP: events compress 5 to 20 times, bombs 1000."""
EVENTS_FOLDER = "events"

_NAME = re.compile(r"\w[\w.+=@,() -]{0,199}")
_IGNORED_NAMES = (
    (re.compile(r"[._].*", re.DOTALL), "names starting with _ or . are not deliveries"),
    (re.compile(r".*\.tmp", re.DOTALL), "temporary name: the file is still being written"),
    (re.compile(r".*\.labels\.parquet", re.DOTALL), "labels of a simulation, not events"),
)
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class UnreadableFileError(ValueError):
    """A delivered file cannot be read as a whole; the message says why, without its content."""


class FileChangedError(RuntimeError):
    """A delivered file changed while it was read; reading it again later helps."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """One delivered file: its path relative to the landing folder (with slashes), its folder's day, its bytes."""

    path: str
    folder_day: date
    size: int


@dataclass(frozen=True, slots=True)
class Ignored:
    """An entry of the landing folder that is not read, and why."""

    path: str
    why: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What lies in the day folders: files to read, sorted by folder day then name, and everything else."""

    files: list[Delivered]
    ignored: list[Ignored]


def delivered_files(landing: Path, first_folder: date, last_folder: date) -> list[Delivered]:
    """The files to read in the event folders `first_folder` to `last_folder`, sorted by folder day then name."""
    return list_landing(landing, first_folder, last_folder).files


def list_landing(landing: Path, first_folder: date = date.min, last_folder: date = date.max) -> Listing:
    """Every entry of the event folders `first_folder` to `last_folder`, and entries that are no day folder."""
    listing = Listing([], [])
    for entry in _entries(landing / EVENTS_FOLDER):
        relative = f"{EVENTS_FOLDER}/{_printable(entry.name)}"
        day = folder_day(entry.name)
        if day is None or not entry.is_dir(follow_symlinks=False):
            listing.ignored.append(Ignored(relative, "not a folder named day=YYYY-MM-DD"))
        elif first_folder <= day <= last_folder:
            for file in _entries(Path(entry.path)):
                _list_file(listing, file, f"{relative}/{_printable(file.name)}", day)
    listing.files.sort(key=lambda file: (file.folder_day, file.path))
    return listing


def table_files(landing: Path, table: str) -> list[Delivered]:
    """The files to read of a delivered table (`items` or `users`), sorted by name; they belong to no day."""
    listing = Listing([], [])
    for file in _entries(landing / table):
        _list_file(listing, file, f"{table}/{_printable(file.name)}", date.min)
    return sorted(listing.files, key=lambda file: file.path)


def folder_day(name: str) -> date | None:
    """The day of a folder `day=YYYY-MM-DD`; None for any other name, even one that means a day."""
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


def _list_file(listing: Listing, entry: os.DirEntry[str], relative: str, day: date) -> None:
    why = next((why for pattern, why in _IGNORED_NAMES if pattern.fullmatch(entry.name)), None)
    if why is None and not _NAME.fullmatch(entry.name):
        why = "name has characters that file names here may not have"
    if why is None and not entry.is_file(follow_symlinks=False):
        why = "not a regular file"
    if why is None:
        listing.files.append(Delivered(relative, day, entry.stat(follow_symlinks=False).st_size))
    else:
        listing.ignored.append(Ignored(relative, why))


def _printable(name: str) -> str:
    """`name` for logs: escaped where it has control characters or bytes that are no UTF-8."""
    return name if name.isprintable() else ascii(name)[1:-1]


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """A verified file: its descriptor, the SHA-256 of its delivered bytes, its compression.

    `state`: size in bytes and time of the last change (ns) when it was opened.
    """

    descriptor: int
    sha256: str
    compression: str | None
    state: tuple[int, int]

    def chunks(self) -> Iterator[bytes]:
        """The decompressed content from the start, in pieces of at most CHUNK_BYTES.

        Raises FileChangedError where the file is no longer the one that was verified.
        """
        yield from _decompressed(self.descriptor, self.compression)
        self.check_unchanged()

    def check_unchanged(self) -> None:
        """Raise FileChangedError where the file is no longer the one that was verified."""
        if _state(self.descriptor) != self.state:
            raise FileChangedError("the file changed while it was read; it is read again when it is stable")


@contextmanager
def open_delivered(landing: Path, path: str) -> Iterator[OpenedFile]:
    """Open `landing / path`, read it once to the end, and hand it over: nothing of a damaged file is published.

    Raises UnreadableFileError for anything but a regular file, and for a damaged or bomb-like compressed one.
    """
    with _opened(landing, path) as descriptor:
        state = _state(descriptor)
        head = os.pread(descriptor, 4, 0)
        compression = "gzip" if head.startswith(_GZIP) else "zstd" if head == _ZSTD else None
        if compression is not None:
            for _ in _decompressed(descriptor, compression):
                pass
        yield OpenedFile(descriptor, _digest(descriptor), compression, state)


def describe_unreadable(landing: Path, path: str) -> tuple[bytes, str]:
    """First 64 KiB and SHA-256 of a file's delivered bytes; of no bytes where it cannot even be opened."""
    try:
        with _opened(landing, path) as descriptor:
            return os.pread(descriptor, 64 * 1024, 0), _digest(descriptor)
    except (UnreadableFileError, OSError):
        return b"", hashlib.sha256().hexdigest()


@contextmanager
def _opened(landing: Path, path: str) -> Iterator[int]:
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise UnreadableFileError("not a path inside the landing folder")
    try:
        descriptor = os.open(landing / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise UnreadableFileError(f"cannot be opened: {error.strerror}") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise UnreadableFileError("not a regular file")
        yield descriptor
    finally:
        os.close(descriptor)


def handle_of(descriptor: int) -> BinaryIO:
    """A handle of its own at the start of the file: Arrow closes what it reads from."""
    handle = os.fdopen(os.dup(descriptor), "rb")
    handle.seek(0)
    return handle


def _state(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns


def _digest(descriptor: int) -> str:
    digest = hashlib.sha256()
    with handle_of(descriptor) as handle:
        while chunk := handle.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _decompressed(descriptor: int, compression: str | None) -> Iterator[bytes]:
    """The content in pieces; raises UnreadableFileError where it is damaged, cut short or a bomb."""
    with handle_of(descriptor) as handle:
        if compression is None:
            while piece := handle.read(CHUNK_BYTES):
                yield piece
            return
        stream = pa.CompressedInputStream(pa.PythonFile(handle, mode="r"), compression)
        given = 0
        while piece := _next_piece(stream, compression):
            given += len(piece)
            if given > RATIO_FREE_BYTES and given > RATIO_CAP * handle.tell():
                raise UnreadableFileError(
                    f"{compression} content grows more than {RATIO_CAP} times beyond {RATIO_FREE_BYTES >> 20} MiB"
                )
            yield piece


def _next_piece(stream: pa.CompressedInputStream, compression: str) -> bytes:
    try:
        return bytes(stream.read(CHUNK_BYTES))
    except OSError as error:
        raise UnreadableFileError(f"damaged {compression}: {error}") from error
