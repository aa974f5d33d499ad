"""Open a source file without trusting it.

Only regular files inside the landing folder are opened. A file is read to its end before any of its rows is used, so
that nothing of a damaged one is published.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from shift_assets.errors import TransientError, UserError

CHUNK_BYTES = 4 * 1024 * 1024

RATIO_CAP = 200
RATIO_FREE_BYTES = 50 * 1024 * 1024
"""Above this size a file may not have grown by more than RATIO_CAP: events compress 5 to 20 times, bombs 1000."""

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class UnreadableFileError(UserError):
    """A source file cannot be read as a whole; the message says why, without its content."""


class FileChangedError(TransientError):
    """A source file changed while it was read; it can be read again later."""


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """A verified file.

    Attributes:
        descriptor: Open file descriptor.
        sha256: Digest of the bytes on disk (compressed, if they are).
        compression: `gzip`, `zstd` or None.
        state: Size in bytes and time of the last change (ns) when it was opened.
    """

    descriptor: int
    sha256: str
    compression: str | None
    state: tuple[int, int]

    def chunks(self) -> Iterator[bytes]:
        """Yield the decompressed content from the start, in pieces of at most CHUNK_BYTES.

        Raises:
            FileChangedError: The file is no longer the one that was verified.
        """
        yield from _decompressed(self.descriptor, self.compression)
        self.check_unchanged()

    def check_unchanged(self) -> None:
        """Raise FileChangedError if the file is no longer the one that was verified."""
        if _file_state(self.descriptor) != self.state:
            raise FileChangedError("the file changed while it was read; run again when it is complete")


@contextmanager
def open_source_file(landing: Path, path: str) -> Iterator[OpenedFile]:
    """Open `landing / path` after reading it once to its end.

    Raises:
        UnreadableFileError: It is not a regular file, its compression is damaged, or it is a compression bomb.
    """
    with _open_descriptor(landing, path) as descriptor:
        state = _file_state(descriptor)
        head = os.pread(descriptor, 4, 0)
        compression = "gzip" if head.startswith(_GZIP) else "zstd" if head == _ZSTD else None
        if compression is not None:
            for _ in _decompressed(descriptor, compression):
                pass
        yield OpenedFile(descriptor, _digest(descriptor), compression, state)


def describe_unreadable(landing: Path, path: str) -> tuple[bytes, str]:
    """Return the first 64 KiB and the SHA-256 of a file's bytes; of no bytes if it cannot be opened."""
    try:
        with _open_descriptor(landing, path) as descriptor:
            return os.pread(descriptor, 64 * 1024, 0), _digest(descriptor)
    except (UnreadableFileError, OSError):
        return b"", hashlib.sha256().hexdigest()


@contextmanager
def _open_descriptor(landing: Path, path: str) -> Iterator[int]:
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


def open_handle(descriptor: int) -> BinaryIO:
    """Return a new handle at the start of the file: Arrow closes the handle that it reads from."""
    handle = os.fdopen(os.dup(descriptor), "rb")
    handle.seek(0)
    return handle


def _file_state(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns


def _digest(descriptor: int) -> str:
    digest = hashlib.sha256()
    with open_handle(descriptor) as handle:
        while chunk := handle.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _decompressed(descriptor: int, compression: str | None) -> Iterator[bytes]:
    """Yield the content in pieces; raise UnreadableFileError if it is damaged, truncated or a bomb."""
    with open_handle(descriptor) as handle:
        if compression is None:
            while piece := handle.read(CHUNK_BYTES):
                yield piece
            return
        stream = pa.CompressedInputStream(pa.PythonFile(handle, mode="r"), compression)
        produced_bytes = 0
        while piece := _next_piece(stream, compression):
            produced_bytes += len(piece)
            if produced_bytes > RATIO_FREE_BYTES and produced_bytes > RATIO_CAP * handle.tell():
                raise UnreadableFileError(
                    f"{compression} content grows more than {RATIO_CAP} times beyond {RATIO_FREE_BYTES >> 20} MiB"
                )
            yield piece


def _next_piece(stream: pa.CompressedInputStream, compression: str) -> bytes:
    try:
        return bytes(stream.read(CHUNK_BYTES))
    except OSError as error:
        raise UnreadableFileError(f"damaged {compression}: {error}") from error
