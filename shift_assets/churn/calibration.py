"""Whether churn probabilities mean what they say: predictions of four weeks ago against what followed."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.arrays import BoolArray, Float64Array
from shift_assets.churn.bg_nbd import HORIZON_DAYS, churn_probabilities, fit_churn
from shift_assets.contracts.outcomes import CHURN_CALIBRATION
from shift_assets.settings.root import ChurnSettings

BINS = 10
NORMAL_95 = 1.959963984540054


def churn_calibration(then: pa.Table, now: pa.Table, day: date, segment: str, settings: ChurnSettings) -> pa.Table:
    """`churn_calibration` of one segment: one row, or none where nothing could be predicted.

    then: `interest_state` of `HORIZON_DAYS` before `day`, from which alone parameters and predictions are made. now:
    that of `day`, which tells who has come since.
    """
    predicted_on = day - timedelta(days=HORIZON_DAYS)
    parameters = fit_churn(then, predicted_on, settings)
    if parameters is None:
        return CHURN_CALIBRATION.empty()
    last = now["last_active_day"].take(pc.index_in(then["user_id"], value_set=now["user_id"]))
    churned = np.asarray(pc.less_equal(last, pa.scalar(predicted_on, pa.date32())))
    row = {"day": day, "segment": segment, **calibration(churn_probabilities(then, parameters, predicted_on), churned)}
    return CHURN_CALIBRATION.conform(pa.Table.from_pylist([row], schema=CHURN_CALIBRATION.schema))


def calibration(probability: Float64Array, churned: BoolArray) -> dict[str, Any]:
    """Brier score (Brier 1950), its skill against the base rate that came true, and the reliability bins.

    probability, churned: [user], at least one. Intervals are normal ones over users, that of the skill by the delta
    method; Wilson's in the bins. The skill is None where all or none churned.
    """
    n_users, base_rate = len(churned), float(churned.mean())
    error, reference = (probability - churned) ** 2, (base_rate - churned) ** 2
    brier = _interval(float(error.mean()), error)
    skill: tuple[float, float, float] | tuple[None, None, None] = (None, None, None)
    if 0 < base_rate < 1:
        ratio = float(error.mean() / reference.mean())
        low, high = _interval(1 - ratio, (error - ratio * reference) / reference.mean())[1:]
        skill = (1 - ratio, low, min(high, 1.0))
    return {
        "n_users": n_users,
        "base_rate": base_rate,
        **dict(zip(("brier", "brier_low", "brier_high"), brier, strict=True)),
        **dict(zip(("brier_skill", "brier_skill_low", "brier_skill_high"), skill, strict=True)),
        "reliability": _reliability(probability, churned),
    }


def _reliability(probability: Float64Array, churned: BoolArray) -> list[dict[str, float]]:
    """The bins that hold a user, ascending."""
    found = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
    bins = []
    for number in np.unique(found):
        inside = found == number
        n_users, observed = int(inside.sum()), float(churned[inside].mean())
        low, high = _wilson(observed, n_users)
        bins.append(
            {
                "predicted_low": int(number) / BINS,
                "predicted_high": (int(number) + 1) / BINS,
                "n_users": n_users,
                "predicted": float(probability[inside].mean()),
                "observed": observed,
                "observed_low": low,
                "observed_high": high,
            }
        )
    return bins


def _interval(value: float, terms: Float64Array) -> tuple[float, float, float]:
    half_width = NORMAL_95 * float(terms.std()) / len(terms) ** 0.5
    return value, value - half_width, value + half_width


def _wilson(share: float, n: int) -> tuple[float, float]:
    """95 % interval of a share of `n` (Wilson 1927)."""
    z = NORMAL_95
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half_width = z / (1 + z**2 / n) * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    return max(centre - half_width, 0.0), min(centre + half_width, 1.0)
