"""How well alarms find planted shifts: the judge of detectors on a log whose truth is known.

The rules. Alarms of the first `BURN_IN_DAYS` of the log are ignored. Alarms of a user within `ONE_ALARM_DAYS` of the
one before are one alarm, on the day of the first. A planted shift is found by an alarm from its first day until
`FOUND_WITHIN` days later, and counts once; whatever else is raised on that user from then on is late, neither true nor
false. An alarm before the shift is false, and so is every alarm on a user without one: with a gift, a change of
volume, or nothing planted. Users with a surge, a fade or a churn have no shift to be found; from its first day on, an
alarm of the kind that names it (`NAMED`) is not false. A shift is detectable with at least `ACTIVE_BEFORE` active days
before it and `ACTIVE_AFTER` in the days in which it may be found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from shift_assets.days import day_number
from shift_assets.evaluate.alarms import Alarms, episode_starts, opening_entries
from shift_assets.shift.histories import Histories
from shift_assets.shift.rings import Flags, Floats, Ints

BURN_IN_DAYS = 60
FOUND_WITHIN = {"abrupt": 30, "partial": 30, "gradual": 42, "seasonal_return": 58}
"""Calendar days after its first in which a shift of a kind may be found: the two slow ones take longer to end."""
NAMED = {"surge": "surge", "fade": "fade", "churn": "churn_risk"}
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
    start: Ints  # [user], first changed day; never where nothing was planted
    found_until: Ints  # [user], last day on which the shift counts as found; before `start` without a shift
    detectable: Flags  # [user]
    rising: Sequence[Sequence[str]]  # [user], planted categories, most risen first
    promotion_days: Ints
    shifts: int  # planted, also in users without any event

    @property
    def is_shift(self) -> Flags:
        return self.found_until >= self.start

    def of_kind(self, kind: str) -> Flags:
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
    delay_days: Floats  # [true alarm], calendar days after the shift's first
    delay_active_days: Floats  # [true alarm], active days from the shift's first to the alarm's, both counted
    onset_error: Floats  # [true alarm], active days by which the claimed start lies after (> 0) the true one
    first_risen: Rate  # true alarms whose most risen category is one of the planted top three
    risen_overlap: Floats  # [true alarm], share of the planted top three that are among its three most risen

    @property
    def f1(self) -> float:
        """Harmonic mean of the precision and the recall of detectable shifts; 0 without any true alarm."""
        return _f1(self.precision, self.recall_detectable)

    @property
    def onset_right(self) -> Rate:
        """True alarms whose claimed start is at most `ONSET_TOLERANCE` active days wrong."""
        return Rate(float((np.abs(self.onset_error) <= ONSET_TOLERANCE).sum()), len(self.onset_error))


def truth_of(labels: pa.Table, histories: Histories, first_day: date, last_day: date) -> Truth:
    """The truth in the simulator's `labels` about a log from `first_day` to `last_day`."""
    rows = [row for row in labels.to_pylist() if row["user_id"] is not None]
    place = dict(zip(histories.users.to_pylist(), range(len(histories.users)), strict=True))
    n = len(place)
    kind, rising = ["none"] * n, [[] for _ in range(n)]  # type: list[str], list[list[str]]
    start, found_until = np.full(n, _NEVER), np.full(n, -1, dtype=np.int64)
    for row in rows:
        user = place.get(row["user_id"])
        if user is not None:
            kind[user], rising[user] = row["kind"], row["to_categories"]
            start[user] = day_number(row["start_day"])
            found_until[user] = start[user] + FOUND_WITHIN.get(row["kind"], -1)
    rings = histories.rings
    after = rings.day >= start[rings.user]
    within = after & (rings.day <= found_until[rings.user])
    active_before, active_within = (np.bincount(rings.user[side], minlength=n) for side in (~after, within))
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


