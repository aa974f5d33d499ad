"""Labels of prediction points: what the log holds on the days after them.

No label uses an event after the last observed day: what had not been observed completely by then is masked. Needs no
torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64

from shift_assets.arrays import BoolArray, Float32Array, Int64Array
from shift_assets.contracts.cleaning import BEHAVIORS
from shift_assets.models.data.prediction_points import PURCHASE, PredictionPoints
from shift_assets.models.data.sequences import flat_ranges

CHURN_WEEKS = 8
"""Weekly bins in which the first return of a user is predicted; later returns are not modelled."""


@dataclass(frozen=True)
class Labels:
    """Labels of prediction points, with masks of what was observed.

    Attributes:
        prediction_points: Point [entry] that a category share belongs to; points without entries are masked.
        categories: Category code [entry].
        shares: Share [entry] of the category in the score of the days after the point.
        purchase: Whether [point] the user bought within the horizon.
        purchase_known: Whether [point] the horizon was observed completely.
        returned: Whether [point, week] the user's first return falls into the week.
        at_risk: Whether [point, week] the user had not returned before the week and the week was observed completely.
    """

    prediction_points: Int64[Int64Array, " entry"]
    categories: Int64[Int64Array, " entry"]
    shares: Float32[Float32Array, " entry"]
    purchase: Bool[BoolArray, " point"]
    purchase_known: Bool[BoolArray, " point"]
    returned: Bool[BoolArray, "point week"]
    at_risk: Bool[BoolArray, "point week"]

    def take(self, which: Int64Array) -> Labels:
        """The labels of the points with these indices, in this order."""
        point, entry = flat_ranges(
            np.searchsorted(self.prediction_points, which), np.searchsorted(self.prediction_points, which, side="right")
        )
        return Labels(
            point,
            self.categories[entry],
            self.shares[entry],
            self.purchase[which],
            self.purchase_known[which],
            self.returned[which],
            self.at_risk[which],
        )


def behavior_points(weights: Mapping[str, float]) -> Float32Array:
    """Score [behaviour code] of an event, by the weights of `interest`; 1 for a rating, whose stars are not at hand."""
    return np.array([0.0, *(weights.get(name, 1.0 if name == "rating" else 0.0) for name in BEHAVIORS)], np.float32)


def labels(points: PredictionPoints, last_day: int, horizon_days: int, scores: Float32Array) -> Labels:
    """Labels of prediction points of a log observed up to and including `last_day`.

    Args:
        points: The prediction points.
        last_day: Last observed day, as a count from 1970-01-01.
        horizon_days: Days after a point that categories and a purchase are looked for.
        scores: Score [behaviour code] of an event; a category's sum is floored at 0.
    """
    sequences, timeline, owner = points.timeline.sequences, points.timeline, points.owners
    start = timeline.first_from(owner, points.days + 1)
    end = timeline.first_from(owner, np.minimum(points.days + horizon_days, last_day) + 1)
    point, event = flat_ranges(start, end)
    width = int(sequences.categories.max(initial=0)) + 1
    pairs, pair = np.unique(point * width + sequences.categories[event], return_inverse=True)
    score = np.bincount(pair, weights=scores[sequences.behaviors[event]], minlength=len(pairs))
    mask = (score > 0) & (pairs % width > 0)
    labelled, categories, score = pairs[mask] // width, pairs[mask] % width, score[mask]
    totals = np.bincount(labelled, weights=score, minlength=len(points))
    bought = np.concatenate(([0], np.cumsum(sequences.behaviors == PURCHASE)))
    returned, at_risk = _returns(points, start, last_day)
    return Labels(
        labelled,
        categories,
        (score / totals[labelled]).astype(np.float32),
        bought[np.maximum(end, start)] > bought[start],
        points.days + horizon_days <= last_day,
        returned,
        at_risk,
    )


def _returns(
    points: PredictionPoints, following: Int64Array, last_day: int
) -> tuple[Bool[BoolArray, "point week"], Bool[BoolArray, "point week"]]:
    """Week of the first visit after each point, and the weeks in which it could be observed, [point, week].

    A discrete-time hazard with censoring, as in deep survival models of retail customers (arXiv 2304.00575). A week
    that ends after `last_day` is masked even where the user did return in it: otherwise only early returns of the
    truncated week would count, and they would bias its hazard upwards.
    """
    sequences = points.timeline.sequences
    event = np.minimum(following, len(sequences.days) - 1)
    ends = sequences.offsets[points.owners + 1]
    waited = np.where(following < ends, sequences.days[event] - points.days, np.iinfo(np.int32).max)
    week = (waited[:, None] - 1) // 7
    weeks = np.arange(CHURN_WEEKS)
    observed = points.days[:, None] + 7 * (weeks + 1) <= last_day
    return (week == weeks) & observed, (week >= weeks) & observed
