"""Looks at users: the end of a day, what they had done by then, in numbers. No torch.

A look is an event, the newest that the user had, and the day at whose end one looks, which may lie some silent days
later: predictions are made every day, not only on days with a visit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from shift_assets.arrays import BoolArray, Float32Array, Int64Array
from shift_assets.contracts.cleaning import BEHAVIORS
from shift_assets.models.data.sequences import PastItems, Sequences, flat_ranges, past_items

PURCHASE = BEHAVIORS.index("purchase") + 1
SILENT_DAYS = 27
"""Looks lie at most so many days after the newest event: who was silent longer is not predicted."""
RECENT_VISITS = (1, 2, 4, 7)
"""Newest active days whose categories are compared with those before."""
FEATURE_WINDOW_DAYS = 56
"""Plain numbers reach so far back: early looks of a window know no more, late ones should not look like nobody else."""
FEATURES = 8 + 2 * len(RECENT_VISITS)


@dataclass(frozen=True)
class PredictionTimes:
    """Looks in order of event: the newest event [look], and the day [look], not before it, at whose end one looks."""

    events: Int64Array
    days: Int64Array

    def __len__(self) -> int:
        return len(self.events)

    def take(self, which: Int64Array | BoolArray) -> PredictionTimes:
        """Only these looks."""
        return PredictionTimes(self.events[which], self.days[which])


@dataclass(frozen=True)
class Timeline:
    """Sequences, and what looks at them need again and again."""

    sequences: Sequences

    @cached_property
    def owners(self) -> Int64Array:
        """The user [event]."""
        return np.repeat(np.arange(len(self.sequences.users)), self.sequences.lengths)

    @cached_property
    def visits(self) -> Int64Array:
        """Which of all active days an event lies on [event]: one number more with every active day of a user."""
        return np.asarray(np.cumsum(self._begins_visit) - 1, dtype=np.int64)

    @cached_property
    def visit_starts(self) -> Int64Array:
        """The first event [active day]."""
        return np.flatnonzero(self._begins_visit)

    @cached_property
    def _begins_visit(self) -> BoolArray:
        begins = np.ones(len(self.owners), dtype=bool)
        begins[1:] = (np.diff(self.sequences.days) != 0) | (np.diff(self.owners) != 0)
        return begins

    @cached_property
    def _purchases(self) -> Int64Array:
        return np.concatenate(([0], np.cumsum(self.sequences.behaviors == PURCHASE)))

    @cached_property
    def _span(self) -> tuple[int, int]:
        days = self.sequences.days
        return (int(days.min()), int(days.max() - days.min()) + 2) if len(days) else (0, 2)

    @cached_property
    def _keys(self) -> Int64Array:
        first, span = self._span
        return self.owners * span + self.sequences.days - first

    def first_from(self, owners: Int64Array, days: Int64Array) -> Int64Array:
        """The first event of user `owners[i]` on or after `days[i]`, or the place after its last one."""
        first, span = self._span
        return np.searchsorted(self._keys, owners * span + np.clip(days - first, 0, span - 1))

    def day_ends(self) -> PredictionTimes:
        """A look at the end of every active day."""
        events = np.append(self.visit_starts[1:], len(self.owners)) - 1 if len(self.owners) else self.visit_starts
        return PredictionTimes(events, self.sequences.days[events])

    def prediction_points(self, last_day: int, seed: int) -> PredictionTimes:
        """Looks at the end of every active day, and at the end of one silent day after each that has silent ones.

        The silent day is drawn from those before the next visit, at most SILENT_DAYS after and not after `last_day`.
        """
        ends = self.day_ends()
        following = np.minimum(ends.events + 1, len(self.owners) - 1)
        comes_back = self.owners[following] == self.owners[ends.events]
        comes_back &= following > ends.events
        until = np.where(comes_back, self.sequences.days[following] - 1, last_day)
        silent = np.clip(np.minimum(until, last_day) - ends.days, 0, SILENT_DAYS)
        random = np.random.default_rng([seed, 0])
        drawn = 1 + np.floor(random.random(len(ends)) * silent).astype(np.int64)
        mask = silent > 0
        events = np.concatenate([ends.events, ends.events[mask]])
        days = np.concatenate([ends.days, (ends.days + drawn)[mask]])
        order = np.argsort(events, kind="stable")
        return PredictionTimes(events[order], days[order])

    def last_prediction_points(self, day: int) -> PredictionTimes:
        """A look at the end of `day` at every user with an event on it or in the SILENT_DAYS before; none after it."""
        users = np.arange(len(self.sequences.users))
        newest = self.first_from(users, np.full(len(users), day + 1)) - 1
        some = newest >= self.sequences.offsets[:-1]
        newest = newest[some]
        newest = newest[self.sequences.days[newest] >= day - SILENT_DAYS]
        return PredictionTimes(newest, np.full(len(newest), day))

    def features(self, prediction_times: PredictionTimes, maximum_length: int) -> Float32Array:
        """What is plain about a user by the time of a look, [look, FEATURES].

        Logarithms of 1 + : silent days, active days, days since the first event, days between the last two visits,
        events of the newest active day, events of the last 7 and 28 days, days since the newest purchase; none reaches
        further back than REMEMBERED_DAYS. Then per
        number of RECENT_VISITS the cosine between the categories of the newest active days and of those before, and
        the same of items, within the newest `maximum_length` events of known codes; 0 where there are none before.
        """
        sequences, events, days = self.sequences, prediction_times.events, prediction_times.days
        owner = self.owners[events]
        start = sequences.offsets[owner]
        visit = self.visits[events]
        visit_start = self.visit_starts[visit]
        window_start = np.minimum(self.first_from(owner, days - FEATURE_WINDOW_DAYS + 1), events)
        n_visits = visit - self.visits[window_start] + 1
        before = sequences.days[np.maximum(visit_start - 1, start)]
        bought = self._purchases[events + 1]
        newest_purchase = np.searchsorted(self._purchases, bought, side="left") - 1
        never_bought = bought == self._purchases[start]
        since_purchase = np.where(
            never_bought, FEATURE_WINDOW_DAYS, days - sequences.days[np.maximum(newest_purchase, 0)]
        )
        plain = [
            days - sequences.days[events],
            n_visits,
            np.minimum(days - sequences.days[start], FEATURE_WINDOW_DAYS),
            np.minimum(sequences.days[events] - before, FEATURE_WINDOW_DAYS),
            events + 1 - visit_start,
            events + 1 - np.minimum(self.first_from(owner, days - 6), events + 1),
            events + 1 - np.minimum(self.first_from(owner, days - 27), events + 1),
            np.minimum(since_purchase, FEATURE_WINDOW_DAYS),
        ]
        distinct, place = np.unique(events, return_inverse=True)
        similarity = np.hstack(
            [self._similarity(distinct, maximum_length, codes) for codes in (sequences.categories, sequences.items)]
        )
        return np.hstack([np.log1p(np.stack(plain, axis=1)), similarity[place]]).astype(np.float32)

    def _similarity(self, events: Int64Array, maximum_length: int, codes: Int64Array) -> npt.NDArray[np.float64]:
        """Cosine [event, RECENT_VISITS] of the counts of `codes` on the newest active days and before them."""
        start = np.maximum(self.sequences.offsets[self.owners[events]], events + 1 - maximum_length)
        point, event = flat_ranges(start, events + 1)
        point, event = point[codes[event] > 0], event[codes[event] > 0]
        age = self.visits[events][point] - self.visits[event]
        pairs, cell = np.unique(point * (int(codes.max(initial=0)) + 1) + codes[event], return_inverse=True)
        owner = pairs // (int(codes.max(initial=0)) + 1)
        found = np.zeros((len(events), len(RECENT_VISITS)))
        for column, visits in enumerate(RECENT_VISITS):
            recent = np.bincount(cell, weights=age < visits, minlength=len(pairs))
            before = np.bincount(cell, weights=age >= visits, minlength=len(pairs))
            product, norm, norm_before = (
                np.bincount(owner, weights=values, minlength=len(events))
                for values in (recent * before, recent**2, before**2)
            )
            norms = np.sqrt(norm * norm_before)
            found[:, column] = np.divide(product, norms, out=np.zeros_like(norms), where=norms > 0)
        return found

    def past_categories(self, prediction_times: PredictionTimes) -> PastItems:
        """Which categories stand in the user's events by the time of each look; `items` are category codes."""
        by_category = replace(self.sequences, items=self.sequences.categories)
        starts = self.sequences.offsets[self.owners[prediction_times.events]]
        return past_items(by_category, starts, prediction_times.events + 1)
