"""Scores of alerts against planted shifts, on a simulated log whose true shifts are known.

Called by benchmarks only; kept for a public benchmark of detectors.

The rules:

- Alerts of the first `BURN_IN_DAYS` of the log are ignored.
- Alerts of a user within `SAME_ALERT_DAYS` of the one before are one alert, on the day of the first.
- A planted shift is found by an alert from its first day until `FOUND_WITHIN` days later, and counts once. Any further
  alert of that user from the shift on is late, neither true nor false.
- An alert before the shift is false, and so is every alert of a user without one: with a gift, a change of volume, or
  no planted change.
- Users with a surge, a fade or a churn have no shift to find; from the first day of the change on, an alert of the
  matching kind (`NAMED_KINDS`) is not false.
- A shift is detectable with at least `ACTIVE_BEFORE` active days before it, and `ACTIVE_AFTER` in the days in which it
  may be found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from shift_assets.arrays import BoolArray, Float64Array, Int64Array
from shift_assets.contracts.day import day_number
from shift_assets.evaluate.opened_alerts import Alerts, episode_starts
from shift_assets.interest.histories import Histories

BURN_IN_DAYS = 60
FOUND_WITHIN = {"abrupt": 30, "partial": 30, "gradual": 42, "seasonal_return": 58}
"""Calendar days after the first day of a shift in which it may be found, by kind; slow shifts have more."""
NAMED_KINDS = {"surge": "surge", "fade": "fade", "churn": "churn_risk"}
"""Kind of alert that matches a planted change."""
ACTIVE_BEFORE, ACTIVE_AFTER = 8, 5
ONSET_TOLERANCE = 2
"""Active days by which a reported onset may be wrong."""
TOP = 3
"""Risen categories of an alert that are compared with the planted ones; the labels have as many."""
_NEVER = np.iinfo(np.int64).max // 2


@dataclass(frozen=True)
class Truth:
    """Changes planted in the users of histories, and the evaluated days, as counts from 1970-01-01."""

    first_day: int  # first evaluated day
    last_day: int
    kind: Sequence[str]  # [user], "none" where nothing was planted
    start: Int64Array  # [user], first changed day; never where nothing was planted
    found_until: Int64Array  # [user], last day on which the shift counts as found; before `start` without a shift
    detectable: BoolArray  # [user]
    rising: Sequence[Sequence[str]]  # [user], planted categories, most risen first
    promotion_days: Int64Array
    shifts: int  # planted, also in users without any event

    @property
    def is_shift(self) -> BoolArray:
        return self.found_until >= self.start

    def of_kind(self, kind: str) -> BoolArray:
        return np.array([own == kind for own in self.kind], dtype=bool)


class Rate(NamedTuple):
    """A number `some` out of `of`; `share` is nan for 0 out of 0."""

    some: float
    of: float

    @property
    def share(self) -> float:
        return self.some / self.of if self.of else float("nan")

    @property
    def per_thousand(self) -> float:
        return 1000.0 * self.share


@dataclass(frozen=True)
class ShiftScore:
    """Scores of alerts.

    Attributes:
        precision: True alerts out of true and false alerts.
        recall: Found shifts out of all planted ones.
        recall_detectable: Found shifts out of the detectable ones.
        late: Number of alerts that are neither true nor false.
        false_user_days: False alerts per evaluated day of all users, active or not.
        false_active_days: False alerts per evaluated active day.
        recall_by_kind: Recall of detectable shifts by their kind.
        false_by_kind: False alerts per evaluated day of the users, by the kind planted in them.
        false_on_promotions: False alerts per user and promotion day.
        delay_days: Calendar days [true alert] after the first day of the shift.
        delay_active_days: Active days [true alert] from the first day of the shift to the alert, both included.
        onset_error: Active days [true alert] by which the reported onset lies after (> 0) the true one.
        first_risen: True alerts whose most risen category is one of the planted top three.
        risen_overlap: Share [true alert] of the planted top three among its three most risen categories.
    """

    precision: Rate
    recall: Rate
    recall_detectable: Rate
    late: int
    false_user_days: Rate
    false_active_days: Rate
    recall_by_kind: dict[str, Rate]
    false_by_kind: dict[str, Rate]
    false_on_promotions: Rate
    delay_days: Float64Array
    delay_active_days: Float64Array
    onset_error: Float64Array
    first_risen: Rate
    risen_overlap: Float64Array

    @property
    def f1(self) -> float:
        """Harmonic mean of the precision and the recall of detectable shifts; 0 without any true alert."""
        return f1_score(self.precision, self.recall_detectable)

    @property
    def onset_right(self) -> Rate:
        """True alerts whose reported onset is at most `ONSET_TOLERANCE` active days wrong."""
        return Rate(float((np.abs(self.onset_error) <= ONSET_TOLERANCE).sum()), len(self.onset_error))


def truth_of(labels: pa.Table, histories: Histories, first_day: date, last_day: date) -> Truth:
    """The planted changes of a simulated log.

    Args:
        labels: The simulator's `labels.parquet`.
        histories: The users' active days.
        first_day: First day of the log.
        last_day: Last day of the log.
    """
    rows = [row for row in labels.to_pylist() if row["user_id"] is not None]
    position = dict(zip(histories.users.to_pylist(), range(len(histories.users)), strict=True))
    n = len(position)
    kind, rising = ["none"] * n, [[] for _ in range(n)]  # type: list[str], list[list[str]]
    start, found_until = np.full(n, _NEVER), np.full(n, -1, dtype=np.int64)
    for row in rows:
        user = position.get(row["user_id"])
        if user is not None:
            kind[user], rising[user] = row["kind"], row["to_categories"]
            start[user] = day_number(row["start_day"])
            found_until[user] = start[user] + FOUND_WITHIN.get(row["kind"], -1)
    user_days = histories.user_days
    after = user_days.day >= start[user_days.user]
    within = after & (user_days.day <= found_until[user_days.user])
    active_before, active_within = (np.bincount(user_days.user[side], minlength=n) for side in (~after, within))
    return Truth(
        first_day=day_number(first_day) + BURN_IN_DAYS,
        last_day=day_number(last_day),
        kind=kind,
        start=start,
        found_until=found_until,
        detectable=(found_until >= start) & (active_before >= ACTIVE_BEFORE) & (active_within >= ACTIVE_AFTER),
        rising=rising,
        promotion_days=np.array(
            [day_number(row["start_day"]) for row in labels.to_pylist() if row["kind"] == "promotion"], dtype=np.int64
        ),
        shifts=sum(row["kind"] in FOUND_WITHIN for row in rows),
    )


def score_alerts(alerts: Alerts, truth: Truth, histories: Histories) -> ShiftScore:
    """Score alerts by the rules of this module.

    Args:
        alerts: Opened alerts, in any order.
        truth: The planted changes.
        histories: The users' active days.
    """
    order = np.lexsort((alerts.day, alerts.user))
    index = order[episode_starts(alerts.user[order], alerts.day[order])]
    named = np.array(
        [NAMED_KINDS.get(truth.kind[u]) == k for u, k in zip(alerts.user, alerts.kind, strict=True)], dtype=bool
    )
    evaluated = classify_alerts(alerts.user[index], alerts.day[index], truth, named[index])
    true, false = index[evaluated.true], index[evaluated.false]
    user, day, false_user = alerts.user[true], alerts.day[true], alerts.user[false]
    user_days = histories.user_days
    n_days = truth.last_day - truth.first_day + 1
    found = np.zeros(len(truth.kind), dtype=bool)
    found[user] = True
    kinds = {kind: truth.of_kind(kind) for kind in dict.fromkeys(["none", *truth.kind])}
    promotions = truth.promotion_days[truth.promotion_days >= truth.first_day]
    begun = _active_days_before(histories, user, truth.start[user])
    first_risen, risen_overlap = _category_agreement(alerts, true, truth)
    return ShiftScore(
        precision=Rate(len(true), len(true) + len(false)),
        recall=Rate(len(true), truth.shifts),
        recall_detectable=Rate(int(found[truth.detectable].sum()), int(truth.detectable.sum())),
        late=len(evaluated.late),
        false_user_days=Rate(len(false), len(truth.kind) * n_days),
        false_active_days=Rate(
            len(false), int(((user_days.day >= truth.first_day) & (user_days.day <= truth.last_day)).sum())
        ),
        recall_by_kind={
            kind: Rate(int(found[mine & truth.detectable].sum()), int((mine & truth.detectable).sum()))
            for kind, mine in kinds.items()
            if kind in FOUND_WITHIN
        },
        false_by_kind={
            kind: Rate(int(mine[false_user].sum()), int(mine.sum()) * n_days) for kind, mine in kinds.items()
        },
        false_on_promotions=Rate(int(np.isin(alerts.day[false], promotions).sum()), len(truth.kind) * len(promotions)),
        delay_days=(day - truth.start[user]).astype(np.float64),
        delay_active_days=(_active_days_before(histories, user, day + 1) - begun).astype(np.float64),
        onset_error=(_active_days_before(histories, user, alerts.onset_day[true]) - begun).astype(np.float64),
        first_risen=first_risen,
        risen_overlap=risen_overlap,
    )


def _active_days_before(histories: Histories, users: Int64Array, days: Int64Array) -> Int64Array:
    """Number [n] of active days of `users[n]` before `days[n]`."""
    user_days = histories.user_days
    return np.array(
        [
            np.searchsorted(user_days.day[user_days.start[u] : user_days.start[u + 1]], d)
            for u, d in zip(users, days, strict=True)
        ],
        dtype=np.int64,
    )


def _category_agreement(alerts: Alerts, true: Int64Array, truth: Truth) -> tuple[Rate, Float64Array]:
    """`first_risen` and `risen_overlap` of the true alerts, of those whose change has risen categories."""
    pairs = [
        (alerts.rising[a], truth.rising[u]) for a, u in zip(true.tolist(), alerts.user[true].tolist(), strict=True)
    ]
    pairs = [(risen, planted) for risen, planted in pairs if planted]
    overlaps = [len(set(risen[:TOP]) & set(planted)) / len(planted) for risen, planted in pairs]
    hits = sum(bool(set(risen[:1]) & set(planted)) for risen, planted in pairs)
    return Rate(hits, len(pairs)), np.array(overlaps, dtype=np.float64)


def pool(scores: Sequence[ShiftScore]) -> ShiftScore:
    """Pool the scores of several logs as if they were one."""

    def together(values: Sequence[Any]) -> Any:
        if isinstance(values[0], Rate):
            return Rate(*map(sum, zip(*values, strict=True)))
        if isinstance(values[0], dict):
            return {k: together([v[k] for v in values if k in v]) for k in dict.fromkeys(k for v in values for k in v)}
        return np.concatenate(values) if isinstance(values[0], np.ndarray) else sum(values)

    return ShiftScore(
        **{field.name: together([getattr(s, field.name) for s in scores]) for field in fields(ShiftScore)}
    )


def f1_score(precision: Rate, recall: Rate) -> float:
    if not recall.some:
        return 0.0
    return 2.0 / (1.0 / precision.share + 1.0 / recall.share)


class _Classified(NamedTuple):
    """Indices of true, false and late alerts; ignored alerts are in none of them."""

    true: Int64Array
    false: Int64Array
    late: Int64Array


def classify_alerts(user: Int64Array, day: Int64Array, truth: Truth, named: BoolArray) -> _Classified:
    """Classify alerts by the rules of this module.

    Args:
        user: User [alert]; alerts are sorted by user and day, one per episode.
        day: Day [alert] as a count from 1970-01-01.
        truth: The planted changes.
        named: Whether [alert] its kind matches the planted change.
    """
    start, until = truth.start[user], truth.found_until[user]
    evaluated = (day >= truth.first_day) & (day <= truth.last_day)
    shifted = truth.is_shift[user] & (day >= start)
    candidates = np.flatnonzero(evaluated & shifted & (day <= until))
    _, first = np.unique(user[candidates], return_index=True)
    true = candidates[first]
    right = named & (day >= start)
    neither = evaluated & (shifted | right)
    neither[true] = False
    return _Classified(true, np.flatnonzero(evaluated & ~shifted & ~right), np.flatnonzero(neither))
