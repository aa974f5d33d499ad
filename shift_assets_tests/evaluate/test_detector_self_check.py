"""Laws of the weekly self-check: what it says of the threshold in service, in words and in rows."""

from __future__ import annotations

import re
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from shift_assets.contracts.shift import DETECTOR_SELF_CHECK
from shift_assets.evaluate.detector_self_check import ACTIVE_DAYS, CHECKED_CONSTRUCTIONS, SelfCheck, self_check
from shift_assets.settings.root import AlertSettings, SelfCheckSettings, Settings
from shift_assets.shift.alerts.detector_selection import detector_selection
from shift_assets.shift.learned.shift_model import MINIMUM_USERS, load, save
from shift_assets_tests.shift.stationary_users import as_series, stationary_users

pytestmark = pytest.mark.slow

SETTINGS = Settings(self_check=SelfCheckSettings(maximum_users=64))
DAY = date(1970, 1, 1) + timedelta(days=20_119)


@pytest.fixture(scope="module")
def series() -> pa.Table:
    return as_series(stationary_users(68, seed=6, tastes=30, days=(18, 40)))


@pytest.fixture(scope="module")
def checked(series: pa.Table) -> SelfCheck:
    return self_check(series, DAY, "north", SETTINGS)


def note_of(checked: SelfCheck) -> str:
    """The one sentence of a check."""
    (note,) = {row["note"] for row in checked.rows.to_pylist() if row["note"] is not None}
    return str(note)


def test_the_rows_keep_their_contract_and_their_key(checked: SelfCheck) -> None:
    """One row per detector, donor, mixture and active day; of the known splice point, after the last day only."""
    rows = DETECTOR_SELF_CHECK.conform(checked.rows).to_pylist()
    keys = [tuple(row[name] for name in DETECTOR_SELF_CHECK.key) for row in rows]
    assert len(keys) == len(set(keys))
    shifts = len(CHECKED_CONSTRUCTIONS) - 1
    assert {(row["detector"], row["kind"], row["kept"]) for row in rows} == {
        (detector, one.kind, one.kept)
        for detector in ("e_value", "posterior", "learned", "known_cut")
        for one in CHECKED_CONSTRUCTIONS[1:]
    }
    assert len(keys) == 4 * shifts * ACTIVE_DAYS
    for row in rows:
        assert row["n_users"] == 64
        with_threshold = row["detector"] in ("e_value", "learned")
        for name in ("auc", "recall_at_5_percent", *(("flagged_share", "found_share") if with_threshold else ())):
            assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]
        assert (row["flagged_share"] is not None) == (row["found_share"] is not None) == with_threshold


def test_one_detector_is_chosen(checked: SelfCheck) -> None:
    """The learned one where there are enough users, and it is there to be stored."""
    assert {row["detector"] for row in checked.rows.to_pylist() if row["chosen"]} == {"learned"}
    assert checked.model is not None
    assert {row["detector"] for row in checked.rows.to_pylist() if row["note"]} == {"learned"}


def test_more_is_found_and_flagged_the_longer_one_waits(checked: SelfCheck) -> None:
    """At one threshold; and a longer wait never finds less."""
    for detector in ("e_value", "learned"):
        rows = [
            row
            for row in checked.rows.sort_by("active_days").to_pylist()
            if (row["detector"], row["kind"], row["kept"]) == (detector, "random", 0.0)
        ]
        for name in ("found_share", "flagged_share"):
            assert (np.diff([row[name] for row in rows]) >= 0).all()
        assert rows[-1]["found_share"] > 0.3 > rows[-1]["flagged_share"]


def test_the_known_splice_point_bounds_what_is_found(checked: SelfCheck) -> None:
    """No detector separates replaced users better than one that knows the day, but by chance."""
    auc = {
        row["detector"]: row["auc"]
        for row in checked.rows.to_pylist()
        if (row["kind"], row["kept"], row["active_days"]) == ("random", 0.0, ACTIVE_DAYS)
    }
    assert auc["known_cut"] > 0.9
    assert auc["known_cut"] >= max(auc.values()) - 0.03


