"""Dagster's webserver and daemon on one installation: two processes that live and end together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.resources import as_file, files
from pathlib import Path

from shift_assets.errors import PermanentError

HOST = "127.0.0.1"
LOCATION = "shift_assets"
"""The code location's name in workspace.yaml."""
STOP_SECONDS = 8
"""A stop waits that long for work in progress; service managers and impatient people wait ten seconds."""
_CHECK_SECONDS = 0.5
_RETRY_SECONDS = 5


class UiError(PermanentError):
    """The UI could not start, or one of its processes ended by itself."""


def require_free(port: int) -> None:
    """Raises UiError where nothing can listen on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise UiError(f"port {port} of {HOST}: {reason}; name a free one: shift-assets ui --port PORT") from error


def serve(home: Path, port: int) -> None:
    """Run webserver and daemon until SIGINT, SIGTERM or SIGHUP, then end both with all that they started.

    Changed settings reach both: the daemon loads the definitions again every minute, the webserver on request.
    Raises UiError where one process ends by itself; the other is stopped first.
    """
    environment = {**os.environ, "SHIFT_HOME": str(home), "DAGSTER_HOME": str(home / "dagster")}
    programs = Path(sys.executable).parent
    with as_file(files("shift_assets") / "workspace.yaml") as workspace, _stop_signals() as stop:
        commands = {
            "dagster-webserver": ["-w", str(workspace), "-h", HOST, "-p", str(port)],
            "dagster-daemon": ["run", "-w", str(workspace)],
        }
        processes: dict[str, subprocess.Popen[bytes]] = {}
        try:
            for name, arguments in commands.items():
                # A group of its own: a signal reaches the code servers and runs that the process started, too.
                processes[name] = subprocess.Popen(  # noqa: S603
                    [programs / name, *arguments], env=environment, start_new_session=True
                )
            ended = _wait(processes, home, port, stop)
        finally:
            _end(processes.values())
    if ended:
        raise UiError(f"{ended} ended with exit code {processes[ended].returncode}; the other process was stopped")


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """An event that SIGINT, SIGTERM and SIGHUP set; a signal that the caller ignores (`nohup`) stays ignored."""
    stop = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(processes: Mapping[str, subprocess.Popen[bytes]], home: Path, port: int, stop: threading.Event) -> str | None:
    """The name of the process that ended by itself; None where a signal asked for the stop."""
    loaded = _written(home)
    while not stop.wait(_CHECK_SECONDS):
        for name, process in processes.items():
            if process.poll() is not None:
                return name
        if (written := _written(home)) != loaded:
            loaded = written
            threading.Thread(target=_reload, args=(port, stop), daemon=True).start()
    return None


def _written(home: Path) -> list[int]:
    """When the files that definitions are made of were written."""
    return [path.stat().st_mtime_ns for path in (home / "settings.yaml", home / "source.yaml") if path.exists()]


def _reload(port: int, stop: threading.Event) -> None:
    """Make the webserver load the definitions again; where that fails on a mistake in them, its pages show it."""
    from dagster_graphql import DagsterGraphQLClient, DagsterGraphQLClientError

    while not stop.is_set():
        with suppress(DagsterGraphQLClientError, OSError):  # it does not answer yet
            DagsterGraphQLClient(HOST, port_number=port).reload_repository_location(LOCATION)
            return
        stop.wait(_RETRY_SECONDS)


def _end(processes: Collection[subprocess.Popen[bytes]]) -> None:
    """Ask every group to end, and kill what is left of them after STOP_SECONDS."""
    for process in processes:
        _signal(process, signal.SIGTERM)
    until = time.monotonic() + STOP_SECONDS
    while any(_lives(process) for process in processes) and time.monotonic() < until:
        time.sleep(0.1)
    for process in processes:
        _signal(process, signal.SIGKILL)
        process.wait()


def _lives(process: subprocess.Popen[bytes]) -> bool:
    """Whether the group of `process` has a member."""
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
