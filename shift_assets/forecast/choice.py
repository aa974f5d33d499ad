"""Which forecaster makes a week's forecasts: one that the newest weeks show to be better, else linear regression."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from typing import Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.forecast.base import Parameters
from shift_assets.forecast.registry import FORECASTERS
from shift_assets.forecast.validation import ForecastScore
from shift_assets.settings.root import ForecastSettings

AUTO: Literal["auto"] = "auto"
CANDIDATES = ("last_week", "four_week_mean", "linear", "forest")
"""Forecasters that are compared every week where the settings leave the choice open. The LSTM costs twenty times as
much as all of them together."""
DEFAULT = "linear"
MARGIN = 0.05
"""Share by which the squared error of another forecaster must be smaller than that of the default. With any margin
smaller than this, noise chose: on Online Retail II, at 0, the chosen one's error over the next three weeks was 0.3 %
(United Kingdom) and 1.3 % (Europe) above the default's."""


class Served(NamedTuple):
    """The forecaster of a week, and its parameters."""

    model: str
    parameters: Parameters


def choose(found: Sequence[ForecastScore], settings: ForecastSettings) -> str:
    """Return the name of the forecaster that serves, by its error on the newest weeks, each out of time.

    Args:
        found: scores of at least the default, or of the one that the settings name.
        settings: names it, or leaves the choice open.
    """
    if settings.model != AUTO:
        return settings.model
    default = next(score for score in found if score.model == DEFAULT)
    best = min(found, key=lambda score: score.mse)
    return best.model if best.mse < (1.0 - MARGIN) * default.mse else DEFAULT


def served(quality: pa.Table, segment: str, refit_day: date, settings: ForecastSettings) -> Served:
    """Return what `forecast_quality` of the refit day chose for a segment; without a row, the default or the named one.

    Args:
        quality: rows of `forecast_quality`, of any days and segments.
        segment: the segment.
        refit_day: the day.
        settings: the setting wins over a row that names another forecaster.
    """
    chosen = quality.filter(
        (pc.field("day") == pa.scalar(refit_day)) & (pc.field("segment") == segment) & pc.field("is_serving")
    )
    for row in chosen.to_pylist():
        if settings.model in {AUTO, row["model"]}:
            return Served(row["model"], json.loads(row["parameters"]))
    name = DEFAULT if settings.model == AUTO else settings.model
    return Served(name, FORECASTERS[name].grid[0])
