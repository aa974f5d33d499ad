"""How well the coming week of interest is foretold: every member against the baselines, out of time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.contracts.forecast import FORECAST_QUALITY
from shift_assets.forecast.feature_selection import select_features
from shift_assets.forecast.features import examples
from shift_assets.forecast.interest_forecasts import last_refit
from shift_assets.forecast.registry import BASELINES
from shift_assets.forecast.validation import ForecastScore, compare, r2
from shift_assets.forecast.weeks import DAYS, Weeks, weeks
from shift_assets.settings.root import ForecastSettings

REPORTED_REFITS = 6
"""Refit days of a report, newest first; their judged weeks do not overlap."""


def forecast_quality(series: pa.Table, day: date, segment: str, settings: ForecastSettings, seed: int) -> pa.Table:
    """`forecast_quality` of one segment on a refit day; no rows on other days, or where too few weeks lie before.

    Evaluated are the member that serves and the baselines, which cost nothing; `forecast_report` has all members.
    series: `interest_series` of the segment with the `settings.window_days` days up to `day`.
    """
    if last_refit(day, settings) != day:
        return FORECAST_QUALITY.empty()
    sample = _sample(series, day, settings)
    found = compare(sample, settings, seed, [*BASELINES, settings.model])
    if not found:
        return FORECAST_QUALITY.empty()
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
            "is_serving": quality.model == settings.model,
            "parameters": json.dumps(quality.parameters, sort_keys=True),
            **_measures(quality),
            "features": features,
        }
        for quality in found
    ]
    return FORECAST_QUALITY.conform(pa.Table.from_pylist(rows, schema=FORECAST_QUALITY.schema))


def forecast_report(series: pa.Table, settings: ForecastSettings, seed: int) -> list[dict[str, Any]]:
    """Measures per segment and member over the newest refit days of a whole log; nothing where it is too short.

    series: all `interest_series` of a log. Errors are means over all judged rows, R2 is that of all of them, coverage
    and band are weighted by rows.
    """
    report = []
    for segment in sorted(pc.unique(series["segment"]).to_pylist()):
        own = series.filter(pc.equal(series["segment"], segment))
        refits = [compare(_sample(own, day, settings), settings, seed) for day in _refit_days(own, settings)]
        for of_member in zip(*(refit for refit in refits if refit), strict=True):
            report.append({"segment": segment, "model": of_member[0].model, **_pooled(of_member)})
    return report


def _refit_days(series: pa.Table, settings: ForecastSettings) -> Iterator[date]:
    bounds = pc.min_max(series["day"]).as_py()
    day = last_refit(bounds["max"], settings)
    for _ in range(REPORTED_REFITS):
        if day - timedelta(days=DAYS * (settings.history_weeks + settings.training_weeks)) < bounds["min"]:
            return
        yield day
        day -= timedelta(days=DAYS * settings.folds)


def _sample(series: pa.Table, day: date, settings: ForecastSettings) -> Weeks:
    whole = weeks(series, day, settings.history_weeks + settings.training_weeks)
    return whole.take_rows(settings.quality_rows, settings.history_weeks)


def _measures(quality: ForecastScore) -> dict[str, float | None]:
    names = ("n_rows", "mse", "mae", "r2", "coverage", "band")
    return {name: getattr(quality, name) for name in names}


def _pooled(refits: tuple[ForecastScore, ...]) -> dict[str, float | None]:
    n_rows = sum(refit.n_rows for refit in refits)

    def mean(name: str) -> float:
        return float(sum(getattr(refit, name) * refit.n_rows for refit in refits) / n_rows)

    return {
        "looks": len(refits),
        "n_rows": n_rows,
        "mse": mean("mse"),
        "mae": mean("mae"),
        "r2": r2(mean("mse"), mean("variance")),
        "coverage": mean("coverage"),
        "band": mean("band"),
    }
