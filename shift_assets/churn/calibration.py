"""Report what came of the churn predictions of four weeks ago: ranking, calibration, warnings, how early they came."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float64

from shift_assets.arrays import BoolArray, Float64Array, Int64Array, integers
from shift_assets.churn.bg_nbd import HORIZON_DAYS
from shift_assets.churn.history import VisitHistory
from shift_assets.contracts.day import date_of, day_number
from shift_assets.contracts.outcomes import CHURN_CALIBRATION
from shift_assets.settings.root import ChurnSettings

BINS = 10
CONFIDENCE = 0.95
NORMAL_95 = 1.959963984540054
DETECTION_DAYS = (7, 14, 21, 28, 42, 56)
"""Days after the last visit at which the early-detection curve is read."""


def refit_day(day: date, weekday: int) -> date:
    """Return the last `weekday` (0: Monday) before `day`: the state of its end fits the warnings of `day`.

    >>> refit_day(date(2025, 6, 2), weekday=0)
    datetime.date(2025, 5, 26)
    """
    return day - timedelta(days=(day.weekday() - weekday - 1) % 7 + 1)


def churn_calibration(
    then: pa.Table, now: pa.Table, recent: pa.Table, settings: ChurnSettings, *, day: date, segment: str
) -> pa.Table:
    """Return `churn_calibration` of one segment: one row, or none where nothing had been predicted.

    Args:
        then: `churn_predictions` of `HORIZON_DAYS` days before `day`.
        now: `interest_state` of `day`: who has come since.
        recent: `churn_predictions` of the days that the report reads besides: the week up to that of `then`, whose
            warnings are followed up, and `day`, whose absences show how early their warnings came.
        settings: stated precision, and the visits of a rhythm.
        day: day of the report.
        segment: segment of all of them.
    """
    then = then.filter(then["churn_probability"].is_valid())
    if then.num_rows == 0:
        return CHURN_CALIBRATION.empty()
    now = now.sort_by("user_id")
    history, users = VisitHistory(now, day), now["user_id"].combine_chunks()
    predicted_on = day_number(day) - HORIZON_DAYS
    churned = history.churned(predicted_on)[_rows_of(then, users)]
    by_visits = calibration(then["visits_probability"].to_numpy(), churned)
    opened = recent.filter(
        pc.and_(pc.equal(recent["warning"], "opened"), pc.less_equal(recent["day"], date_of(predicted_on)))
    )
    stayed = _stayed_away(opened, history, users)
    row = {
        "day": day,
        "segment": segment,
        **calibration(then["churn_probability"].to_numpy(), churned),
        "visits_auc": by_visits["auc"],
        "visits_brier": by_visits["brier"],
        "visits_calibration_error": by_visits["calibration_error"],
        "stacked_share": 1 - then["model_probability"].null_count / len(then),
        "stated_precision": settings.precision,
        "threshold": then["threshold"][0].as_py(),
        "n_warned": len(stayed),
        "warned_precision": float(stayed.mean()) if len(stayed) else None,
        "early_detection": early_detection(recent.filter(pc.equal(recent["day"], day)), settings.minimum_active_days),
    }
    return CHURN_CALIBRATION.conform(pa.Table.from_pylist([row], schema=CHURN_CALIBRATION.schema))


def early_detection(predictions: pa.Table, minimum_active_days: int) -> list[dict[str, float]]:
    """Return by days after the last visit how many of the users who stayed away had been warned of.

    Args:
        predictions: `churn_predictions` of one day. Users count who have a rhythm and have been away for at least the
            longest of `DETECTION_DAYS` and at most `HORIZON_DAYS` days more, so that every week has users of its own.
        minimum_active_days: visits of a rhythm.
    """
    away = predictions["days_away"].to_numpy()
    rhythm = predictions["active_days"].to_numpy() >= minimum_active_days
    gone = (away >= DETECTION_DAYS[-1]) & (away < DETECTION_DAYS[-1] + HORIZON_DAYS) & rhythm
    chosen = predictions.filter(pa.array(gone))
    opened, last = (
        integers(chosen[name].cast(pa.int32()), np.iinfo(np.int32).max)
        for name in ("warning_opened_day", "last_active_day")
    )
    if len(chosen) == 0:
        return []
    return [
        {"days": days, "n_churners": len(chosen), "warned": float((opened - last <= days).mean())}
        for days in DETECTION_DAYS
    ]


def _rows_of(table: pa.Table, users: pa.StringArray) -> Int64Array:
    return np.asarray(pc.index_in(table["user_id"], value_set=users).to_numpy(), dtype=np.int64)


def _stayed_away(opened: pa.Table, history: VisitHistory, users: pa.StringArray) -> BoolArray:
    """Whether the user of each opened warning stayed away in the `HORIZON_DAYS` days after it, [warning]."""
    days = opened["day"].cast(pa.int32()).to_numpy()
    rows = _rows_of(opened, users)
    stayed = np.zeros(len(rows), dtype=bool)
    for one in np.unique(days).tolist():
        stayed[days == one] = history.churned(one)[rows[days == one]]
    return stayed


def calibration(probability: Float64[Float64Array, " user"], churned: Bool[BoolArray, " user"]) -> dict[str, Any]:
    """Return AUC, Brier score (Brier 1950), its skill against the observed base rate, and the reliability bins.

    Intervals are normal ones over users, that of the skill by the delta method, and Wilson's in the bins.

    Args:
        probability: predicted probability of churn, of at least one user.
        churned: whether the user churned.

    Returns:
        The columns of `churn_calibration` that they fill; AUC and skill are None where all or none churned.
    """
    n_users, base_rate = len(churned), float(churned.mean())
    error, reference = (probability - churned) ** 2, (base_rate - churned) ** 2
    brier = _normal_interval(float(error.mean()), error)
    skill: tuple[float, float, float] | tuple[None, None, None] = (None, None, None)
    if 0 < base_rate < 1:
        ratio = float(error.mean() / reference.mean())
        low, high = _normal_interval(1 - ratio, (error - ratio * reference) / reference.mean())[1:]
        skill = (1 - ratio, low, min(high, 1.0))
    reliability = _reliability(probability, churned)
    return {
        "n_users": n_users,
        "base_rate": base_rate,
        **dict(zip(("brier", "brier_low", "brier_high"), brier, strict=True)),
        **dict(zip(("brier_skill", "brier_skill_low", "brier_skill_high"), skill, strict=True)),
        "reliability": reliability,
        "auc": _auc(probability, churned),
        "calibration_error": sum(each["n_users"] * abs(each["predicted"] - each["observed"]) for each in reliability)
        / n_users,
    }


def _auc(score: Float64Array, positive: BoolArray) -> float | None:
    """Area under the ROC curve; ties count half (Hanley & McNeil 1982). None where all or none are positive."""
    from scipy.stats import rankdata

    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative:
        return None
    above = float(rankdata(score)[positive].sum()) - n_positive * (n_positive + 1) / 2
    return above / (n_positive * n_negative)


def _reliability(probability: Float64Array, churned: BoolArray) -> list[dict[str, float]]:
    """The bins that hold a user, ascending."""
    from scipy.stats import binomtest

    found = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
    bins = []
    for number in np.unique(found):
        inside = found == number
        n_users, n_churned = int(inside.sum()), int(churned[inside].sum())
        interval = binomtest(n_churned, n_users).proportion_ci(CONFIDENCE, method="wilson")
        bins.append(
            {
                "predicted_low": int(number) / BINS,
                "predicted_high": (int(number) + 1) / BINS,
                "n_users": n_users,
                "predicted": float(probability[inside].mean()),
                "observed": n_churned / n_users,
                "observed_low": float(interval.low),
                "observed_high": float(interval.high),
            }
        )
    return bins


def _normal_interval(value: float, terms: Float64Array) -> tuple[float, float, float]:
    """`value` with the 95 % interval that the spread of its terms gives it."""
    half_width = NORMAL_95 * float(terms.std()) / len(terms) ** 0.5
    return value, value - half_width, value + half_width