def score_alarms(alarms: Alarms, truth: Truth, histories: Histories) -> ShiftScore:
    """Judge `alarms` by the rules above."""
    order = np.lexsort((alarms.day, alarms.user))
    index = order[episode_starts(alarms.user[order], alarms.day[order])]
    named = np.array([NAMED.get(truth.kind[u]) == k for u, k in zip(alarms.user, alarms.kind, strict=True)], dtype=bool)
    judged = _judge(alarms.user[index], alarms.day[index], truth, named[index])
    true, false = index[judged.true], index[judged.false]
    user, day = alarms.user[true], alarms.day[true]
    rings = histories.rings
    n_days = truth.last_day - truth.first_day + 1

    def active_until(users: Ints, days: Ints) -> Ints:
        """Active days of each user before the day."""
        return np.array(
            [
                np.searchsorted(rings.day[rings.start[u] : rings.start[u + 1]], d)
                for u, d in zip(users, days, strict=True)
            ],
            dtype=np.int64,
        )

    false_user = alarms.user[false]
    found = np.zeros(len(truth.kind), dtype=bool)
    found[user] = True
    overlaps = [
        len(set(alarms.rising[a][:TOP]) & set(truth.rising[u])) / len(truth.rising[u])
        for a, u in zip(true.tolist(), user.tolist(), strict=True)
        if truth.rising[u]
    ]
    hits = [alarms.rising[a][:1] for a in true]
    kinds = {kind: truth.of_kind(kind) for kind in dict.fromkeys(["none", *truth.kind])}
    promotions = truth.promotion_days[truth.promotion_days >= truth.first_day]
    begun = active_until(user, truth.start[user])
    return ShiftScore(
        precision=Rate(len(true), len(true) + len(false)),
        recall=Rate(len(true), truth.shifts),
        recall_detectable=Rate(int(found[truth.detectable].sum()), int(truth.detectable.sum())),
        late=len(judged.late),
        false_user_days=Rate(len(false), len(truth.kind) * n_days),
        false_active_days=Rate(len(false), int(((rings.day >= truth.first_day) & (rings.day <= truth.last_day)).sum())),
        recall_by_kind={
            kind: Rate(int(found[mine & truth.detectable].sum()), int((mine & truth.detectable).sum()))
            for kind, mine in kinds.items()
            if kind in FOUND_WITHIN
        },
        false_by_kind={
            kind: Rate(int(mine[false_user].sum()), int(mine.sum()) * n_days) for kind, mine in kinds.items()
        },
        false_on_promotions=Rate(int(np.isin(alarms.day[false], promotions).sum()), len(truth.kind) * len(promotions)),
        delay_days=(day - truth.start[user]).astype(np.float64),
        delay_active_days=(active_until(user, day + 1) - begun).astype(np.float64),
        onset_error=(active_until(user, alarms.onset_day[true]) - begun).astype(np.float64),
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


@dataclass(frozen=True)
class Point:
    """What a threshold gives, in one log or several."""

    threshold: float
    precision: Rate
    recall: Rate  # of the detectable shifts
    false_user_days: Rate

    @property
    def f1(self) -> float:
        return _f1(self.precision, self.recall)


def thresholds_of(scores: Floats, n: int = 80) -> Floats:
    """At most `n` thresholds, ascending: from a tenth of the `scores` at or above them to one."""
    known = np.sort(scores[~np.isnan(scores)])
    over = np.unique(np.geomspace(1, max(len(known) // 10, 1), n).astype(np.int64))
    return np.asarray(np.unique(known[len(known) - over[: len(known)]]))


def sweep(histories: Histories, scores: Floats, truth: Truth, thresholds: Floats) -> list[Point]:
    """What each threshold on `scores` [entry] gives."""
    rings = histories.rings
    user_days = len(truth.kind) * (truth.last_day - truth.first_day + 1)
    points = []
    for threshold in thresholds.tolist():
        entries = opening_entries(histories, scores, threshold)
        user = rings.user[entries]
        judged = _judge(user, rings.day[entries], truth, np.zeros(len(entries), dtype=bool))
        n_true, n_false = len(judged.true), len(judged.false)
        found = int(truth.detectable[user[judged.true]].sum())
        points.append(
            Point(
                threshold,
                Rate(n_true, n_true + n_false),
                Rate(found, int(truth.detectable.sum())),
                Rate(n_false, user_days),
            )
        )
    return points


def pool_points(sweeps: Sequence[Sequence[Point]]) -> list[Point]:
    """The points of several logs, swept over the same thresholds, as if they were one."""
    return [
        Point(
            same[0].threshold,
            *(
                Rate(*map(sum, zip(*(getattr(point, name) for point in same), strict=True)))
                for name in ("precision", "recall", "false_user_days")
            ),
        )
        for same in zip(*sweeps, strict=True)
    ]


def best_threshold(points: Sequence[Point]) -> float:
    """The threshold of the largest F1; the lowest of several."""
    return max(points, key=lambda point: (point.f1, -point.threshold)).threshold


def recall_at(points: Sequence[Point], false_per_thousand: float) -> float:
    """Largest recall of detectable shifts with at most so many false alarms per 1000 user-days; 0 if none has."""
    allowed = [point.recall.share for point in points if point.false_user_days.per_thousand <= false_per_thousand]
    return max(allowed, default=0.0)


def share_over_line(histories: Histories, scores: Floats, truth: Truth, threshold: float) -> Rate:
    """Judged active days at or above `threshold` of the users in whom nothing was planted.

    This is what a bound P(score >= A) <= 1 / A on every active day speaks about.
    """
    rings = histories.rings
    mine = truth.of_kind("none")[rings.user] & (rings.day >= truth.first_day) & (rings.day <= truth.last_day)
    with np.errstate(invalid="ignore"):
        return Rate(int((scores[mine] >= threshold).sum()), int(mine.sum()))


def _f1(precision: Rate, recall: Rate) -> float:
    if not recall.some:
        return 0.0
    return 2.0 / (1.0 / precision.share + 1.0 / recall.share)


class _Verdict(NamedTuple):
    """Positions in the list of alarms; those that are ignored are in none."""

    true: Ints
    false: Ints
    late: Ints


def _judge(user: Ints, day: Ints, truth: Truth, named: Flags) -> _Verdict:
    """user, day: [alarm], sorted, already one per episode; `named`: whether the alarm's kind is what was planted."""
    start, until = truth.start[user], truth.found_until[user]
    judged = (day >= truth.first_day) & (day <= truth.last_day)
    shifted = truth.is_shift[user] & (day >= start)
    candidates = np.flatnonzero(judged & shifted & (day <= until))
    _, first = np.unique(user[candidates], return_index=True)
    true = candidates[first]
    right = named & (day >= start)
    neither = judged & (shifted | right)
    neither[true] = False
    return _Verdict(true, np.flatnonzero(judged & ~shifted & ~right), np.flatnonzero(neither))
