"""How well alarms find planted shifts: the judge of detectors on a log whose truth is known.

The rules. Alarms of the first `BURN_IN_DAYS` of the log are ignored. Alarms of a user within `SAME_ALERT_DAYS` of the
one before are one alarm, on the day of the first. A planted shift is found by an alarm from its first day until
`FOUND_WITHIN` days later, and counts once; whatever else is raised on that user from then on is late, neither true nor
false. An alarm before the shift is false, and so is every alarm on a user without one: with a gift, a change of
volume, or nothing planted. Users with a surge, a fade or a churn have no shift to be found; from its first day on, an
alarm of the kind that names it (`NAMED_KINDS`) is not false. A shift is detectable with at least `ACTIVE_BEFORE`
active days
before it and `ACTIVE_AFTER` in the days in which it may be found.
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
"""Calendar days after its first in which a shift of a kind may be found: the two slow ones take longer to end."""


NAMED_KINDS = {"surge": "surge", "fade": "fade", "churn": "churn_risk"}
"""Kind of alarm that is right about what was planted."""


ACTIVE_BEFORE, ACTIVE_AFTER = 8, 5


ONSET_TOLERANCE = 2
"""Active days by which the stated start of a shift may be wrong."""


TOP = 3
"""Risen categories of an alarm that are compared with the planted ones, of which the labels name so many."""


_NEVER = np.iinfo(np.int64).max // 2


@dataclass(frozen=True)
class Truth:
    """What was planted in the users of some histories, and the days that are judged."""

    first_day: int  # judged days, since 1970-01-01
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
    """Some of many; `share` is nan of none."""

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
    """The verdict on a list of alarms."""

    precision: Rate  # true of true and false alarms
    recall: Rate  # found of all planted shifts
    recall_detectable: Rate  # found of the detectable ones
    late: int  # alarms neither true nor false
    false_user_days: Rate  # false alarms of the judged days of all users, active or not
    false_active_days: Rate  # false alarms of the judged active days
    recall_by_kind: dict[str, Rate]  # of the detectable shifts
    false_by_kind: dict[str, Rate]  # kind planted in the user: false alarms of those users' judged days
    false_on_promotions: Rate  # false alarms of the user-days that were promotions
    delay_days: Float64Array  # [true alarm], calendar days after the shift's first
    delay_active_days: Float64Array  # [true alarm], active days from the shift's first to the alarm's, both counted
    onset_error: Float64Array  # [true alarm], active days by which the claimed start lies after (> 0) the true one
    first_risen: Rate  # true alarms whose most risen category is one of the planted top three
    risen_overlap: Float64Array  # [true alarm], share of the planted top three that are among its three most risen

    @property
    def f1(self) -> float:
        """Harmonic mean of the precision and the recall of detectable shifts; 0 without any true alarm."""
        return f1_score(self.precision, self.recall_detectable)

    @property
    def onset_right(self) -> Rate:
        """True alarms whose claimed start is at most `ONSET_TOLERANCE` active days wrong."""
        return Rate(float((np.abs(self.onset_error) <= ONSET_TOLERANCE).sum()), len(self.onset_error))


def truth_of(labels: pa.Table, histories: Histories, first_day: date, last_day: date) -> Truth:
    """The truth in the simulator's `labels` about a log from `first_day` to `last_day`."""
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
    """Judge `alerts` by the rules above."""
    order = np.lexsort((alerts.day, alerts.user))
    index = order[episode_starts(alerts.user[order], alerts.day[order])]
    named = np.array(
        [NAMED_KINDS.get(truth.kind[u]) == k for u, k in zip(alerts.user, alerts.kind, strict=True)], dtype=bool
    )
    evaluated = classify_alerts(alerts.user[index], alerts.day[index], truth, named[index])
    true, false = index[evaluated.true], index[evaluated.false]
    user, day = alerts.user[true], alerts.day[true]
    user_days = histories.user_days
    n_days = truth.last_day - truth.first_day + 1

    def active_until(users: Int64Array, days: Int64Array) -> Int64Array:
        """Active days of each user before the day."""
        return np.array(
            [
                np.searchsorted(user_days.day[user_days.start[u] : user_days.start[u + 1]], d)
                for u, d in zip(users, days, strict=True)
            ],
            dtype=np.int64,
        )

    false_user = alerts.user[false]
    found = np.zeros(len(truth.kind), dtype=bool)
    found[user] = True
    overlaps = [
        len(set(alerts.rising[a][:TOP]) & set(truth.rising[u])) / len(truth.rising[u])
        for a, u in zip(true.tolist(), user.tolist(), strict=True)
        if truth.rising[u]
    ]
    hits = [alerts.rising[a][:1] for a in true]
    kinds = {kind: truth.of_kind(kind) for kind in dict.fromkeys(["none", *truth.kind])}
    promotions = truth.promotion_days[truth.promotion_days >= truth.first_day]
    begun = active_until(user, truth.start[user])
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
        delay_active_days=(active_until(user, day + 1) - begun).astype(np.float64),
        onset_error=(active_until(user, alerts.onset_day[true]) - begun).astype(np.float64),
        first_risen=Rate(
            sum(bool(set(hit) & set(truth.rising[u])) for hit, u in zip(hits, user.tolist(), strict=True)),
            sum(bool(truth.rising[u]) for u in user.tolist()),
        ),
        risen_overlap=np.array(overlaps, dtype=np.float64),
    )


def pool(scores: Sequence[ShiftScore]) -> ShiftScore:
    """The score of several logs as if they were one."""

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
    """Positions in the list of alarms; those that are ignored are in none."""

    true: Int64Array
    false: Int64Array
    late: Int64Array


def classify_alerts(user: Int64Array, day: Int64Array, truth: Truth, named: BoolArray) -> _Classified:
    """user, day: [alarm], sorted, already one per episode; `named`: whether the alarm's kind is what was planted."""
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
