"""Laws of the splice protocol: what it says of detectors whose quality is known beforehand."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from shift_assets.arrays import Float64Array
from shift_assets.evaluate import splices
from shift_assets.evaluate.splice_metrics import (
    DetectorMetrics,
    detector_metrics,
    flagged_shares,
    recall_where_flagged,
    shares_over,
)
from shift_assets.evaluate.splices import (
    FOLDS,
    KNOWN_CUT,
    LEARNED,
    SCORES,
    Alerting,
    DetectorScores,
    TooFewUsers,
    run_protocol,
    write_scores,
)
from shift_assets.interest.histories import Histories
from shift_assets.settings.root import EvidenceSettings
from shift_assets.shift.learned import shift_model
from shift_assets.shift.learned.splices import UNSPLICED, Construction
from shift_assets_tests.shift.stationary_users import stationary_users

pytestmark = pytest.mark.slow

WANTED = (UNSPLICED, Construction("random"), Construction("random", 0.4), Construction("shuffled", 1.0))
ALERTING = Alerting(EvidenceSettings(), flagged_share=0.05)


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
    return stationary_users(90, seed=4, tastes=40)


@pytest.fixture(scope="module")
def scored(log: Histories) -> list[DetectorScores]:
    detectors = {one.name: one for one in (Truth(log), Chance(), Mute())}
    return list(
        run_protocol(
            log, "north", detectors, seed=1, alerting=ALERTING, constructions=WANTED, training_splice_points=200
        )
    )


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
        if one.detector not in ("mute", KNOWN_CUT):
            assert (np.diff(one.score, axis=1)[one.has_day[:, 1:]] >= 0).all()


@pytest.mark.parametrize("cases", [0, 1])
def test_what_cannot_be_measured_is_left_out(scored: list[DetectorScores], cases: int) -> None:
    """A construction without cases has no row and moves no mean; an only case that no resample drew, no interval."""
    few = [_first(one, cases) if one.construction == Construction("random", 0.4) else one for one in scored]
    for seed in range(8):
        rows = [row for row in detector_metrics(few, samples=1, seed=seed, days=[8]) if row.kept == 0.4]
        assert len(rows) == (5 if cases else 0)


def _first(one: DetectorScores, cases: int) -> DetectorScores:
    """Only the first cases."""
    columns = {
        name: getattr(one, name)[:cases]
        for name in ("users", "donors", "fold", "cut_day", "donor_distance", "score_of_day", "has_day", "threshold")
    }
    return replace(one, **columns)


def test_flagged_shares_come_with_their_bound(scored: list[DetectorScores]) -> None:
    """n active days at threshold A: at most n / A."""
    renamed = [replace(one, detector="e_value") for one in scored if one.detector == "truth"]
    rows = {(row.kind, row.active_days): row for row in flagged_shares(renamed, samples=20, seed=1, thresholds=[2.0])}
    assert rows["unspliced", 1].share.value == 0.0
    assert rows["unspliced", 1].bound == 0.5
    assert rows["unspliced", 8].bound == 1.0


def test_shares_over_a_threshold_grow_with_the_days(scored: list[DetectorScores]) -> None:
    """The truth flags every replaced user from its first day on and no unchanged one; other detectors are left out."""
    found = {
        (construction, day): share for construction, day, share in shares_over(scored, "truth", 1.0, samples=20, seed=1)
    }
    assert set(found) == {(construction, day) for construction in WANTED for day in range(1, 9)}
    assert {found[UNSPLICED, day].value for day in range(1, 9)} == {0.0}
    assert found[Construction("random"), 8] == (1.0, 1.0, 1.0)
    partial = [found[Construction("random", 0.4), day].value for day in range(1, 9)]
    assert (np.diff(partial) >= 0).all()
    assert 0 < partial[0] < partial[-1]
    assert shares_over(scored, "nobody", 1.0, samples=20, seed=1) == []


def test_recall_where_as_many_are_flagged() -> None:
    """Above the quantile of the unchanged; missing scores are left out."""
    whole = np.append(np.arange(10.0), np.nan)
    spliced = np.array([5.0, 8.5, 9.5, 10.5, np.nan])
    auc, recall = recall_where_flagged(whole, spliced, 0.1)
    assert recall == 0.75
    assert auc == pytest.approx((5.5 + 9 + 10 + 10) / 40)
    assert recall_where_flagged(whole, spliced, 0.0)[1] == 0.5


def test_nothing_separates_better_than_the_known_splice_point(found: dict) -> None:
    bound = found[KNOWN_CUT, "random", 0.0].auc.value
    assert bound > 0.95
    assert bound >= found[LEARNED, "random", 0.0].auc.value - 0.02


def test_the_learned_detector_alerts_at_its_own_threshold(scored: list[DetectorScores]) -> None:
    """Few unchanged users reach that of the model which was fitted without them."""
    shares = {
        construction: share.value
        for construction, day, share in shares_over(scored, LEARNED, None, samples=20, seed=1)
        if day == 8
    }
    assert shares[UNSPLICED] <= ALERTING.flagged_share
    assert shares[Construction("random")] > 0.4


def test_no_fold_is_scored_by_a_model_fitted_on_it(log: Histories, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted_on: list[set[str]] = []

    def recorded(histories: Histories, *arguments, **options):  # type: ignore[no-untyped-def]
        fitted_on.append(set(histories.users.to_pylist()))
        return shift_model.fit(histories, *arguments, **options)

    monkeypatch.setattr(splices, "fit", recorded)
    scored = run_protocol(
        log, "north", {}, seed=1, alerting=ALERTING, constructions=(UNSPLICED,), training_splice_points=60
    )
    learned = next(one for one in scored if one.detector == LEARNED)
    assert len(fitted_on) == FOLDS
    for fold, users in enumerate(fitted_on):
        mine = set(np.array(learned.users.to_pylist())[learned.fold == fold])
        assert mine
        assert not mine & users


def test_scores_are_written_one_row_per_history_detector_and_day(scored: list[DetectorScores], tmp_path) -> None:  # type: ignore[no-untyped-def]
    """With the meaning of every column, so that others can score their own way."""
    target = tmp_path / "evaluation" / "shift_scores.parquet"
    write_scores(scored, target)
    rows = pq.read_table(target)
    assert rows.column_names == list(SCORES)
    assert rows.schema.field("score").metadata[b"meaning"].decode() == SCORES["score"][1]
    assert rows.num_rows == sum(int(one.has_day.sum()) for one in scored)
    detector, day = (rows[name].to_numpy(zero_copy_only=False) for name in ("detector", "active_days"))
    assert rows.filter(detector == LEARNED)["score"].null_count == 0
    bound = detector == KNOWN_CUT
    assert rows.filter(bound & (day == 8))["score"].null_count == 0
    assert rows.filter(bound & (day < 8))["score"].null_count == int((bound & (day < 8)).sum()) > 0
    folds = dict(zip(rows["user_id"].to_pylist(), rows["fold"].to_pylist(), strict=True))
    for user, donor in zip(rows["user_id"].to_pylist(), rows["donor_id"].to_pylist(), strict=True):
        assert donor is None or folds[donor] == folds[user]
    assert set(folds.values()) == set(range(FOLDS))


def test_too_few_users_are_reported() -> None:
    with pytest.raises(TooFewUsers, match="users of segment north have 8 active days before a splice point"):
        list(run_protocol(stationary_users(3, seed=1), "north", {}, seed=1, alerting=ALERTING))
