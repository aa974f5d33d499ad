"""Logs of a command: on the console as much as the caller asks for, and always in a file of the home.

Library code logs through `logging.getLogger(__name__)`; handlers are set up here only.
"""

from __future__ import annotations

import logging
import sys
from enum import IntEnum
from logging.handlers import RotatingFileHandler
from pathlib import Path

from shift_assets.cli import render

PACKAGE = logging.getLogger("shift_assets")
LOG_FILE = Path("logs") / "shift-assets.log"
_MAXIMUM_BYTES, _OLD_FILES = 5 * 1024**2, 4


class Verbosity(IntEnum):
    """The lowest level of log records that the console shows."""

    QUIET = logging.ERROR
    NORMAL = logging.WARNING
    VERBOSE = logging.INFO
    DEBUG = logging.DEBUG


class _ConsoleHandler(logging.Handler):
    """Prints records on standard error, above the spinner."""

    def emit(self, record: logging.LogRecord) -> None:
        if not getattr(record, "printed", False):
            render.print_note(self.format(record))


class _LogFile(RotatingFileHandler):
    """The rotated file; a full disk or a removed folder must not fail the command that logs."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name that logging calls
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


class _Session:
    """How this command logs."""

    verbosity = Verbosity.NORMAL
    console: _ConsoleHandler | None = None
    file: _LogFile | None = None


def start(verbosity: Verbosity = Verbosity.NORMAL) -> None:
    """Log to the console only, from `verbosity` on; ends what an earlier command set up."""
    for handler in (_Session.console, _Session.file):
        if handler is not None:
            PACKAGE.removeHandler(handler)
            handler.close()
    _Session.console, _Session.file = _ConsoleHandler(), None
    PACKAGE.addHandler(_Session.console)
    set_verbosity(verbosity)


def set_verbosity(verbosity: Verbosity) -> None:
    """Show records from `verbosity` on; the file holds INFO and above, and all of them where DEBUG is shown."""
    _Session.verbosity = verbosity
    render.show_progress(verbosity != Verbosity.QUIET)
    PACKAGE.setLevel(min(verbosity, Verbosity.VERBOSE))
    if _Session.console is not None:
        debug = verbosity == Verbosity.DEBUG
        _Session.console.setLevel(verbosity)
        _Session.console.setFormatter(logging.Formatter("%(name)s: %(message)s" if debug else "%(message)s"))


def log_to(home: Path) -> None:
    """Log to the file of the installation at `home` as well, where there is one."""
    if _Session.file is not None or not (home / "source.yaml").exists():
        return
    path = home / LOG_FILE
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)  # tracebacks can hold values of users
        _Session.file = _LogFile(path, maxBytes=_MAXIMUM_BYTES, backupCount=_OLD_FILES, encoding="utf-8")
    except OSError as error:
        PACKAGE.warning("no log is written: %s: %s", path, error.strerror or error)
        return
    _Session.file.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S%z")
    )
    PACKAGE.addHandler(_Session.file)


def verbosity() -> Verbosity:
    """What the console shows."""
    return _Session.verbosity


def log_file() -> Path | None:
    """The file that is logged to; None before a home is known."""
    return Path(_Session.file.baseFilename) if _Session.file is not None else None
