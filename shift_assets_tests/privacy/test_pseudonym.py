from __future__ import annotations

import hashlib
import hmac
import logging
import stat
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from shift_assets.privacy.pseudonym import KEY_VARIABLE, load_key, pseudonym
from shift_assets.settings.config_file import ConfigError


@pytest.fixture(autouse=True)
def _no_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


def test_a_pseudonym_is_the_head_of_a_keyed_digest() -> None:
    """32 hex characters of HMAC-SHA256 over the UTF-8 of the id."""
    expected = hmac.new(b"k" * 32, "用户1".encode(), hashlib.sha256).hexdigest()[:32]
    assert pseudonym(b"k" * 32, "用户1") == expected


def test_one_name_in_two_spellings_is_one_user() -> None:
    """Composed and decomposed letters give the same pseudonym."""
    assert pseudonym(b"k" * 32, "é") == pseudonym(b"k" * 32, "e\u0301")


def test_the_key_is_made_once_and_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Later calls read the same key; only its owner may; the log names its path, never its value."""
    with caplog.at_level(logging.DEBUG):
        key = load_key(tmp_path / "privacy")
    assert load_key(tmp_path / "privacy") == key
    (path,) = (tmp_path / "privacy").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert str(path) in caplog.text
    assert key.hex() not in caplog.text


def test_processes_that_start_at_once_get_the_same_key(tmp_path: Path) -> None:
    """Whoever is first makes the key; nobody reads half of one."""
    with ProcessPoolExecutor(4, mp_context=get_context("fork")) as pool:
        keys = set(pool.map(load_key, [tmp_path / "privacy"] * 16))
    assert len(keys) == 1
    assert len(list((tmp_path / "privacy").iterdir())) == 1


def test_the_environment_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key from the environment is used, and nothing is written."""
    monkeypatch.setenv(KEY_VARIABLE, "ab" * 32)
    assert load_key(tmp_path / "privacy") == bytes.fromhex("ab" * 32)
    assert not (tmp_path / "privacy").exists()


@pytest.mark.parametrize("value", ["ab" * 31, "zz" * 32, "secret"])
def test_a_weak_key_is_refused_without_being_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """The error says what to write, not what was written."""
    monkeypatch.setenv(KEY_VARIABLE, value)
    with pytest.raises(ConfigError, match=r"at least 32|64 hex") as error:
        load_key(tmp_path)
    assert value not in str(error.value)
