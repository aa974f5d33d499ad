"""Evaluation of interest forecasts: every model and the baselines on the newest weeks of a log, out of sample."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.forecast.interest_forecasts import last_refit
from shift_assets.forecast.registry import FORECASTERS
from shift_assets.forecast.validation import FOLDS, ForecastScore, compare, r2
from shift_assets.forecast.weeks import DAYS
from shift_assets.outcomes.forecasts import sample_weeks
from shift_assets.settings.root import ForecastSettings

REPORTED_REFITS = 6
"""Refit days of a report, newest first; the weeks they are evaluated on do not overlap."""


def forecast_report(
    series: pa.Table,
    settings: ForecastSettings,
    seed: int,
    *,
    refit_weekday: int,
    members: Collection[str] = tuple(FORECASTERS),
    on_progress: Callable[[str], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """Evaluate models and baselines per segment, over the newest refit days of a log.

    Args:
        series: `interest_series` of all days and segments of a log.
        settings: The forecast's settings.
        seed: Seed of the models.
        refit_weekday: Weekday of the refits; 0 is Monday.
        members: Names of the models and baselines.
        on_progress: Called with a description of each fit.

    Returns:
        One dictionary per segment and model, with `looks` refit days and `n_rows` forecasts; errors are means over
        all forecasts, R2 is that of all of them, coverage and band are weighted by forecasts. Empty where the log is
        too short.
    """
    report = []
    for segment in sorted(pc.unique(series["segment"]).to_pylist()):
        own = series.filter(pc.equal(series["segment"], segment))
        refits = []
        for day in _refit_days(own, settings, refit_weekday):

            def report_member(name: str, where: str = f"segment {segment}, weeks up to {day}") -> None:
                on_progress(f"{where}: {name}")

            refits.append(compare(sample_weeks(own, day, settings), settings, seed, members, report_member))
        for of_model in zip(*(refit for refit in refits if refit), strict=True):
            report.append({"segment": segment, "model": of_model[0].model, **_pooled(of_model)})
    return report


def _refit_days(series: pa.Table, settings: ForecastSettings, refit_weekday: int) -> Iterator[date]:
    """Newest refit days with enough weeks before them, newest first."""
    bounds = pc.min_max(series["day"]).as_py()
    day = last_refit(bounds["max"], refit_weekday)
    for _ in range(REPORTED_REFITS):
        if day - timedelta(days=DAYS * (settings.history_weeks + settings.training_weeks)) < bounds["min"]:
            return
        yield day
        day -= timedelta(days=DAYS * FOLDS)


def _pooled(refits: tuple[ForecastScore, ...]) -> dict[str, float | None]:
    """The scores of one model on several refit days as if they were one."""
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
