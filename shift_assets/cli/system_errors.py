"""What the operating system refuses, as errors that a person can act on."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import Timeout

from shift_assets.errors import PermanentError, ShiftError, TransientError, UserError

_BUSY = {errno.EBUSY}
_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_WRONG_PATH = {errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}
_SQLITE = {
    sqlite3.SQLITE_BUSY: errno.EBUSY,
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
    sqlite3.SQLITE_PERM: errno.EACCES,
}


@contextmanager
def explain_system_errors(home: Path | None) -> Iterator[None]:
    """Raise what the system refuses inside as a ShiftError with path, need and remedy.

    A refusal without a path is put down to `home`. Other errors pass as they are.

    Raises:
        UserError: The path may not be read or written, or is no path of that kind.
        TransientError: Another process holds a lock.
        PermanentError: The disk is full.
    """
    try:
        yield
    except Timeout as error:
        raise TransientError(
            f"{error.lock_file}: another process holds this lock; call again when it has ended"
        ) from error
    except OSError as error:
        path = error.filename2 or error.filename or home
        if (explained := _explained(error.errno, path, error.strerror or str(error))) is None:
            raise
        raise explained from error
    except sqlite3.OperationalError as error:
        # The primary result code is the low byte of the extended one.
        number = _SQLITE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
        if (explained := _explained(number, home, str(error))) is None:
            raise
        raise explained from error


def _explained(number: int | None, path: object, text: str) -> ShiftError | None:
    place = path if path is not None else "a path"
    if number in _BUSY:
        return TransientError(f"{place}: another process is using it ({text}); call again when it has ended")
    if number in _FULL:
        return PermanentError(f"{place}: the disk is full ({text}); free some space there and call again")
    if number in _DENIED:
        return UserError(
            f"{place}: the system does not let this user read or write it ({text}); "
            "change its owner or mode (chown, chmod), or name another path"
        )
    if number in _WRONG_PATH:
        return UserError(f"{place}: cannot be used as a path here ({text}); name another one")
    return None
