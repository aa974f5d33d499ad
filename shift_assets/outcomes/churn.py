"""Outcomes of churn warnings: whether the user stayed away for the days that the warning is about."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.arrays import sum_by
from shift_assets.churn.bg_nbd import HORIZON_DAYS
from shift_assets.contracts.outcomes import ALERT_OUTCOMES
from shift_assets.outcomes.alerts import EVENTS


def churn_warning_outcomes(alerts: pa.Table, series: pa.Table) -> pa.Table:
    """Rows of `alert_outcomes` for the churn warnings that opened on a day of a segment, sorted by alert.

    A warning is confirmed if the user did not come on the `HORIZON_DAYS` days after it. Returned goods are a visit, as
    in the probability, though not an event.

    Args:
        alerts: `shift_alerts` of one day and segment; only warnings with status `opened` are used.
        series: `interest_series` of the `HORIZON_DAYS` days after it, and of no other.
    """
    opened = alerts.filter((pc.field("status") == "opened") & (pc.field("kind") == "churn_risk")).sort_by("alert_id")
    if len(opened) == 0:
        return ALERT_OUTCOMES.empty()
    after = series.filter(pc.is_in(series["user_id"], value_set=opened["user_id"].combine_chunks()))
    user = pc.index_in(after["user_id"], value_set=opened["user_id"].combine_chunks()).to_numpy().astype(np.int64)
    events = np.asarray(np.sum([after[name].to_numpy() for name in EVENTS], axis=0), dtype=np.float64)
    return ALERT_OUTCOMES.conform(
        pa.table(
            {
                **{name: opened[name] for name in ("day", "segment", "alert_id")},
                "horizon_days": pa.repeat(HORIZON_DAYS, len(opened)),
                "confirmed": pa.array(np.bincount(user, minlength=len(opened)) == 0),
                "log_likelihood_gain": pa.nulls(len(opened), pa.float64()),
                "n_events": pa.array(sum_by(user, events, len(opened)).astype(np.int64)),
            }
        )
    )
