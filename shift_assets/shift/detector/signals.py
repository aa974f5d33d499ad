"""Shift signals of the users active on a day, from the state at its end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.arrays import BoolArray, CategoryCodes, Float64Array, Int64Array, offsets, user_day_names
from shift_assets.contracts.churn import CHURN_PREDICTIONS
from shift_assets.contracts.cleaning import BEHAVIORS
from shift_assets.contracts.shift import SHIFT_SIGNALS
from shift_assets.interest.user_days import UserDays, read_user_days, user_day_categories
from shift_assets.interest.windows import contrast, recent_entries
from shift_assets.settings.root import Settings, SignalSettings
from shift_assets.shift.detector.indicators import change_rate, distribution_distance, interest_gap

_FROM_STATE = {
    "change_rate": "change_rate_ewma",
    "interest_gap": "interest_gap_ewma",
    "distribution_distance": "distribution_distance_ewma",
    "evidence": "evidence",
    "confidence": "confidence",
    "p_value": "p_value",
}
"""Columns of the signals, each with the column of the state that it is copied from."""
_SCORE_COLUMNS = ("forecast_error", "model_shift_score", "churn_probability")
_RATES_TYPE = SHIFT_SIGNALS.column("change_rate_by_behavior").type

SMOOTHING = 0.5
"""Pseudo-count per category in the distribution distance."""


@dataclass(frozen=True, slots=True)
class Indicators:
    """Indicators before smoothing; nan where they are unknown."""

    n_recent: Int64Array  # [user], active days
    n_reference: Int64Array  # [user], active days
    change_rate: Float64Array  # [user]
    change_rate_by_behavior: Float64Array  # [user, behavior]
    interest_gap: Float64Array  # [user]
    interest_gap_total: Float64Array  # [user]
    distribution_distance: Float64Array  # [user]


def indicators(user_days: UserDays, is_recent: BoolArray, n_categories: int, settings: SignalSettings) -> Indicators:
    """Return the indicators of every user; nan with fewer active days than `settings.minimum_active_days`.

    Args:
        user_days: the users' recent and reference window.
        is_recent: whether an entry lies in the recent window, [entry].
        n_categories: number of categories.
        settings: minimum number of days, and the smoothing of distributions.
    """
    sides = contrast(user_days, is_recent, n_categories)
    enough = user_days.n_days >= settings.minimum_active_days
    largest, total = interest_gap(sides.share_after(), sides.share_before(), sides.user, sides.n_users)
    distance = distribution_distance(sides.after, sides.before, sides.user, sides.n_users, SMOOTHING)
    rate = change_rate(
        sides.counts_after.sum(axis=1), sides.counts_before.sum(axis=1), sides.days_after, sides.days_before
    )
    by_behavior = change_rate(
        sides.counts_after, sides.counts_before, sides.days_after[:, None], sides.days_before[:, None]
    )
    return Indicators(
        n_recent=sides.days_after,
        n_reference=sides.days_before,
        change_rate=np.where(enough, rate, np.nan),
        change_rate_by_behavior=np.where(enough[:, None], by_behavior, np.nan),
        interest_gap=np.where(enough, largest, np.nan),
        interest_gap_total=np.where(enough, total, np.nan),
        distribution_distance=np.where(enough, distance, np.nan),
    )


def shift_signals(
    state: pa.Table, settings: Settings, scores: Iterable[pa.Table] = (), churn: pa.Table | None = None
) -> pa.Table:
    """Return `shift_signals`: one row per user who was active on the state's day, or whose churn warning opened or
    closed on it, sorted by day, segment and user.

    Change rate, largest interest gap and distribution distance are those of the state, smoothed if
    `signals.ewma_half_life_active_days` is set; the rates per behaviour and the total gap are those of the windows as
    they are. Evidence and confidence are the state's. A user who was not active has the churn probability and the
    numbers of active days only.

    Args:
        state: `interest_state` of any days and segments.
        settings: windows and smoothing.
        scores: tables with columns `day`, `segment`, `user_id` and one of `forecast_error` and `model_shift_score`;
            null where a user has no row.
        churn: `churn_predictions` of the same partitions; without them there are no churn probabilities.
    """
    churn = CHURN_PREDICTIONS.empty() if churn is None else churn
    changed = churn.filter(pc.is_in(churn["warning"], pa.array(["opened", "closed"])))
    changes = pc.is_in(user_day_names(state), value_set=user_day_names(changed))
    active = state.filter(pc.or_(pc.equal(state["last_active_day"], state["day"]), changes))
    active = active.sort_by([("day", "ascending"), ("segment", "ascending"), ("user_id", "ascending")])
    codes = CategoryCodes(user_day_categories(active["recent_days"]))
    user_days = read_user_days(active["recent_days"], codes)
    raw = indicators(user_days, recent_entries(user_days, settings.state), len(codes), settings.signals)
    came = np.asarray(pc.equal(active["last_active_day"], active["day"]), dtype=bool)
    none = pa.scalar(None, pa.float64())
    columns = {
        "day": active["day"],
        "segment": active["segment"],
        "user_id": active["user_id"],
        "n_recent": pa.array(raw.n_recent),
        "n_reference": pa.array(raw.n_reference),
        "change_rate_by_behavior": _rates(np.where(came[:, None], raw.change_rate_by_behavior, np.nan)),
        "interest_gap_total": pa.array(np.where(came, raw.interest_gap_total, np.nan), from_pandas=True),
        **{name: pc.if_else(pa.array(came), active[state_column], none) for name, state_column in _FROM_STATE.items()},
        **_joined_scores([*scores, churn], active),
    }
    return SHIFT_SIGNALS.conform(pa.table(columns))


def learned_scores(state: pa.Table) -> pa.Table:
    """Return `day`, `segment`, `user_id` and `model_shift_score` of the users whom the learned detector scored.

    state: `interest_state` of one partition of a day on which a learned detector is in service.
    """
    scored = state.filter(pc.and_(pc.equal(state["last_active_day"], state["day"]), state["p_value"].is_valid()))
    columns = {name: scored[name] for name in ("day", "segment", "user_id")}
    return pa.table({**columns, "model_shift_score": scored["confidence"]})


def _joined_scores(scores: Iterable[pa.Table], active: pa.Table) -> dict[str, pa.Array | pa.ChunkedArray]:
    """Columns of `scores` by row of `active`; null where a user has no row."""
    out: dict[str, pa.Array | pa.ChunkedArray] = {name: pa.nulls(len(active), pa.float64()) for name in _SCORE_COLUMNS}
    names = user_day_names(active)
    for table in scores:
        row = pc.index_in(names, value_set=user_day_names(table))
        out |= {name: table[name].take(row) for name in _SCORE_COLUMNS if name in table.column_names}
    return out


def _rates(rates: Float64Array) -> pa.Array:
    """Per user the behaviours with a known rate, in the contract's order of behaviours."""
    user, behavior = np.nonzero(~np.isnan(rates))
    pairs = pa.StructArray.from_arrays(
        [pa.array(BEHAVIORS).take(pa.array(behavior)), pa.array(rates[user, behavior])],
        fields=list(_RATES_TYPE.value_type),
    )
    start = offsets(np.bincount(user, minlength=len(rates)))
    return pa.ListArray.from_arrays(pa.array(start.astype(np.int32)), pairs, type=_RATES_TYPE)
