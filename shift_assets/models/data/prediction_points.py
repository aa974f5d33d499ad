"""Prediction points: the end of a day at which a user is predicted, and features of the user's history by then.

A prediction point is a user's newest event and a day at or after it. The day may lie some days without events later,
because predictions are made every day and not only on days with a visit. Needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from shift_assets.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from shift_assets.contracts.cleaning import BEHAVIORS
from shift_assets.models.data.sequences import PastItems, Sequences, flat_ranges, past_items

PURCHASE = BEHAVIORS.index("purchase") + 1
SILENT_DAYS = 27
"""Prediction points lie at most this many days after the newest event; users silent for longer are not predicted."""
RECENT_VISITS = (1, 2, 4, 7)
"""Numbers of newest active days whose categories and items are compared with those of the days before them."""
FEATURE_WINDOW_DAYS = 56
"""Features look back this far only, so that late points of a window get values that early points can have as well."""
FEATURES = 8 + 2 * len(RECENT_VISITS)


@dataclass(frozen=True)
class Timeline:
    """Sequences with the indices by user, day and visit that prediction points need."""

    sequences: Sequences

    @cached_property
    def owners(self) -> Int64Array:
        """User [event]."""
        return np.repeat(np.arange(len(self.sequences.users)), self.sequences.lengths)

    @cached_property
    def visits(self) -> Int64Array:
        """Number [event] of the active day, counted over all users: one more with every active day of a user."""
        return np.asarray(np.cumsum(self._begins_visit) - 1, dtype=np.int64)

    @cached_property
    def visit_starts(self) -> Int64Array:
        """First event [active day]."""
        return np.flatnonzero(self._begins_visit)

    @cached_property
    def _begins_visit(self) -> BoolArray:
        begins = np.ones(len(self.owners), dtype=bool)
        begins[1:] = (np.diff(self.sequences.days) != 0) | (np.diff(self.owners) != 0)
        return begins

    @cached_property
    def purchases_before(self) -> Int64Array:
        """Purchases among the first n events, [events + 1]."""
        return np.concatenate(([0], np.cumsum(self.sequences.behaviors == PURCHASE)))

    @cached_property
    def _span(self) -> tuple[int, int]:
        days = self.sequences.days
        return (int(days.min()), int(days.max() - days.min()) + 2) if len(days) else (0, 2)

    @cached_property
    def _keys(self) -> Int64Array:
        first, span = self._span
        return self.owners * span + self.sequences.days - first

    def first_from(self, owners: Int64[Int64Array, " n"], days: Int64[Int64Array, " n"]) -> Int64[Int64Array, " n"]:
        """First event of user `owners[i]` on or after `days[i]`; one past the user's last event where there is none."""
        first, span = self._span
        return np.searchsorted(self._keys, owners * span + np.clip(days - first, 0, span - 1))

    def day_ends(self) -> PredictionPoints:
        """A prediction point at the end of every active day."""
        events = np.append(self.visit_starts[1:], len(self.owners)) - 1 if len(self.owners) else self.visit_starts
        return PredictionPoints(self, events, self.sequences.days[events])

    def prediction_points(self, last_day: int, seed: int) -> PredictionPoints:
        """A prediction point at the end of every active day, and at one day without events after it if there is any.

        The day without events is drawn uniformly from those before the user's next visit, at most SILENT_DAYS after
        the active day and not after `last_day`.
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
        return PredictionPoints(self, events[order], days[order])

    def last_prediction_points(self, day: int) -> PredictionPoints:
        """A prediction point at the end of `day` for every user with an event on it or in the SILENT_DAYS before it."""
        users = np.arange(len(self.sequences.users))
        newest = self.first_from(users, np.full(len(users), day + 1)) - 1
        some = newest >= self.sequences.offsets[:-1]
        newest = newest[some]
        newest = newest[self.sequences.days[newest] >= day - SILENT_DAYS]
        return PredictionPoints(self, newest, np.full(len(newest), day))


@dataclass(frozen=True)
class PredictionPoints:
    """Prediction points of one timeline, in order of event.

    Attributes:
        timeline: The events of all users.
        events: Newest event [point] that the prediction may use.
        days: Day [point] at whose end the prediction is made; not before that of the event.
    """

    timeline: Timeline
    events: Int64[Int64Array, " point"]
    days: Int64[Int64Array, " point"]

    def __len__(self) -> int:
        return len(self.events)

    @cached_property
    def owners(self) -> Int64Array:
        """User [point]."""
        return self.timeline.owners[self.events]

    def take(self, which: Int64Array | BoolArray) -> PredictionPoints:
        """Only these points."""
        return PredictionPoints(self.timeline, self.events[which], self.days[which])

    def features(self, maximum_length: int) -> Float32[Float32Array, "point feature"]:
        """Features of the users' histories by the prediction points, [point, FEATURES].

        First the logarithms log(1 + x) of: days since the newest event, active days, days since the first event, days
        between the last two visits, events of the newest active day, events of the last 7 and 28 days, days since the
        newest purchase; none looks back further than FEATURE_WINDOW_DAYS. Then, for each of RECENT_VISITS, the cosine
        between the category counts of that many newest active days and of the days before them, and the same for
        items, within the newest `maximum_length` events with known codes; 0 where there are no days before.
        """
        timeline, sequences, events, days, owner = (
            self.timeline,
            self.timeline.sequences,
            self.events,
            self.days,
            self.owners,
        )
        start = sequences.offsets[owner]
        visit = timeline.visits[events]
        visit_start = timeline.visit_starts[visit]
        window_start = np.minimum(timeline.first_from(owner, days - FEATURE_WINDOW_DAYS + 1), events)
        n_visits = visit - timeline.visits[window_start] + 1
        before = sequences.days[np.maximum(visit_start - 1, start)]
        bought = timeline.purchases_before[events + 1]
        newest_purchase = np.searchsorted(timeline.purchases_before, bought, side="left") - 1
        never_bought = bought == timeline.purchases_before[start]
        since_purchase = np.where(
            never_bought, FEATURE_WINDOW_DAYS, days - sequences.days[np.maximum(newest_purchase, 0)]
        )
        counts = [
            days - sequences.days[events],
            n_visits,
            np.minimum(days - sequences.days[start], FEATURE_WINDOW_DAYS),
            np.minimum(sequences.days[events] - before, FEATURE_WINDOW_DAYS),
            events + 1 - visit_start,
            events + 1 - np.minimum(timeline.first_from(owner, days - 6), events + 1),
            events + 1 - np.minimum(timeline.first_from(owner, days - 27), events + 1),
            np.minimum(since_purchase, FEATURE_WINDOW_DAYS),
        ]
        distinct, row = np.unique(events, return_inverse=True)
        similarity = np.hstack(
            [
                _similarity(timeline, distinct, maximum_length, codes)
                for codes in (sequences.categories, sequences.items)
            ]
        )
        return np.hstack([np.log1p(np.stack(counts, axis=1)), similarity[row]]).astype(np.float32)

    def past_categories(self) -> PastItems:
        """Categories of the users' events by each prediction point; `items` of the result are category codes."""
        sequences = self.timeline.sequences
        by_category = replace(sequences, items=sequences.categories)
        return past_items(by_category, sequences.offsets[self.owners], self.events + 1)


def _similarity(
    timeline: Timeline, events: Int64[Int64Array, " n"], maximum_length: int, codes: Int64Array
) -> Float64[Float64Array, "n visits"]:
    """Cosine [event, RECENT_VISITS] of the counts of `codes` on the newest active days and on those before."""
    start = np.maximum(timeline.sequences.offsets[timeline.owners[events]], events + 1 - maximum_length)
    point, event = flat_ranges(start, events + 1)
    known: Bool[BoolArray, " entry"] = codes[event] > 0
    point, event = point[known], event[known]
    age = timeline.visits[events][point] - timeline.visits[event]
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
