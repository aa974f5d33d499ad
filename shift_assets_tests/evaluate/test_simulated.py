"""Every rule by which alerts are scored against planted shifts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from shift_assets.arrays import CategoryCodes, Float64Array
from shift_assets.contracts.cleaning import BEHAVIORS
from shift_assets.evaluate.opened_alerts import Alerts, alerts_from_scores, alerts_from_table
from shift_assets.evaluate.simulated import Rate, ShiftScore, Truth, pool, score_alerts, truth_of
from shift_assets.evaluate.threshold_sweep import (
    best_threshold,
    pool_points,
    recall_at,
    share_over_threshold,
    sweep,
    thresholds_of,
)
from shift_assets.interest.histories import Histories, histories
from shift_assets.interest.user_days import UserDays
from shift_assets.shift.baselines.split_gain import SplitGain
from shift_assets.simulate.interest_series import simulated_series
from shift_assets.simulate.simulation import PlantedShares, Simulation

FIRST = date(2026, 1, 1)
DAYS = 150
ZERO = (FIRST - date(1970, 1, 1)).days
START = 80
"""First day of every planted change, days after FIRST."""

Simulated = tuple[Histories, Truth, pa.Table, Float64Array]
"""A simulated log, the truth behind it, its labels, and the scores of a detector."""


def log_of(active: Mapping[str, Sequence[int]], category: Mapping[str, Sequence[int]] | None = None) -> Histories:
    """Users active on these days after FIRST, with one event a day, in category 0 by default."""
    day = np.concatenate([np.asarray(days, np.int64) for days in active.values()]) + ZERO
    counts = np.zeros((len(day), len(BEHAVIORS)), np.int32)
    counts[:, 0] = 1
    met = np.concatenate([(category or {}).get(user, [0] * len(days)) for user, days in active.items()])
    return Histories(
        pa.array(list(active)),
        CategoryCodes(pa.array(["c0", "c1", "c2", "c3"])),
        UserDays(
            start=np.concatenate([[0], np.cumsum([len(days) for days in active.values()])]),
            day=day,
            score_start=np.arange(len(day) + 1),
            category=met.astype(np.int64),
            score=np.ones(len(day)),
            counts=counts,
        ),
    )


def labels_of(kinds: Mapping[str, str], promotions: Sequence[int] = ()) -> pa.Table:
    rows: list[tuple[str | None, str, int, list[str]]] = [
        (user, kind, START, ["c1", "c2"]) for user, kind in kinds.items() if kind != "none"
    ]
    rows += [(None, "promotion", day, ["c3"]) for day in promotions]
    return pa.Table.from_pylist(
        [
            {"user_id": user, "kind": kind, "start_day": FIRST + timedelta(days=day), "to_categories": to}
            for user, kind, day, to in rows
        ]
    )


def alerts_of(*alerts: tuple[int, int], onset: int = START, rising: Sequence[str] = (), kind: str = "switch") -> Alerts:
    """Alerts (user, day after FIRST), otherwise equal."""
    user, day = np.array(alerts, np.int64).reshape(-1, 2).T
    n = len(alerts)
    return Alerts(user, day + ZERO, np.full(n, onset + ZERO), [rising] * n, [kind] * n)


def score_of(
    kinds: Mapping[str, str], alerts: Alerts, active: Sequence[int] = range(0, DAYS, 2), promotions: Sequence[int] = ()
) -> ShiftScore:
    log = log_of(dict.fromkeys(kinds, active))
    return score_alerts(alerts, truth_for(kinds, log, promotions), log)


def truth_for(kinds: Mapping[str, str], log: Histories, promotions: Sequence[int] = ()) -> Truth:
    labels = labels_of(kinds, promotions) if set(kinds.values()) != {"none"} or promotions else labels_of({"x": "gift"})
    return truth_of(labels, log, FIRST, FIRST + timedelta(days=DAYS - 1))


def true_false_late(score: ShiftScore) -> tuple[int, int, int]:
    """True, false and late alerts."""
    true = int(score.precision.some)
    return true, int(score.precision.of) - true, score.late


@pytest.mark.parametrize(("kind", "last"), [("abrupt", 30), ("partial", 30), ("gradual", 42), ("seasonal_return", 58)])
def test_a_shift_is_found_from_its_first_day_until_its_kinds_last(kind: str, last: int) -> None:
    """Before it an alert is false; after it, late, which is neither true nor false."""
    assert true_false_late(score_of({"a": kind}, alerts_of((0, START - 1)))) == (0, 1, 0)
    assert true_false_late(score_of({"a": kind}, alerts_of((0, START)))) == (1, 0, 0)
    assert true_false_late(score_of({"a": kind}, alerts_of((0, START + last)))) == (1, 0, 0)
    assert true_false_late(score_of({"a": kind}, alerts_of((0, START + last + 1)))) == (0, 0, 1)


def test_a_shift_counts_once_and_what_follows_is_late() -> None:
    assert true_false_late(score_of({"a": "gradual"}, alerts_of((0, 120), (0, 82), (0, 100)))) == (1, 0, 2)


def test_alerts_within_14_days_of_the_previous_one_are_one_alert() -> None:
    """Also in a chain, and in any order; another user's alert is another alert."""
    assert true_false_late(score_of({"a": "none"}, alerts_of((0, 84), (0, 70), (0, 98)))) == (0, 1, 0)
    assert true_false_late(score_of({"a": "none"}, alerts_of((0, 70), (0, 85)))) == (0, 2, 0)
    assert true_false_late(score_of({"a": "none", "b": "none"}, alerts_of((0, 70), (1, 71)))) == (0, 2, 0)