def test_the_sentence_says_what_the_threshold_finds_and_flags(checked: SelfCheck) -> None:
    """In the words of a reader, with the figures of the rows and their intervals."""
    (row,) = (
        row
        for row in checked.rows.to_pylist()
        if row["chosen"] and (row["kind"], row["kept"], row["active_days"]) == ("random", 0.0, ACTIVE_DAYS)
    )
    found, flagged = (
        f"{row[name]:.1%} [{row[f'{name}_low']:.1%}, {row[f'{name}_high']:.1%}]"
        for name in ("found_share", "flagged_share")
    )
    note = note_of(checked)
    assert note.startswith(f"Of users replaced by another, found within 8 active days at this threshold: {found}; ")
    assert f"of unchanged users flagged: {flagged}." in note
    assert re.search(r"With the splice point known, as many flagged would find \d+%\.$", note)


def test_the_sentence_is_in_the_language_of_the_alerts(series: pa.Table, checked: SelfCheck) -> None:
    chinese = SETTINGS.model_copy(update={"alerts": AlertSettings(language="zh")})
    note = note_of(self_check(series, DAY, "north", chinese))
    assert note.startswith("若用户被换成另一人，在 8 个活跃日内以此阈值发现：")
    assert re.findall(r"[\d.]+%", note) == re.findall(r"[\d.]+%", note_of(checked))


def test_users_without_a_taste_of_their_own_are_warned_of() -> None:
    """Where everybody has the same taste: the sentence says that nobody can be found, and what would help."""
    alike = self_check(as_series(stationary_users(70, seed=6, tastes=1, days=(18, 30))), DAY, "north", SETTINGS)
    assert "can hardly be distinguished from an unchanged one" in note_of(alike)
    assert "categories: {from: cooccurrence}" in note_of(alike)
    rows = alike.rows.to_pylist()
    assert not any(value != value for row in rows for value in row.values())  # noqa: PLR0124
    chosen = [row for row in rows if row["chosen"] and row["active_days"] == ACTIVE_DAYS]
    assert all(row["flagged_share_low"] <= SETTINGS.alerts.flagged_share for row in chosen)


def test_users_with_a_taste_of_their_own_are_not_warned_of(checked: SelfCheck) -> None:
    assert "hardly" not in note_of(checked)


def test_the_same_log_gives_the_same_check(series: pa.Table, checked: SelfCheck) -> None:
    """In any order of its rows."""
    order = np.random.default_rng(0).permutation(series.num_rows)
    again = self_check(series.take(pa.array(order)), DAY, "north", SETTINGS)
    assert again.rows.equals(checked.rows)
    assert again.model is not None
    assert checked.model is not None
    assert again.model.to_bytes() == checked.model.to_bytes()


def test_the_chosen_detector_is_loaded_by_the_rows(checked: SelfCheck, tmp_path: Path) -> None:
    """By the path and digest in the rows of the learned detector, with what its threshold finds and flags."""
    assert checked.model is not None
    rows = checked.with_model_path(*save(checked.model, tmp_path, "north", DAY))
    assert {(row["detector"] == "learned") == (row["model_path"] is not None) for row in rows.to_pylist()} == {True}
    chosen = detector_selection(rows, SETTINGS.evidence)
    assert chosen.model_path is not None
    assert chosen.model_digest is not None
    assert chosen.found_share is not None
    assert chosen.flagged_share is not None
    assert chosen.found_share > chosen.flagged_share
    assert load(tmp_path, chosen.model_path, chosen.model_digest).to_bytes() == checked.model.to_bytes()


def test_too_few_users_are_noted_in_the_rows() -> None:
    few = self_check(as_series(stationary_users(10, seed=6)), DAY, "north", SETTINGS)
    (row,) = DETECTOR_SELF_CHECK.conform(few.rows).to_pylist()
    assert (row["detector"], row["chosen"], few.model) == ("none", False, None)
    assert row["note"].startswith("10 users have 4 active days before and 8 after")
    assert detector_selection(few.rows, SETTINGS.evidence).starts == SETTINGS.evidence.starts


def test_no_detector_alerts_that_was_not_evaluated() -> None:
    """Enough users to fit one, but not in each half of them: the e-value alerts, and the sentence is about it."""
    few = self_check(as_series(stationary_users(MINIMUM_USERS + 10, seed=6, tastes=30)), DAY, "north", SETTINGS)
    assert "learned" not in few.rows["detector"].to_pylist()
    assert few.model is None
    chosen = [row for row in few.rows.to_pylist() if row["chosen"]]
    assert {row["detector"] for row in chosen} == {"e_value"}
    assert note_of(few).startswith("Of users replaced by another")
    assert detector_selection(few.rows, SETTINGS.evidence).ranking == "posterior"
