"""When a churn warning opens and closes, and how severe it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from shift_assets.arrays import BoolArray, Float64Array
from shift_assets.churn.bg_nbd import HORIZON_DAYS
from shift_assets.settings.root import ChurnSettings

CLOSE_FRACTION = 0.75
"""A warning closes when the probability falls below this part of the threshold."""
NEWS_DAYS = 7
"""A warning opens up to so many days after the threshold was crossed: the threshold itself changes once a week."""
GONE_DAYS = 180
"""Days of absence after which a user is gone: an open warning closes, and the user leaves the daily table."""


@dataclass(frozen=True, slots=True)
class ChurnObservation:
    """What is known of the users at the end of a day."""

    probability: Float64[Float64Array, " user"]  # nan without a model
    news_before: Float64[Float64Array, " user"]  # probability NEWS_DAYS before, or at the last visit if that is later
    may_open: Bool[BoolArray, " user"]
    came: Bool[BoolArray, " user"]  # on this day
    days_away: Float64[Float64Array, " user"]


@dataclass(frozen=True, slots=True)
class ChurnTransition:
    """What a day changed in the churn warnings."""

    opened: Bool[BoolArray, " user"]
    closed: Bool[BoolArray, " user"]
    is_open: Bool[BoolArray, " user"]  # at the end of the day


def churn_transitions(
    was_open: Bool[BoolArray, " user"],
    warned: Bool[BoolArray, " user"],
    today: ChurnObservation,
    threshold: float | None,
) -> ChurnTransition:
    """Advance the churn warnings of all users by a day.

    A warning opens when the probability has crossed `threshold` within the last `NEWS_DAYS` days of an absence that had
    no warning yet: a user above the threshold already at a visit has no rhythm to fall out of, and one who crossed it
    long ago is no news. It closes when the user comes, when the probability falls below `CLOSE_FRACTION` of the
    threshold, or when the user is gone.

    Args:
        was_open: whether the user's warning was open the day before.
        warned: whether the present absence had a warning.
        today: the day's observation of the same users, in the same order.
        threshold: of the probability; None: nothing opens.
    """
    at = np.inf if threshold is None else threshold
    crossed = (today.probability >= at) & (today.news_before < at)
    opened = crossed & today.may_open & ~today.came & ~warned & ~was_open
    low = np.zeros(len(was_open), dtype=bool) if threshold is None else today.probability < CLOSE_FRACTION * threshold
    closed = was_open & (today.came | low | (today.days_away > GONE_DAYS))
    return ChurnTransition(opened, closed, (was_open | opened) & ~closed)


def churn_severity(gap_days: float | None, settings: ChurnSettings) -> str:
    """Return `low`, `medium` or `high`, by the visits that the user's rhythm has in `HORIZON_DAYS` days.

    The probability is always close to the threshold when a warning opens, and says nothing about its weight.

    Args:
        gap_days: mean gap between the user's visits; None after a single one.
        settings: cut points.
    """
    lost, cut_points = 0.0 if gap_days is None else HORIZON_DAYS / gap_days, settings.severity_visits
    return "high" if lost >= cut_points[1] else "medium" if lost >= cut_points[0] else "low"
