"""Laws of the splice protocol: what it says of detectors whose quality is known beforehand."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from shift_assets.arrays import Float64Array
from shift_assets.evaluate.splice_metrics import DetectorMetrics, advantage, detector_metrics, flagged_shares
from shift_assets.evaluate.splices import (
    FOLDS,
    LEARNED,
    SCORES,
    DetectorScores,
    TooFewUsers,
    run_protocol,
    write_scores,
)
from shift_assets.interest.histories import Histories
from shift_assets.shift.learned.splices import UNSPLICED, Construction
from shift_assets_tests.shift.stationary_users import stationary_users

pytestmark = pytest.mark.slow

WANTED = (UNSPLICED, Construction("random"), Construction("random", 0.4), Construction("shuffled", 1.0))


@dataclass
class Truth:
    """Knows every history as it was, and is suspicious of any other from the first foreign day on."""

    original: Histories
    name: str = "truth"

    def score(self, histories: Histories) -> Float64Array:
        known = {(user, day): score for user, day, score in zip(*_day_scores(self.original), strict=True)}
        return np.array(
            [
                0.0 if known.get((user, day)) == score else 1.0
                for user, day, score in zip(*_day_scores(histories), strict=True)
            ]
        )


@dataclass
class Chance:
    name: str = "chance"

    def score(self, histories: Histories) -> Float64Array:
        return np.random.default_rng(len(histories.user_days.score)).random(len(histories.user_days.day))


@dataclass
class Mute:
    name: str = "mute"

    def score(self, histories: Histories) -> Float64Array:
        return np.full(len(histories.user_days.day), np.nan)


def _day_scores(histories: Histories) -> tuple[list, list, list]:
    user_days = histories.user_days
    scores = [
        tuple(zip(user_days.category[a:b], user_days.score[a:b], strict=True))
        for a, b in zip(user_days.score_start[:-1], user_days.score_start[1:], strict=True)
    ]
    return user_days.user.tolist(), user_days.day.tolist(), scores


@pytest.fixture(scope="module")
def log() -> Histories:
    return stationary_users(70, seed=4, tastes=40)


@pytest.fixture(scope="module")
def scored(log: Histories) -> list[DetectorScores]:
    detectors = {one.name: one for one in (Truth(log), Chance(), Mute())}
    return list(run_protocol(log, "north", detectors, seed=1, constructions=WANTED, training_splice_points=60))


@pytest.fixture(scope="module")
def found(scored: list[DetectorScores]) -> dict[tuple[str, str, float], DetectorMetrics]:
    rows = detector_metrics(scored, samples=60, seed=1)
    return {(row.detector, row.kind, row.kept): row for row in rows if row.active_days == 8}


def test_a_detector_that_sees_the_truth_is_perfect(found: dict) -> None:
    row = found["truth", "random", 0.0]
    assert row.auc.value == row.average_precision.value == row.recall_at_1_percent.value == 1.0
    assert row.auc.low == row.auc.high == 1.0


def test_random_and_missing_scores_have_an_auc_of_one_half(found: dict) -> None:
    assert 0.35 < found["chance", "random", 0.0].auc.value < 0.65
    assert found["mute", "random", 0.0].auc.value == 0.5
    assert found["mute", "random", 0.0].silent == 1.0
    assert found["mute", "random", 0.0].recall_at_5_percent.value == 0.0


def test_permuted_stationary_days_are_no_shift(found: dict) -> None:
    """Shuffled days of a stationary user are no shift: the learned detector cannot separate them from the original."""
    row = found[LEARNED, "shuffled", 1.0]
    assert row.auc.low < 0.5 < row.auc.high
    assert found[LEARNED, "random", 0.0].auc.value > 0.9


def test_figures_are_those_of_scikit_learn(scored: list[DetectorScores]) -> None:
    """Of the data as it is; ties included."""
    by = {(one.detector, one.construction): one for one in scored}
    whole, made = by["chance", UNSPLICED], by["chance", Construction("random")]
    for day in (1, 8):
        score = np.round(np.concatenate([whole.score[:, day - 1], made.score[:, day - 1]]), 1)
        label = np.repeat([0, 1], [len(whole.users), len(made.users)])
        rounded = [
            DetectorScores(
                **{
                    **{name: getattr(one, name) for name in DetectorScores.__slots__},
                    "score_of_day": np.round(one.score, 1),
                }
            )
            for one in (whole, made)
        ]
        (row,) = detector_metrics(rounded, samples=20, seed=1, days=[day])
        assert row.auc.value == pytest.approx(roc_auc_score(label, score))
        assert row.average_precision.value == pytest.approx(average_precision_score(label, score))
        assert row.auc.low <= row.auc.value <= row.auc.high


def test_the_score_of_a_history_only_grows(scored: list[DetectorScores]) -> None:
    for one in scored:
        if one.detector != "mute":
            assert (np.diff(one.score, axis=1)[one.has_day[:, 1:]] >= 0).all()


def test_advantage_is_the_difference_of_the_means(scored: list[DetectorScores], found: dict) -> None:
    """And has the interval of the difference, not of either."""
    gain = advantage(scored, "truth", "chance", samples=40, seed=1, day=8)
    expected = [
        found["truth", "random", kept].auc.value - found["chance", "random", kept].auc.value for kept in (0.0, 0.4)
    ]
    assert gain.value == pytest.approx(np.mean(expected))
    assert gain.low <= gain.value <= gain.high
    twin = [*scored, *(replace(one, detector="twin") for one in scored if one.detector == "chance")]
    assert advantage(twin, "twin", "chance", samples=40, seed=1, day=8) == pytest.approx((0.0, 0.0, 0.0))


@pytest.mark.parametrize("cases", [0, 1])
def test_what_cannot_be_measured_is_left_out(scored: list[DetectorScores], cases: int) -> None:
    """A construction without cases has no row and moves no mean; an only case that no resample drew, no interval."""
    few = [_first(one, cases) if one.construction == Construction("random", 0.4) else one for one in scored]
    for seed in range(8):
        rows = [row for row in detector_metrics(few, samples=1, seed=seed, days=[8]) if row.kept == 0.4]
        assert len(rows) == (4 if cases else 0)
        gain = advantage(few, "truth", "chance", samples=1, seed=seed, day=8)
        assert gain.value > 0.2
    assert np.isnan(advantage([], "truth", "chance", samples=1, seed=1, day=8).low)


def _first(one: DetectorScores, cases: int) -> DetectorScores:
    """Only the first cases."""
    columns = {
        name: getattr(one, name)[:cases]
        for name in ("users", "donors", "fold", "cut_day", "donor_distance", "score_of_day", "has_day")
    }
    return replace(one, **columns)


def test_flagged_shares_come_with_their_bound(scored: list[DetectorScores]) -> None:
    """n active days at threshold A: at most n / A."""
    renamed = [replace(one, detector="e_value") for one in scored if one.detector == "truth"]
    rows = {(row.kind, row.active_days): row for row in flagged_shares(renamed, samples=20, seed=1, thresholds=[2.0])}
    assert rows["unspliced", 1].share.value == 0.0
    assert rows["unspliced", 1].bound == 0.5
    assert rows["unspliced", 8].bound == 1.0


def test_scores_are_written_one_row_per_history_detector_and_day(scored: list[DetectorScores], tmp_path) -> None:  # type: ignore[no-untyped-def]
    """With the meaning of every column, so that others can score their own way."""
    target = tmp_path / "evaluation" / "shift_scores.parquet"
    write_scores(scored, target)
    rows = pq.read_table(target)
    assert rows.column_names == list(SCORES)
    assert rows.schema.field("score").metadata[b"meaning"].decode() == SCORES["score"][1]
    assert rows.num_rows == sum(int(one.has_day.sum()) for one in scored)
    learned = rows.filter(rows["detector"].to_numpy(zero_copy_only=False) == LEARNED)
    assert learned["score"].null_count == 0
    folds = dict(zip(rows["user_id"].to_pylist(), rows["fold"].to_pylist(), strict=True))
    for user, donor in zip(rows["user_id"].to_pylist(), rows["donor_id"].to_pylist(), strict=True):
        assert donor is None or folds[donor] == folds[user]
    assert set(folds.values()) == set(range(FOLDS))


def test_too_few_users_are_reported() -> None:
    with pytest.raises(TooFewUsers, match="users of segment north have 8 active days before a splice point"):
        list(run_protocol(stationary_users(3, seed=1), "north", {}, seed=1))
