"""What the days after a look brought: labels that the log itself supplies. No torch.

Nothing here looks past the last day that it is given: what had not been seen wholly by then is masked, not guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from shift_assets.arrays import BoolArray, Float32Array, Int64Array
from shift_assets.contracts.cleaning import BEHAVIORS
from shift_assets.models.data.prediction_points import PURCHASE, PredictionTimes, Timeline
from shift_assets.models.data.sequences import flat_ranges

CHURN_WEEKS = 8
"""Weekly bins in which a user may return; who has not by then is beyond the model."""


@dataclass(frozen=True)
class Labels:
    """What is foretold, for every look.

    `shares[entry]` is the share of category code `categories[entry]` in the score of the days after look
    `prediction_points[entry]`; a look without entries is masked. `purchase[point]` counts where
    `purchase_known[point]`.
    `returned[point, week]` counts where `at_risk[point, week]`: the user had not returned in an earlier week, and the
    week was seen wholly.
    """

    prediction_points: Int64Array
    categories: Int64Array
    shares: Float32Array
    purchase: BoolArray
    purchase_known: BoolArray
    returned: BoolArray
    at_risk: BoolArray

    def take(self, which: Int64Array) -> Labels:
        """The labels of the looks at these places, in this order."""
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
    """Points [behaviour code] of an event, from the weights of `interest`; a rating, its stars unknown here, has 1."""
    return np.array([0.0, *(weights.get(name, 1.0 if name == "rating" else 0.0) for name in BEHAVIORS)], np.float32)


def labels(
    timeline: Timeline, prediction_times: PredictionTimes, last_day: int, horizon_days: int, points: Float32Array
) -> Labels:
    """The labels of looks at a log that was observed up to and with `last_day`.

    `points[behaviour code]` weigh the events of the `horizon_days` after a look; a category's sum is floored at 0.
    """
    sequences = timeline.sequences
    owner = timeline.owners[prediction_times.events]
    start = timeline.first_from(owner, prediction_times.days + 1)
    end = timeline.first_from(owner, np.minimum(prediction_times.days + horizon_days, last_day) + 1)
    point, event = flat_ranges(start, end)
    width = int(sequences.categories.max(initial=0)) + 1
    pairs, place = np.unique(point * width + sequences.categories[event], return_inverse=True)
    score = np.bincount(place, weights=points[sequences.behaviors[event]], minlength=len(pairs))
    mask = (score > 0) & (pairs % width > 0)
    prediction_points, categories, score = pairs[mask] // width, pairs[mask] % width, score[mask]
    totals = np.bincount(prediction_points, weights=score, minlength=len(prediction_times))
    bought = np.concatenate(([0], np.cumsum(sequences.behaviors == PURCHASE)))
    returned, at_risk = _returns(timeline, prediction_times, start, last_day)
    return Labels(
        prediction_points,
        categories,
        (score / totals[prediction_points]).astype(np.float32),
        bought[np.maximum(end, start)] > bought[start],
        prediction_times.days + horizon_days <= last_day,
        returned,
        at_risk,
    )


def _returns(
    timeline: Timeline, prediction_times: PredictionTimes, following: Int64Array, last_day: int
) -> tuple[BoolArray, BoolArray]:
    """The week of the first visit after each look, and the weeks in which it could be seen, [look, week].

    A discrete-time hazard with censoring, as in deep survival models of retail customers (arXiv 2304.00575). A week
    that ends after `last_day` is masked even where the user did return in it: else only those who come early in a
    week that is cut short would count, and they always come.
    """
    sequences = timeline.sequences
    place = np.minimum(following, len(sequences.days) - 1)
    ends = sequences.offsets[timeline.owners[prediction_times.events] + 1]
    waited = np.where(following < ends, sequences.days[place] - prediction_times.days, np.iinfo(np.int32).max)
    week = (waited[:, None] - 1) // 7
    weeks = np.arange(CHURN_WEEKS)
    seen = prediction_times.days[:, None] + 7 * (weeks + 1) <= last_day
    return (week == weeks) & seen, (week >= weeks) & seen
