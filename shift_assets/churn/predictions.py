"""The rows of `churn_predictions`: probability and warning of every user who is not long gone."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.arrays import Float64Array, integers
from shift_assets.churn.bg_nbd import no_visit_logit, visits_from_state
from shift_assets.churn.model import ChurnModel, HeadPredictions
from shift_assets.churn.threshold import may_open
from shift_assets.churn.warnings import GONE_DAYS, NEWS_DAYS, ChurnObservation, churn_transitions
from shift_assets.contracts.churn import CHURN_PREDICTIONS
from shift_assets.contracts.day import day_number
from shift_assets.settings.root import ChurnSettings

STATE_COLUMNS = ["user_id", "last_active_day", "active_days", "gap_count", "gap_mean_days", "recent_days"]
"""Columns of `interest_state` that churn is predicted from."""
_NEVER = -(2**31)


def churn_predictions(
    state: pa.Table,
    yesterday: pa.Table,
    model: ChurnModel | None,
    heads: HeadPredictions,
    settings: ChurnSettings,
    *,
    day: date,
    segment: str,
) -> pa.Table:
    """Return the segment's rows of `churn_predictions`, sorted by user.

    A user has a row while the probability is known and the last visit at most `GONE_DAYS` days ago, and on the day on
    which an open warning closes.

    Args:
        state: `STATE_COLUMNS` of `interest_state` as of the end of `day`, in any order of rows.
        yesterday: `churn_predictions` of the day before; empty at the beginning.
        model: fitted on the state of an earlier day; None where there was too little to fit: then only a visit, or
            `GONE_DAYS`, closes a warning.
        heads: predictions of the interest model up to `day`.
        settings: visits of a rhythm.
        day: day of the state.
        segment: segment of the state.
    """
    state = state.sort_by("user_id")
    visits, users = visits_from_state(state, day), state["user_id"]
    before = yesterday.take(pc.index_in(users, value_set=yesterday["user_id"].combine_chunks()))
    last_day = integers(state["last_active_day"].cast(pa.int32()), _NEVER)
    came = last_day == day_number(day)
    was_open = np.asarray(pc.fill_null(pc.is_in(before["warning"], pa.array(["opened", "open"])), False), dtype=bool)
    opened_day = integers(before["warning_opened_day"].cast(pa.int32()), _NEVER)
    nothing = np.full(len(state), np.nan)
    by_visits, probability, head, earlier = nothing, nothing, heads.on(day_number(day), users), nothing
    if model is not None:
        by_visits = 1 / (1 + np.exp(-no_visit_logit(visits, model.parameters)))
        probability = model.probabilities(visits, head)
        news = np.minimum(visits.away, NEWS_DAYS)
        earlier = model.probabilities(visits.before(news), _head_before(heads, day, users, news))
    step = churn_transitions(
        was_open,
        opened_day > last_day,
        ChurnObservation(probability, earlier, may_open(visits, settings.minimum_active_days), came, visits.away),
        None if model is None else model.threshold.value,
    )
    opened_day = np.where(step.opened, day_number(day), opened_day)
    keeps_day = step.is_open | step.closed | (opened_day > last_day)
    warning = np.full(len(state), None, dtype=object)
    warning[step.is_open], warning[step.opened], warning[step.closed] = "open", "opened", "closed"
    away_since = np.where(step.closed & came, integers(before["away_since"].cast(pa.int32()), _NEVER), last_day + 1)
    rows = pa.table(
        {
            "day": pa.repeat(pa.scalar(day, pa.date32()), len(state)),
            "segment": pa.repeat(segment, len(state)),
            **{name: state[name] for name in ("user_id", "last_active_day", "active_days", "gap_mean_days")},
            "away_since": pa.array(away_since.astype(np.int32)).cast(pa.date32()),
            "days_away": pa.array(visits.away.astype(np.int64)),
            "visits_probability": pa.array(by_visits, from_pandas=True),
            "model_probability": pa.array(head, from_pandas=True),
            "churn_probability": pa.array(probability, from_pandas=True),
            "threshold": pa.repeat(
                pa.scalar(None if model is None else model.threshold.value, pa.float64()), len(state)
            ),
            "warning": pa.array(warning, pa.string()),
            "warning_opened_day": pa.array(opened_day.astype(np.int32), mask=~keeps_day).cast(pa.date32()),
        }
    )
    shown = (np.isfinite(probability) & (visits.away <= GONE_DAYS)) | step.is_open | step.closed
    return CHURN_PREDICTIONS.conform(rows.filter(pa.array(shown)))


def _head_before(heads: HeadPredictions, day: date, users: pa.ChunkedArray, news: Float64Array) -> Float64Array:
    """The head's predictions as many days before `day` as `news` says, [user]."""
    found = np.full(len(users), np.nan)
    for days in range(NEWS_DAYS + 1):
        that_day = day_number(day - timedelta(days=days))
        found = np.where(news == days, heads.on(that_day, users), found)
    return found