def test_alerts_of_the_first_60_days_are_ignored() -> None:
    assert true_false_late(score_of({"a": "none"}, alerts_of((0, 59)))) == (0, 0, 0)
    assert true_false_late(score_of({"a": "none"}, alerts_of((0, 60)))) == (0, 1, 0)


@pytest.mark.parametrize("kind", ["none", "gift", "volume", "churn", "surge", "fade"])
def test_an_alert_without_a_shift_is_false_and_counted_by_kind(kind: str) -> None:
    score = score_of({"a": kind, "b": "none"}, alerts_of((0, 90)))
    assert true_false_late(score) == (0, 1, 0)
    assert score.false_by_kind[kind].some == 1
    assert score.false_by_kind[kind].of == (1 + (kind == "none")) * (DAYS - 60)


@pytest.mark.parametrize(("planted", "kind"), [("surge", "surge"), ("fade", "fade"), ("churn", "churn_risk")])
def test_an_alert_of_the_planted_kind_is_not_false(planted: str, kind: str) -> None:
    assert true_false_late(score_of({"a": planted}, alerts_of((0, 90), kind=kind))) == (0, 0, 1)
    assert true_false_late(score_of({"a": planted}, alerts_of((0, 79), kind=kind))) == (0, 1, 0)
    assert true_false_late(score_of({"a": "none"}, alerts_of((0, 90), kind=kind))) == (0, 1, 0)


def test_false_alerts_are_per_user_day_and_per_active_day() -> None:
    score = score_of({"a": "none", "b": "none", "c": "abrupt"}, alerts_of((0, 90), (1, 100)), promotions=[30, 100])
    assert score.false_user_days == Rate(2, 3 * 90)
    assert score.false_active_days == Rate(2, 3 * 45)
    assert score.false_on_promotions == Rate(1, 3)
    assert score.false_user_days.per_thousand == pytest.approx(2000 / 270)


