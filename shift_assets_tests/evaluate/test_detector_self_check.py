"""Laws of the weekly self-check."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest

from shift_assets.contracts.shift import DETECTOR_SELF_CHECK
from shift_assets.errors import PermanentError
from shift_assets.evaluate.detector_self_check import Limits, SelfCheck, self_check
from shift_assets.settings.root import SelfCheckSettings, Settings
from shift_assets.shift.learned.selection import detector_selection
from shift_assets.shift.learned.shift_model import load, save
from shift_assets_tests.shift.stationary_users import as_series, stationary_users

pytestmark = pytest.mark.slow

SETTINGS = Settings(self_check=SelfCheckSettings(maximum_users=40))
LIMITS = Limits(starts=(8, 12), posterior_windows=(8,), bootstrap_samples=30)
DAY = date(1970, 1, 1) + timedelta(days=20_119)


@pytest.fixture(scope="module")
def series() -> pa.Table:
    return as_series(stationary_users(45, seed=6, tastes=30))


@pytest.fixture(scope="module")
def checked(series: pa.Table) -> SelfCheck:
    return self_check(series, DAY, "north", SETTINGS, LIMITS)


def test_the_rows_keep_their_contract_and_their_key(checked: SelfCheck) -> None:
    """One row per detector, setting, donor, mixture and active day; all shares lie within their interval."""
    rows = DETECTOR_SELF_CHECK.conform(checked.rows).to_pylist()
    keys = [tuple(row[name] for name in DETECTOR_SELF_CHECK.key) for row in rows]
    assert len(keys) == len(set(keys)) == 4 * 4 * 8
    for row in rows:
        assert row["n_users"] == 40
        for name in ("auc", "recall_at_5_percent", "placebo_false_share"):
            assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]
        assert (row["flagged_bound"] is not None) == (row["detector"] == "e_value")


def test_one_e_value_and_one_posterior_are_chosen(checked: SelfCheck) -> None:
    chosen = {
        (row["detector"], row["starts"], row["posterior_window"]) for row in checked.rows.to_pylist() if row["chosen"]
    }
    assert sorted(detector for detector, *_ in chosen if detector != "learned") == ["e_value", "posterior"]


def test_the_same_log_gives_the_same_check(series: pa.Table, checked: SelfCheck) -> None:
    again = self_check(
        series.take(pa.array(np.random.default_rng(0).permutation(series.num_rows))), DAY, "north", SETTINGS, LIMITS
    )
    assert again.rows.equals(checked.rows)


def test_the_trained_detector_is_loaded_by_path_and_digest(checked: SelfCheck, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """By the path and digest in the rows; a changed file is refused."""
    assert checked.model is not None
    rows = checked.with_model_path(*save(checked.model, tmp_path, "north", DAY))
    found = detector_selection(rows, SETTINGS.evidence)
    assert found.model_path is not None
    assert found.model_digest is not None
    assert load(tmp_path, found.model_path, found.model_digest).to_bytes() == checked.model.to_bytes()
    (tmp_path / found.model_path / "model.safetensors").write_bytes(b"other")
    with pytest.raises(PermanentError, match="was changed after it was saved"):
        load(tmp_path, found.model_path, found.model_digest)


def test_too_few_users_are_noted_in_the_rows() -> None:
    few = self_check(as_series(stationary_users(10, seed=6)), DAY, "north", SETTINGS, LIMITS)
    (row,) = DETECTOR_SELF_CHECK.conform(few.rows).to_pylist()
    assert (row["detector"], row["chosen"], few.model) == ("none", False, None)
    assert row["note"].startswith("10 users have 8 active days on both sides")
    assert detector_selection(few.rows, SETTINGS.evidence).starts == SETTINGS.evidence.starts


def test_users_of_one_taste_have_no_other_profile() -> None:
    """Nobody lies far enough from anybody: the nearest profile has no rows, and nothing in the others is NaN."""
    alike = self_check(as_series(stationary_users(24, seed=6, tastes=1)), DAY, "north", *_few(24))
    kinds = set(alike.rows["kind"].to_pylist())
    assert kinds == {"random", "same_tier"}
    assert not any(value != value for row in alike.rows.to_pylist() for value in row.values())  # noqa: PLR0124


def test_no_detector_is_stored_that_was_not_evaluated() -> None:
    """18 users are enough for training, their halves are not: no row could hold the model's path."""
    few = self_check(as_series(stationary_users(18, seed=6, tastes=30)), DAY, "north", *_few(18))
    assert "learned" not in few.rows["detector"].to_pylist()
    assert few.model is None


def _few(users: int) -> tuple[Settings, Limits]:
    check = SETTINGS.self_check.model_copy(update={"maximum_users": users})
    return SETTINGS.model_copy(update={"self_check": check}), LIMITS._replace(minimum_users=12)
