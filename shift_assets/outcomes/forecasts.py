"""Out-of-sample quality of the interest forecasts, and which model serves by it."""

from __future__ import annotations

import json
from datetime import date

import pyarrow as pa

from shift_assets.contracts.forecast import FORECAST_QUALITY
from shift_assets.forecast.choice import AUTO, CANDIDATES, choose
from shift_assets.forecast.feature_selection import select_features
from shift_assets.forecast.features import examples
from shift_assets.forecast.interest_forecasts import last_refit
from shift_assets.forecast.registry import BASELINES
from shift_assets.forecast.validation import ForecastScore, compare
from shift_assets.forecast.weeks import Weeks, weeks
from shift_assets.settings.root import ForecastSettings

QUALITY_ROWS = 12_000
"""User-category weeks that the models of the weekly evaluation are trained on."""


def forecast_quality(
    series: pa.Table,
    day: date,
    segment: str,
    settings: ForecastSettings,
    seed: int,
    *,
    refit_weekday: int,
) -> pa.Table:
    """Rows of `forecast_quality` of one segment: models that may serve and baselines, on weeks not used for fitting.

    Where the settings leave the choice open these are CANDIDATES, else the named model alone. Others are compared by
    `shift-assets evaluate forecasts` only, because they are expensive to fit.

    Args:
        series: `interest_series` of the segment with the `settings.window_days` days up to `day`.
        day: The day of the rows.
        segment: The segment's key.
        settings: The forecast's settings.
        seed: Seed of the models.
        refit_weekday: Weekday of the refits, 0 for Monday.

    Returns:
        One row per model; none on days without a refit, or with too few weeks before the day.
    """
    if last_refit(day, refit_weekday) != day:
        return FORECAST_QUALITY.empty()
    sample = sample_weeks(series, day, settings)
    members = CANDIDATES if settings.model == AUTO else [*BASELINES, settings.model]
    found = compare(sample, settings, seed, members)
    if not found:
        return FORECAST_QUALITY.empty()
    serving = choose(found, settings)
    learned = examples(sample, range(settings.history_weeks, sample.score.shape[1]), settings).known()
    features = [
        {
            "name": one.name,
            "anova_f": one.anova_f,
            "lasso_weight": one.lasso_weight,
            "importance": one.importance,
        }
        for one in select_features(learned, seed)
    ]
    rows = [
        {
            "day": day,
            "segment": segment,
            "model": quality.model,
            "is_serving": quality.model == serving,
            "parameters": json.dumps(quality.parameters, sort_keys=True),
            **_measures(quality),
            "features": features,
        }
        for quality in found
    ]
    return FORECAST_QUALITY.conform(pa.Table.from_pylist(rows, schema=FORECAST_QUALITY.schema))


def sample_weeks(series: pa.Table, day: date, settings: ForecastSettings) -> Weeks:
    whole = weeks(series, day, settings.history_weeks + settings.training_weeks)
    return whole.take_rows(QUALITY_ROWS, settings.history_weeks)


def _measures(quality: ForecastScore) -> dict[str, float | None]:
    names = ("n_rows", "mse", "mae", "r2", "coverage", "band")
    return {name: getattr(quality, name) for name in names}
