"""Laws of `shift-assets ui`: two real processes that start, stop and fail together."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from shift_assets.workspace.home import extend_calendar, open_workspace
from shift_assets_tests.workspaces import FIRST_DAY, new_workspace

pytestmark = pytest.mark.slow

START_SECONDS = 120
STOP_SECONDS = 10


@dataclass
class Ui:
    """A running `shift-assets ui`."""

    process: subprocess.Popen[bytes]
    address: str
    home: Path
    log: Path

    def wait_for_answer(self) -> None:
        until = time.monotonic() + START_SECONDS
        while True:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < until, self.log.read_text()
            with suppress(urllib.error.URLError, TimeoutError, ConnectionError):
                urllib.request.urlopen(f"{self.address}/server_info", timeout=5).close()  # noqa: S310 - our own address
                return
            time.sleep(0.5)

    def children(self) -> dict[str, int]:
        """The process ids of webserver and daemon, by name, once both are there."""
        until = time.monotonic() + START_SECONDS
        while True:
            found = {
                program: pid
                for pid, parent in parents().items()
                if parent == self.process.pid
                for program in ("dagster-webserver", "dagster-daemon")
                if program in command_of(pid)
            }
            if len(found) == 2:
                return found
            assert time.monotonic() < until, self.log.read_text()
            time.sleep(0.1)

    def last_partition(self) -> str:
        """The newest partition key of `clean_events` that the webserver knows."""
        query = '{ assetNodeOrError(assetKey: { path: ["clean_events"] }) { ... on AssetNode { partitionKeys } } }'
        request = urllib.request.Request(  # noqa: S310 - our own address
            f"{self.address}/graphql", json.dumps({"query": query}).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return str(json.load(answer)["data"]["assetNodeOrError"]["partitionKeys"][-1])

    def stop(self, number: signal.Signals) -> float:
        """Seconds from the signal to the end of the command."""
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(timeout=60)
        return time.monotonic() - began


def parents() -> dict[int, int]:
    """The parent of every living process."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                found[int(folder.name)] = int(parent)
    return found


def command_of(pid: int) -> str:
    with suppress(OSError):
        return (Path("/proc") / str(pid) / "cmdline").read_text().replace("\0", " ")
    return ""


def descendants(pid: int) -> set[int]:
    """Every living process below `pid`."""
    below = {pid}
    tree = parents()
    while more := {child for child, parent in tree.items() if parent in below} - below:
        below |= more
    return below - {pid}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _default_signals() -> None:
    """Signals as a shell gives them, whatever the process that runs the tests ignores or blocks."""
    numbers = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
    for number in numbers:
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def ui(tmp_path: Path) -> Iterator[Ui]:
    """The command on a small installation, started; nothing of it is left after the test."""
    home = new_workspace(tmp_path / "home").settings.home
    port, log = free_port(), tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "shift_assets", "ui", "--home", str(home), "--port", str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=_default_signals,  # noqa: PLW1509 - nothing else runs between fork and exec
        )
    yield Ui(process, f"http://127.0.0.1:{port}", home, log)
    for pid in {*descendants(process.pid), process.pid}:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def test_sigterm_ends_both_processes_and_their_code_servers(ui: Ui) -> None:
    """A service manager's stop leaves nothing behind, within its ten seconds, and counts as a clean end."""
    ui.wait_for_answer()
    ui.children()
    started = descendants(ui.process.pid)
    assert ui.stop(signal.SIGTERM) < STOP_SECONDS
    assert ui.process.returncode == 0, ui.log.read_text()
    assert started & parents().keys() == set()


def test_ctrl_c_while_it_starts_ends_both_processes(ui: Ui) -> None:
    """An impatient stop leaves nothing behind."""
    started = set(ui.children().values())
    assert ui.stop(signal.SIGINT) < STOP_SECONDS
    assert ui.process.returncode == 0, ui.log.read_text()
    assert started & parents().keys() == set()


def test_one_process_that_dies_stops_the_other(ui: Ui) -> None:
    """Exit code 1, and the last line says which process ended."""
    ui.wait_for_answer()
    children = ui.children()
    started = descendants(ui.process.pid)
    os.kill(children["dagster-daemon"], signal.SIGKILL)
    assert ui.process.wait(timeout=STOP_SECONDS) == 1
    assert "dagster-daemon ended with exit code -9" in ui.log.read_text().splitlines()[-1]
    assert started & parents().keys() == set()


def test_a_calendar_that_grows_reaches_the_pages_of_the_running_webserver(ui: Ui) -> None:
    """The partition of a day that joined the calendar can be seen without a restart."""
    ui.wait_for_answer()
    ui.children()
    platform, day = open_workspace(ui.home), FIRST_DAY + timedelta(days=10)
    assert ui.last_partition() == f"{day - timedelta(days=1)}|shard-1"
    extend_calendar(platform, FIRST_DAY, day, today=FIRST_DAY)
    until = time.monotonic() + START_SECONDS
    while ui.last_partition() != f"{day}|shard-1":
        assert time.monotonic() < until, ui.log.read_text()
        time.sleep(1)


def test_a_port_in_use_is_refused_at_once(tmp_path: Path) -> None:
    """One sentence, exit code 1, and no process is started."""
    home = new_workspace(tmp_path / "home").settings.home
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "shift_assets", "ui", "--home", str(home), "--port", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"port {port} of 127.0.0.1: address already in use" in done.stderr
    assert len(done.stderr.splitlines()) == 1
