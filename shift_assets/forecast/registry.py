"""The forecasters by the name that settings use."""

from __future__ import annotations

from shift_assets.forecast.base import Forecaster
from shift_assets.forecast.baselines import Baseline
from shift_assets.forecast.features import MEAN_WEEKS
from shift_assets.forecast.forest import Forest
from shift_assets.forecast.linear import Linear
from shift_assets.forecast.lstm import Lstm

BASELINES: dict[str, Forecaster] = {
    "last_week": Baseline("lag_1"),
    "four_week_mean": Baseline(f"mean_{MEAN_WEEKS}_weeks"),
}
FORECASTERS: dict[str, Forecaster] = {
    **BASELINES,
    "linear": Linear(),
    "forest": Forest(),
    "lstm": Lstm(),
}
