"""Rules of alerts: when one opens, how long it continues, when it closes.

**By the evidence**, for a user's scored day:

- An alert opens on the day on which the confidence crosses the threshold of the newest self-check from below (by rule
  `average_run_length`, or before the first self-check, the statistic M the threshold A; by rule `discovery` the user's
  q-value is at most q and M was below A before). What stayed above since an alert closed by time does not open another.
- Its kind is `return` where the risen categories were already strong in the profile from before; `surge` where
  something was added and almost nothing lost; `fade` where something was lost and almost nothing added; else `switch`.
- It is `continued` on every later scored day on which the confidence is at least `CLOSE_FRACTION` of its threshold,
  or log M of log A.
- It is `closed` on the first scored day below that; or when `evidence.starts` scored days have passed since the
  onset: then the new interest is the user's normal, and the profile restarts from the onset; or once
  `close_after_days` have passed without renewal, whether the user was active or not.

**By thresholds on the indicators**. The excess of the *mix* is the smaller of interest gap and distribution distance,
each in multiples of its threshold: both must cross, because a gap alone may be one large order, and a distance alone
many small changes. The excess of the *activity* is `|log2(1 + change rate)|` in multiples of its threshold.

- An alert opens on the active day on which the excess of mix or activity reaches one, having been below one on the
  active day before. What stayed above since an alert closed by time does not open another.
- Its kind: the mix makes `switch`, or `return` where the risen categories were already strong in the long-term profile
  from before both windows; activity alone makes `surge` or `fade`.
- It is `continued` on every later active day on which the excess that opened it reaches one again. An open surge or
  fade whose mix crosses becomes a switch or return: the same alert, better classified.
- It is `closed` on the first active day on which that excess is below `close_below`, or once `close_after_days` have
  passed without renewal, whether the user was active or not.

**By the error of a forecast** the rules are those of the mix; the excess is the smoothed error in multiples of the
day's threshold (`shift.detector.forecast_error`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from jaxtyping import Float64

from shift_assets.arrays import BoolArray, Float64Array, Int64Array
from shift_assets.settings.root import AlertSettings

MIX_KINDS = ("switch", "return")
CLOSE_FRACTION = 0.5
"""An alert of the evidence closes when its statistic falls below this part of its threshold."""


@dataclass(frozen=True, slots=True)
class Excess:
    """Indicators in multiples of their thresholds; nan where they are null."""

    mix: Float64[Float64Array, " user"]
    activity: Float64[Float64Array, " user"]  # negative: less active


def excess(
    change_rate: Float64Array,
    interest_gap: Float64Array,
    distribution_distance: Float64Array,
    *,
    n_days: Int64Array,
    settings: AlertSettings,
    segment: str,
) -> Excess:
    """Return the users' indicators [user] in multiples of the segment's thresholds.

    Args:
        change_rate: smoothed change rate.
        interest_gap: smoothed largest interest gap.
        distribution_distance: smoothed distribution distance.
        n_days: active days in both windows. Windows of a few days differ by chance alone, so users with fewer than
            `settings.minimum_active_days` get nan.
        settings: the thresholds.
        segment: segment whose own thresholds apply.
    """
    own = settings.per_segment.get(segment, {})
    mix = np.minimum(
        interest_gap / own.get("interest_gap", settings.interest_gap),
        distribution_distance / own.get("distribution_distance", settings.distribution_distance),
    )
    with np.errstate(divide="ignore"):
        activity = np.log2(1.0 + change_rate) / own.get("change_rate", settings.change_rate)
    few = n_days < settings.minimum_active_days
    return Excess(mix=np.where(few, np.nan, mix), activity=np.where(few, np.nan, activity))


def mix_excess(mix: Float64Array, n_days: Int64Array, settings: AlertSettings) -> Excess:
    """Return the excess of a detector of the mix alone; nan for users with too few active days.

    Args:
        mix: its statistic in multiples of its threshold, [user].
        n_days: active days that it was computed from, [user].
        settings: the minimum number of days.
    """
    few = n_days < settings.minimum_active_days
    return Excess(mix=np.where(few, np.nan, mix), activity=np.full(len(mix), np.nan))


@dataclass(frozen=True, slots=True)
class Transition:
    """Changes of the users' alerts on an active day, [user] each."""

    opened: BoolArray
    continued: BoolArray
    closed: BoolArray
    by_mix: BoolArray  # opened or renewed by the mix; an alert of activity becomes one of the mix
    settled: BoolArray  # closed because the new interest has become normal


