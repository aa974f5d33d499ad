"""When a churn warning opens and closes, and how severe it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.arrays import BoolArray, Float64Array, Int64Array
from shift_assets.churn.bg_nbd import HORIZON_DAYS
from shift_assets.settings.root import ChurnSettings


@dataclass(frozen=True, slots=True)
class ChurnWarnings:
    """The users' churn warnings at the end of a day."""

    probability: Float64Array  # [user], nan for a user not known yet, or without parameters
    is_open: BoolArray  # [user]


@dataclass(frozen=True, slots=True)
class ChurnObservation:
    """What is known of the users at the end of a day."""

    probability: Float64Array  # [user], nan where there are no parameters
    active_days: Int64Array  # [user], from the first one on
    came: BoolArray  # [user], on this day


@dataclass(frozen=True, slots=True)
class ChurnTransition:
    """What a day changed in the churn warnings."""

    opened: BoolArray  # [user]
    closed: BoolArray  # [user]
    now: ChurnWarnings


def churn_transitions(yesterday: ChurnWarnings, today: ChurnObservation, settings: ChurnSettings) -> ChurnTransition:
    """Advance the churn warnings of all users by a day.

    A warning opens when the probability crosses `settings.threshold` from below while the user stays away: a user above
    the threshold already at a visit has no rhythm to fall out of. It closes when the user comes, or when the
    probability falls below `settings.close_below`. Users with fewer than `settings.minimum_active_days` visits get no
    warning.

    Args:
        yesterday: warnings at the end of the day before.
        today: the day's observation of the same users, in the same order.
        settings: thresholds.
    """
    rhythm = today.active_days >= settings.minimum_active_days
    crossed = (yesterday.probability < settings.threshold) & (today.probability >= settings.threshold)
    opened = crossed & rhythm & ~today.came & ~yesterday.is_open
    closed = yesterday.is_open & (today.came | (today.probability < settings.close_below))
    return ChurnTransition(opened, closed, ChurnWarnings(today.probability, (yesterday.is_open | opened) & ~closed))


def visits_lost(state: pa.Table) -> Float64Array:
    """Visits that a user's own rhythm has in `HORIZON_DAYS` days, [row of `state`]; 0 after a single visit.

    They give a churn warning its severity: its probability is always close to the threshold when it opens.
    """
    mean = pc.fill_null(state["gap_mean_days"], np.inf).to_numpy()
    return np.asarray(HORIZON_DAYS / mean)


def churn_severity(lost: float, settings: ChurnSettings) -> str:
    """Return `low`, `medium` or `high`, by the visits lost and the cut points of the settings."""
    cut_points = settings.severity_visits
    return "high" if lost >= cut_points[1] else "medium" if lost >= cut_points[0] else "low"
