"""Part of shift_assets.churn.bg_nbd."""

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
    """Where the churn warnings of users stand at the end of a day."""

    probability: Float64Array  # [user], nan for a user not known yet, or where there were no parameters
    is_open: BoolArray  # [user]


@dataclass(frozen=True, slots=True)
class ChurnObservation:
    """What the end of a day shows of users."""

    probability: Float64Array  # [user], nan where there are no parameters
    active_days: Int64Array  # [user], since the first
    came: BoolArray  # [user], on this very day


@dataclass(frozen=True, slots=True)
class ChurnTransition:
    """What a day did to the churn warnings."""

    opened: BoolArray  # [user]
    closed: BoolArray  # [user]
    now: ChurnWarnings


def churn_transitions(yesterday: ChurnWarnings, today: ChurnObservation, settings: ChurnSettings) -> ChurnTransition:
    """The warnings after a day, for all users at once, in one order.

    A warning opens when the probability crosses `settings.line` from below while the user stays away: who is above
    the line at a visit already has no rhythm to fall out of. It closes when the user comes, or when the
    probability falls below `settings.close_below`. Users with fewer than
    `settings.minimum_active_days` visits get no warning.
    """
    rhythm = today.active_days >= settings.minimum_active_days
    crossed = (yesterday.probability < settings.line) & (today.probability >= settings.line)
    opened = crossed & rhythm & ~today.came & ~yesterday.is_open
    closed = yesterday.is_open & (today.came | (today.probability < settings.close_below))
    return ChurnTransition(opened, closed, ChurnWarnings(today.probability, (yesterday.is_open | opened) & ~closed))


def visits_lost(state: pa.Table) -> Float64Array:
    """Visits in `HORIZON_DAYS` days by the user's own rhythm, [row of `state`]; 0 after a single visit.

    What a churn warning's severity is told by: its probability is that of the line, or little more, when it opens.
    """
    mean = pc.fill_null(state["gap_mean_days"], np.inf).to_numpy()
    return np.asarray(HORIZON_DAYS / mean)


def churn_severity(lost: float, settings: ChurnSettings) -> str:
    """`low`, `medium` or `high`, by the visits lost and the cut points of the settings."""
    cut_points = settings.severity_visits
    return "high" if lost >= cut_points[1] else "medium" if lost >= cut_points[0] else "low"
