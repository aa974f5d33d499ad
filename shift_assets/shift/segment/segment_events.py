"""Events of a whole segment: changes of its volume, its active users and the shares of its categories, day by day.

One event per change and measure, where otherwise a thousand users would get an alert. An event opens on the day on
which a change is reported for the first time and continues while the change is recent; see
`shift.segment.change_points.online_changes`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from functools import cache
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.arrays import CategoryCodes, Float64Array, Int64Array, sum_by
from shift_assets.contracts.day import date_of, day_number
from shift_assets.contracts.partition import Partition
from shift_assets.contracts.shift import SEGMENT_EVENTS
from shift_assets.shift.segment.change_points import RECENT, OnlineChanges, online_changes
from shift_assets.shift.segment.explain import segment_sentence

BLOCK_DAYS = 28
BLOCKS_BEFORE = 4
REMEMBERED_DAYS = 14
WINDOW_DAYS = (BLOCKS_BEFORE + 1) * BLOCK_DAYS + REMEMBERED_DAYS
"""Calendar days that the events of a day depend on.

The history of a day begins four blocks before its own block, so all days of a block share the same beginning, and a
later day reproduces exactly what was reported on an earlier one. A change reported within the remembered days
continues.
"""
SAME_ONSET_DAYS = 3
"""Days by which the reported onset of one change may differ from day to day."""
MAXIMUM_CATEGORIES = 12
"""Categories watched: those with the largest share in the last `COMPARED_DAYS`."""
COMPARED_DAYS = 28
MINIMUM_POSTERIOR = 0.9
"""Posterior from which a change is an event."""
_WEEK = 7

Measure = tuple[str, str]
"""A measure and its category; the category is empty for the totals."""


def segment_events(series: pa.Table, partitions: Iterable[Partition], language: Literal["en", "zh"]) -> pa.Table:
    """Return `segment_events` of the partitions: one row per measure with a recent change.

    Volume and active users are watched on a logarithmic scale, shares by the arc sine of their root, both adjusted for
    weekdays. `before` and `after` are means of raw days, `before` over the same weekdays of the regime before, at most
    four weeks of it. A day without events, on a weekday that also had none in the two weeks before, counts as closed.

    Args:
        series: `interest_series` of the segments over the `WINDOW_DAYS` up to each day; other rows are ignored.
        partitions: days and segments.
        language: language of the sentence.
    """
    requested = sorted(partitions)
    rows = []
    for segment in sorted({partition.segment for partition in requested}):
        days = [partition.day for partition in requested if partition.segment == segment]
        own = series.filter(
            pc.and_(
                pc.equal(series["segment"], segment),
                pc.less_equal(series["day"], pa.scalar(days[-1], pa.date32())),
            )
        )
        if own.num_rows:
            log = _DailyLog(own, days[-1])
            rows += [
                {"day": day, "segment": segment, **event, "explanation": segment_sentence(event, day, language)}
                for day in days
                for event in log.events(day)
            ]
    return SEGMENT_EVENTS.conform(pa.Table.from_pylist(rows, schema=SEGMENT_EVENTS.schema))


class _DailyLog:
    """The measures of one segment by calendar day: volume, active users, and the share of every category.

    Days are counted from the first of `series`; the last is `last_day`.
    """

    def __init__(self, series: pa.Table, last_day: date) -> None:
        series = series.sort_by([("day", "ascending"), ("user_id", "ascending"), ("category", "ascending")])
        codes = CategoryCodes(series["category"])
        number = series["day"].cast(pa.int32()).to_numpy().astype(np.int64)
        self.first = int(number.min())
        self.n_days = day_number(last_day) - self.first + 1
        cell: Int64Array = codes.encode(series["category"]) * self.n_days + number - self.first
        mass = sum_by(cell, series["score"].to_numpy(), len(codes) * self.n_days).reshape(len(codes), self.n_days)
        visits = series.group_by(["day", "user_id"]).aggregate([])["day"].cast(pa.int32()).to_numpy() - self.first
        volume = mass.sum(axis=0)
        share = np.divide(mass, volume, out=np.full_like(mass, np.nan), where=volume > 0)
        self.mass, self.is_open = mass, volume > 0
        self.totals: dict[Measure, Float64Array] = {
            ("volume", ""): volume,
            ("active_users", ""): np.bincount(visits, minlength=self.n_days).astype(np.float64),
        }
        names = codes.names.to_pylist()
        self.shares: dict[Measure, Float64Array] = {
            ("category_share", names[code]): share[code] for code in range(len(codes))
        }
        self.known = cache(self._known)

    def events(self, day: date) -> Iterator[dict[str, Any]]:
        """Yield the events of the day, by measure."""
        today = day_number(day) - self.first
        for measure in self._measures_of_day(today):
            found = self._recent_change(measure, today)
            if found is not None:
                onset, posterior, before, after = found
                reported = any(self._was_reported(measure, onset, day) for day in range(today - REMEMBERED_DAYS, today))
                yield {
                    "measure": measure[0],
                    "category": measure[1],
                    "status": "continued" if reported else "opened",
                    "onset_day": date_of(self.first + onset),
                    "before": before,
                    "after": after,
                    "posterior": posterior,
                }

    def _was_reported(self, measure: Measure, onset: int, today: int) -> bool:
        """Whether a change of the measure at about `onset` was an event of the day."""
        found = self._recent_change(measure, today)
        return (
            found is not None and abs(found[0] - onset) <= SAME_ONSET_DAYS and measure in self._measures_of_day(today)
        )

    def _measures_of_day(self, today: int) -> list[Measure]:
        """Measures watched on a day: the totals, and the largest categories by name."""
        recent_mass = self.mass[:, max(today - COMPARED_DAYS + 1, 0) : max(today + 1, 0)].sum(axis=1)
        largest = [
            code for code in np.argsort(-recent_mass, kind="stable")[:MAXIMUM_CATEGORIES] if recent_mass[code] > 0
        ]
        names = list(self.shares)
        return [*self.totals, *(names[code] for code in sorted(largest))]

    def _recent_change(self, measure: Measure, today: int) -> tuple[int, float, float, float] | None:
        """Onset, posterior, and the means before and after, as known on a day; None without a recent change.

        After: of the days since the onset; before: of the same weekdays in the regime before it, at most four weeks.
        """
        block = (today + self.first) // BLOCK_DAYS
        begin = max((block - BLOCKS_BEFORE) * BLOCK_DAYS - self.first, 0)
        if today < begin:
            return None
        values, reported = self.known(measure, begin, (block + 1) * BLOCK_DAYS - self.first)
        at = today - begin
        length, posterior = int(reported.run_length[at]), round(min(float(reported.recent[at]), 1.0), 6)
        if posterior < MINIMUM_POSTERIOR or not 0 < length <= RECENT:
            return None
        observed = np.flatnonzero(np.isfinite(values[: at + 1]))
        after, before = observed[-length:], observed[:-length]
        if not len(before):
            return None
        before = before[-int(reported.run_length[before[-1]]) :]
        before = before[before >= before[-1] - COMPARED_DAYS + 1]
        same = [values[before[before % _WEEK == day % _WEEK]] for day in after]
        means = [part.mean() for part in same if len(part)] or [values[before].mean()]
        return begin + int(after[0]), posterior, float(np.mean(means)), float(values[after].mean())

    def _known(self, measure: Measure, begin: int, end: int) -> tuple[Float64Array, OnlineChanges]:
        """Raw values of the days `begin <= day < end`, nan where closed, and their changes as reported day by day."""
        if measure in self.shares:
            values = self.shares[measure][begin:end]
            return values, online_changes(np.arcsin(np.sqrt(np.minimum(values, 1.0))), period=_WEEK)
        is_open = self.is_open[begin:end]
        closed = [
            not any(is_open[max(day - weeks * _WEEK, 0)] for weeks in (0, 1, 2) if day >= weeks * _WEEK)
            for day in range(len(is_open))
        ]
        values = np.where(closed, np.nan, self.totals[measure][begin:end])
        return values, online_changes(np.log1p(values), period=_WEEK)
