"""Daily forecasts of the coming week, and the forecast errors once that week is known."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.contracts.forecast import FORECAST_QUALITY, INTEREST_FORECASTS
from shift_assets.forecast.base import Predictor
from shift_assets.forecast.choice import Served, served
from shift_assets.forecast.conformal import spread
from shift_assets.forecast.features import examples
from shift_assets.forecast.registry import FORECASTERS
from shift_assets.forecast.validation import MINIMUM_ROWS, calibrate_quantile, drop_small_shares, predict_bounded
from shift_assets.forecast.weeks import DAYS, weeks
from shift_assets.settings.root import ForecastSettings

MAXIMUM_ROWS = 20_000
"""User-category weeks that the daily model is trained on."""
ERROR_SCHEMA = pa.schema([("user_id", pa.string()), ("forecast_error", pa.float64())])

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FittedForecaster:
    """The forecaster that serves a week, and the size of its band in spreads."""

    model: str
    predictor: Predictor
    quantile: float


def last_refit(day: date, refit_weekday: int) -> date:
    """Return the newest refit day up to and including `day`; `refit_weekday` 0 is Monday."""
    return day - timedelta(days=(day.weekday() - refit_weekday) % DAYS)


def fit(
    series: pa.Table, refit_day: date, serving: Served, settings: ForecastSettings, seed: int
) -> FittedForecaster | None:
    """Fit the forecaster that serves on the weeks that end on `refit_day`; None where they hold too little.

    Args:
        series: `interest_series` of one segment.
        refit_day: last day of the newest week, which calibrates the band only.
        serving: the forecaster and its parameters.
        settings: history and training weeks.
        seed: seed of the forecaster.
    """
    end = settings.history_weeks + settings.training_weeks
    sample = weeks(series, refit_day, end).take_rows(MAXIMUM_ROWS, settings.history_weeks)
    rows = examples(sample, range(settings.history_weeks, end), settings).known()
    train_rows, calibration_rows = rows.where(rows.week < end - 1), rows.where(rows.week == end - 1)
    if min(len(train_rows), len(calibration_rows)) < MINIMUM_ROWS:
        return None
    predictor = FORECASTERS[serving.model].fit(train_rows, serving.parameters, seed)
    quantile = calibrate_quantile(sample, calibration_rows, predictor, settings)
    return FittedForecaster(serving.model, predictor, quantile) if math.isfinite(quantile) else None


def interest_forecasts(
    series: pa.Table,
    days: Iterable[date],
    segment: str,
    settings: ForecastSettings,
    seed: int,
    *,
    refit_weekday: int,
    quality: pa.Table | None = None,
) -> pa.Table:
    """Return `interest_forecasts` of one segment for each of the `days`, sorted by day, user and category.

    A day's rows depend on its own window only. A day with too few weeks before it has no rows.

    Args:
        series: `interest_series` of the segment with the `settings.window_days` days up to each day.
        days: days to forecast from.
        segment: the segment.
        settings: forecaster, history and training weeks.
        seed: seed of the forecaster.
        refit_weekday: weekday of the refits; 0 is Monday.
        quality: `forecast_quality` of the refit days, which names the forecaster of each; None for that of the
            settings, or the default.
    """
    quality = FORECAST_QUALITY.empty() if quality is None else quality
    begin = time.perf_counter()
    fits: dict[date, FittedForecaster | None] = {}
    found = [INTEREST_FORECASTS.empty()]
    for day in sorted(days):
        refit_day = last_refit(day, refit_weekday)
        if refit_day not in fits:
            serving = served(quality, segment, refit_day, settings)
            fits[refit_day] = fit(series, refit_day, serving, settings, seed)
        fitted = fits[refit_day]
        if fitted is not None:
            found.append(_day_forecasts(series, day, segment, fitted, settings))
    forecasts = pa.concat_tables(found)
    _log.info("interest forecasts: %d rows, %d fits in %.1f s", len(forecasts), len(fits), time.perf_counter() - begin)
    return forecasts


def _day_forecasts(
    series: pa.Table, day: date, segment: str, fitted: FittedForecaster, settings: ForecastSettings
) -> pa.Table:
    history = weeks(series, day, settings.history_weeks)
    rows = examples(history, [settings.history_weeks], settings)
    share = drop_small_shares(predict_bounded(fitted.predictor, rows))
    pair, share = rows.pair[share > 0], share[share > 0]
    return INTEREST_FORECASTS.conform(
        pa.table(
            {
                "day": pa.repeat(pa.scalar(day, pa.date32()), len(pair)),
                "segment": pa.repeat(pa.scalar(segment), len(pair)),
                "user_id": history.users.take(pa.array(history.user[pair])),
                "category": history.codes.decode(history.category[pair]),
                "share": pa.array(share),
                "band": pa.array(fitted.quantile * spread(share)),
                "quantile": pa.repeat(fitted.quantile, len(pair)),
                "model": pa.repeat(pa.scalar(fitted.model), len(pair)),
            }
        )
    )


def forecast_errors(forecasts: pa.Table, series: pa.Table) -> pa.Table:
    """Return the largest |share - forecast| / band over a user's categories: above 1, the week fell outside the band.

    A category without a forecast was forecast as 0.

    Args:
        forecasts: `interest_forecasts` of one day and segment.
        series: `interest_series` of the segment, with the seven days after that day.

    Returns:
        Columns `user_id`, `forecast_error`, sorted by user, of the users with both a forecast and a score in the week.

    Raises:
        ValueError: the forecasts are of several days or segments.
    """
    if forecasts.num_rows == 0:
        return ERROR_SCHEMA.empty_table()
    if len(pc.unique(forecasts["day"])) != 1 or len(pc.unique(forecasts["segment"])) != 1:
        raise ValueError("forecast_errors takes forecasts of one day and segment at a time; these are of several")
    week = weeks(series, forecasts["day"][0].as_py() + timedelta(days=DAYS), 1)
    came = pa.table(
        {
            "user_id": week.users.take(pa.array(week.user)),
            "category": week.codes.decode(week.category),
            "came": week.score[:, 0] / week.total[week.user, 0],
        }
    )
    both = forecasts.select(["user_id", "category", "share"]).join(
        came, ["user_id", "category"], join_type="full outer"
    )
    for users in (pc.unique(forecasts["user_id"]), week.users):
        both = both.filter(pc.is_in(both["user_id"], value_set=users))
    share = pc.fill_null(both["share"], 0.0).to_numpy()
    residual = np.abs(pc.fill_null(both["came"], 0.0).to_numpy() - share)
    error = residual / (forecasts["quantile"][0].as_py() * spread(share))
    largest = (
        both.append_column("forecast_error", pa.array(error)).group_by("user_id").aggregate([("forecast_error", "max")])
    )
    return largest.rename_columns(["user_id", "forecast_error"]).sort_by("user_id").cast(ERROR_SCHEMA)