@pytest.mark.parametrize(("before", "after", "detectable"), [(8, 5, 1), (7, 5, 0), (8, 4, 0)])
def test_a_shift_is_detectable_with_eight_active_days_before_and_five_after(
    before: int, after: int, detectable: int
) -> None:
    active = [*range(before), *range(START, START + after), 140]
    score = score_of({"a": "abrupt"}, alerts_of(), active)
    assert score.recall == Rate(0, 1)
    assert score.recall_detectable == Rate(0, detectable)
    assert score.recall_by_kind == {"abrupt": Rate(0, detectable)}


def test_recall_counts_planted_users_who_never_came() -> None:
    log = log_of({"a": range(0, DAYS, 2)})
    truth = truth_of(labels_of({"a": "abrupt", "never": "partial"}), log, FIRST, FIRST + timedelta(days=DAYS - 1))
    score = score_alerts(alerts_of((0, 85)), truth, log)
    assert score.recall == Rate(1, 2)
    assert score.f1 == 1.0


def test_delay_and_onset_error_are_counted_in_days_and_active_days() -> None:
    """Active every second day: an alert ten days late comes on the sixth active day of the shift."""
    score = score_of({"a": "abrupt"}, alerts_of((0, 90), onset=START + 6))
    assert score.delay_days.tolist() == [10]
    assert score.delay_active_days.tolist() == [6]
    assert score.onset_error.tolist() == [3]
    assert score.onset_right == Rate(0, 1)
    assert score_of({"a": "abrupt"}, alerts_of((0, 90), onset=START - 4)).onset_right == Rate(1, 1)


@pytest.mark.parametrize(
    ("rising", "first", "overlap"),
    [(["c1", "c2", "c3"], 1, 1.0), (["c3", "c2", "c0", "c1"], 0, 0.5), ([], 0, 0.0), (["c2"], 1, 0.5)],
)
def test_risen_categories_are_right_when_the_planted_ones_lead(rising: list[str], first: int, overlap: float) -> None:
    score = score_of({"a": "abrupt"}, alerts_of((0, 90), rising=rising))
    assert score.first_risen == Rate(first, 1)
    assert score.risen_overlap.tolist() == [overlap]


def test_scores_become_one_alert_per_episode_with_its_onset() -> None:
    """The user leaves category 0 for 1 (mostly) and 2 on day 90; days above it 14 days apart are one alert."""
    active = list(range(0, 120, 2))
    met = [0] * 45 + [1, 1, 2] * 5
    log = log_of({"a": active, "b": active}, {"a": met})
    scores = np.full(120, np.nan)
    scores[[50, 57, 59]] = 3.0
    scores[60 + 5] = 2.9
    alerts = alerts_from_scores(log, scores, 3.0)
    assert alerts.user.tolist() == [0]
    assert alerts.day.tolist() == [ZERO + 100]
    assert alerts.onset_day.tolist() == [ZERO + 90]
    assert alerts.rising == [["c1", "c2"]]
    assert len(alerts_from_scores(log, scores, 2.9)) == 2


def test_alerts_are_taken_when_they_open() -> None:
    log = log_of({"a": range(100), "b": range(100)})
    moved = [{"category": "c1", "share_before": 0.1, "share_after": 0.6}]
    day, onset = FIRST + timedelta(days=90), FIRST + timedelta(days=85)
    row = {"user_id": "b", "day": day, "onset_day": onset, "rising": moved, "kind": "switch"}
    alerts = alerts_from_table(
        pa.Table.from_pylist([row | {"status": status} for status in ("opened", "continued", "closed")]), log
    )
    assert (alerts.user.tolist(), alerts.day.tolist(), alerts.onset_day.tolist()) == ([1], [ZERO + 90], [ZERO + 85])
    assert (alerts.rising, alerts.kind) == ([["c1"]], ["switch"])


@pytest.fixture(scope="module")
def simulated() -> Simulated:
    simulation = Simulation(users=400, days=120, seed=8, planted=PlantedShares(abrupt=0.15, gradual=0.1))
    made = simulated_series(simulation)
    log = histories(made.series)
    truth = truth_of(made.labels, log, simulation.first_day, simulation.last_day)
    return log, truth, made.labels, SplitGain().score(log)


