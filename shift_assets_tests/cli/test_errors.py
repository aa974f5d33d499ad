"""Laws of failure: a person's mistake is one message, a defect of ours shows its traceback and the log."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from shift_assets.cli.logs import LOG_FILE
from shift_assets.cli.system_errors import explain_system_errors
from shift_assets.errors import PermanentError, ShiftError, TransientError, UserError
from shift_assets_tests.cli.conftest import Call
from shift_assets_tests.workspaces import FIRST_DAY, new_workspace

pytestmark = pytest.mark.slow

DIAGNOSE = "shift_assets.workspace.doctor.diagnose"
WITHOUT_OVERRIDE = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.getuid() == 0 else []
"""Starts a program for which file modes count, also where root calls it."""


def test_a_defect_of_ours_is_not_reported_as_the_users_mistake(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A NumPy broadcast error is a ValueError and still a defect: exit code 1, with its traceback and the log."""

    def broken(_: object) -> None:
        np.ones(2) + np.ones(3)

    monkeypatch.setattr(DIAGNOSE, broken)
    home = new_workspace(tmp_path / "home").settings.home
    result = call("doctor", "--home", home)
    assert (result.code, result.out) == (1, "")
    assert "Traceback" in result.err
    assert "could not be broadcast" in result.err
    assert "sorry" in result.err
    assert str(home / LOG_FILE) in result.err
    assert "could not be broadcast" in (home / LOG_FILE).read_text()


@pytest.mark.parametrize(
    ("error", "code"),
    [(UserError("write --to"), 2), (PermanentError("the gate is closed"), 1), (TransientError("try again"), 1)],
)
def test_exit_codes_distinguish_a_wrong_call_from_failed_work(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: ShiftError, code: int
) -> None:
    """One message each, without a traceback unless --debug asks for it; the log has the traceback in any case."""

    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr(DIAGNOSE, fail)
    home = new_workspace(tmp_path / "home").settings.home
    label = f"{'error' if code == 2 else 'failed'} {error}"
    result = call("doctor", "--home", home)
    assert (result.code, result.out, result.err.strip()) == (code, "", label)
    assert "Traceback" in (home / LOG_FILE).read_text()
    debugged = call("doctor", "--home", home, "--debug")
    assert debugged.code == code
    assert debugged.err.startswith("Traceback")
    assert debugged.err.strip().endswith(label)


def test_a_full_disk_is_one_sentence_with_a_remedy(tmp_path: Path) -> None:
    """Whatever writes: the system's refusal names the path or, where it names none, the home."""
    with (
        pytest.raises(PermanentError, match=rf"{tmp_path}: the disk is full .*free some space"),
        explain_system_errors(tmp_path),
        Path("/dev/full").open("wb", buffering=0) as full,
    ):
        full.write(b"x")


def test_a_path_through_a_file_is_the_users_mistake(call: Call, tmp_path: Path) -> None:
    """A home under a file cannot be made; no traceback says so."""
    (tmp_path / "file").touch()
    result = call("init", "--home", tmp_path / "file" / "home", "--source", "userbehavior")
    assert (result.code, result.out) == (2, "")
    assert f"{tmp_path}/file" in result.err
    assert "name another" in result.err
    assert "Traceback" not in result.err


@pytest.mark.skipif(os.getuid() == 0 and not shutil.which("setpriv"), reason="root may write everywhere")
def test_a_home_that_may_not_be_written_is_the_users_mistake(tmp_path: Path) -> None:
    """Permission denied: path, need and remedy, no traceback."""
    home = new_workspace(tmp_path / "home").settings.home
    (home / "lake").mkdir(exist_ok=True)
    for folder in (home, *(path for path in home.rglob("*") if path.is_dir())):
        folder.chmod(0o555)
    days = ("--from", str(FIRST_DAY), "--to", str(FIRST_DAY))
    done = subprocess.run(
        [*WITHOUT_OVERRIDE, sys.executable, "-m", "shift_assets", "run", "--home", home, *days],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "Traceback" not in done.stderr
    assert str(home) in done.stderr
    assert "chown, chmod" in done.stderr


def test_the_log_of_a_home_is_rotated_and_private(call: Call, tmp_path: Path) -> None:
    """Every command on a home logs to its file, which nobody else may read; a home that does not exist gets none."""
    home = new_workspace(tmp_path / "home").settings.home
    assert call("doctor", "--home", home).code in (0, 1)
    assert (home / LOG_FILE).exists()
    assert (home / LOG_FILE).parent.stat().st_mode & 0o077 == 0
    call("doctor", "--home", tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("command", [("doctor",), ("quarantine", "ls"), ("evaluate",)])
def test_verbosity_is_one_of_three(call: Call, tmp_path: Path, command: tuple[str, ...]) -> None:
    home = new_workspace(tmp_path / "home").settings.home
    result = call(*command, "--home", home, "--quiet", "--debug")
    assert result.code == 2
    assert "exclude each other" in result.err
