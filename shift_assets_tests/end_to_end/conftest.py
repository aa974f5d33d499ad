"""One small installation that most end-to-end laws share: made once, read by all, changed by none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shift_assets.simulate.writer import Summary, simulate
from shift_assets_tests.end_to_end.shops import FIRST_RUN_DAY, LAST_DAY, SIMULATION, Shop, new_shop


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the person who runs the tests reaches the shops, and none of theirs stays behind."""
    for name in list(os.environ):
        if name.startswith("SHIFT_") and name not in {"SHIFT_REQUIRE_BROWSER", "SHIFT_SCREENSHOTS"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("SHIFT_HOME", "set-by-commands")
    monkeypatch.delenv("SHIFT_HOME")


@pytest.fixture(scope="session")
def log(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    """The simulated log: thirty days of 200 users with planted shifts, some rows broken, repeated or late."""
    return simulate(SIMULATION, tmp_path_factory.mktemp("log"), workers=1)


@pytest.fixture(scope="session")
def shop(log: Summary, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """The installation after every stage of its last six days. Laws that change something take a copy."""
    shop = new_shop(tmp_path_factory.mktemp("shop") / "home", log.landing)
    shop.run(FIRST_RUN_DAY, LAST_DAY)
    return shop


@pytest.fixture
def copy(shop: Shop, tmp_path: Path) -> Shop:
    """The shared installation's content in a folder of the law's own."""
    return shop.copied(tmp_path / "home")