def threshold_transition(
    before: Excess, now: Excess, open_kind: list[str | None], days_since_renewal: Int64Array, settings: AlertSettings
) -> Transition:
    """Apply the rules of the thresholds.

    Args:
        before: excess at the end of the previous active day.
        now: excess today.
        open_kind: kind of the user's open alert, None without one, [user].
        days_since_renewal: days since the open alert's excess last reached one, before today, [user].
        settings: thresholds of closing.
    """
    is_open = np.array([kind is not None for kind in open_kind], dtype=bool)
    open_by_mix = np.array([kind in MIX_KINDS for kind in open_kind], dtype=bool)
    direction = np.array([{"surge": 1.0, "fade": -1.0}.get(kind or "", np.nan) for kind in open_kind])
    mix_exceeds, activity_exceeds = now.mix >= 1.0, np.abs(now.activity) >= 1.0
    own = np.where(open_by_mix, now.mix, direction * now.activity)
    renewed = is_open & ((own >= 1.0) | mix_exceeds)
    may_close = (own < settings.close_below) | (days_since_renewal >= settings.close_after_days)
    mix_crosses = mix_exceeds & ~(before.mix >= 1.0)
    activity_crosses = activity_exceeds & ~(np.abs(before.activity) >= 1.0)
    return Transition(
        opened=~is_open & (mix_crosses | activity_crosses),
        continued=renewed,
        closed=is_open & ~renewed & may_close,
        by_mix=mix_exceeds,
        settled=np.zeros(len(is_open), dtype=bool),
    )


@dataclass(frozen=True, slots=True)
class EvidenceObservation:
    """The statistic that alerts, for the users active today, [user] each; nan without a scored day.

    By rule `flagged_share`, where a learned detector is calibrated, it is the confidence; else log M.
    """

    before: Float64Array  # on the scored day before
    now: Float64Array  # today; nan for a user active without score
    threshold: float  # value from which an alert opens
    q_value: Float64Array  # nan where not computed, and for users with an open alert
    scored_since_onset: Int64Array  # scored days from the open alert's onset to today


def evidence_transition(
    observation: EvidenceObservation,
    is_open: BoolArray,
    days_since_renewal: Int64Array,
    starts: int,
    settings: AlertSettings,
) -> Transition:
    """Apply the rules of the evidence; by rule `discovery` nothing opens without q-values.

    Args:
        observation: evidence before and after the day.
        is_open: whether the user had an open alert before the day, [user].
        days_since_renewal: days since the open alert was last opened or continued, [user].
        starts: number of possible starts, `evidence.starts`.
        settings: threshold and rule.
    """
    threshold = observation.threshold
    with np.errstate(invalid="ignore"):
        was_above = observation.before >= threshold
        by_threshold, by_discovery = observation.now >= threshold, observation.q_value <= settings.false_discovery_rate
        is_low = observation.now < CLOSE_FRACTION * threshold
    settled = is_open & (observation.scored_since_onset >= starts)
    may_close = is_low | (np.isnan(observation.now) & (days_since_renewal >= settings.close_after_days))
    return Transition(
        opened=~is_open & ~was_above & (by_discovery if settings.rule == "discovery" else by_threshold),
        continued=is_open & ~settled & ~may_close & ~np.isnan(observation.now),
        closed=settled | (is_open & may_close),
        by_mix=np.zeros(len(is_open), dtype=bool),
        settled=settled,
    )


def alert_id(user_id: str, opened: date) -> str:
    """Return the id of the alert that a user's episode has from its first day to its last, 32 hex digits."""
    return hashlib.blake2b(f"{user_id}|{opened.isoformat()}".encode(), digest_size=16).hexdigest()


def opened_day(user_id: str, name: str, first: date, last: date) -> date | None:
    """Return the day, `first` to `last`, on which the user's alert with the id `name` opened; None for none of them."""
    days = (first + timedelta(days=number) for number in range((last - first).days + 1))
    return next((day for day in days if alert_id(user_id, day) == name), None)