def test_the_truth_is_what_the_labels_say(simulated: Simulated) -> None:
    log, truth, labels, _ = simulated
    rows = {row["user_id"]: row for row in labels.to_pylist()}
    for user, name in enumerate(log.users.to_pylist()):
        row = rows.get(name)
        assert truth.kind[user] == (row["kind"] if row else "none")
        if row:
            assert date(1970, 1, 1) + timedelta(days=int(truth.start[user])) == row["start_day"]
            assert bool(truth.is_shift[user]) == (row["kind"] in ("abrupt", "partial", "gradual", "seasonal_return"))


def test_every_point_of_a_sweep_is_the_score_at_its_threshold(
    simulated: Simulated,
) -> None:
    log, truth, _, scores = simulated
    thresholds = thresholds_of(scores, 12)
    points = sweep(log, scores, truth, thresholds)
    assert [point.threshold for point in points] == thresholds.tolist() == sorted(set(thresholds.tolist()))
    for point in points:
        score = score_alerts(alerts_from_scores(log, scores, point.threshold), truth, log)
        assert point.precision == score.precision
        assert point.recall == score.recall_detectable
        assert point.false_user_days == score.false_user_days
        assert point.f1 == score.f1
    best = best_threshold(points)
    assert max(point.f1 for point in points) == next(point.f1 for point in points if point.threshold == best) > 0
    assert recall_at(points, np.inf) == max(point.recall.share for point in points)
    assert recall_at(points, -1.0) == 0


def test_two_logs_pool_as_one(simulated: Simulated) -> None:
    """The users of one log, scored in two halves and pooled, have the score and the sweep of the whole."""
    log, truth, labels, scores = simulated
    simulation_days = date(1970, 1, 1) + timedelta(days=truth.first_day - 60), FIRST + timedelta(days=119)
    threshold = float(np.nanquantile(scores, 0.98))
    halves, sweeps = [], []
    for users in np.array_split(np.arange(len(log.users)), 2):
        part = log.take_users(users)
        mine = pc.is_in(labels["user_id"], value_set=part.users)
        own = truth_of(labels.filter(pc.or_(mine, pc.is_null(labels["user_id"]))), part, *simulation_days)
        part_scores = scores[log.user_days.start[users[0]] : log.user_days.start[users[-1] + 1]]
        halves.append(score_alerts(alerts_from_scores(part, part_scores, threshold), own, part))
        sweeps.append(sweep(part, part_scores, own, np.array([threshold])))
    whole, pooled = score_alerts(alerts_from_scores(log, scores, threshold), truth, log), pool(halves)
    assert pooled.f1 == whole.f1 > 0
    assert pooled.false_by_kind == whole.false_by_kind
    assert pooled.onset_error.tolist() == whole.onset_error.tolist()
    assert pool_points(sweeps) == sweep(log, scores, truth, np.array([threshold]))


def test_an_onset_of_the_detectors_own_is_kept() -> None:
    log = log_of({"a": range(0, 120, 2)}, {"a": [0] * 45 + [1] * 15})
    scores = np.where(np.arange(60) == 50, 1.0, 0.0)
    alerts = alerts_from_scores(log, scores, 1.0, np.full(60, 47))
    assert alerts.onset_day.tolist() == [ZERO + 94]
    assert alerts.rising == [["c1"]]


def test_the_share_over_the_threshold_is_of_unplanted_users_only() -> None:
    log = log_of({"a": range(58, 64), "b": range(58, 64)})
    truth = truth_for({"a": "none", "b": "gift"}, log)
    scores = np.array([9.0, 9.0, 9.0, 8.0, np.nan, 1.0, *[9.0] * 6])
    assert share_over_threshold(log, scores, truth, 9.0) == Rate(1, 4)
    assert share_over_threshold(log, scores, replace(truth, kind=["none", "none"]), 9.0) == Rate(5, 8)
