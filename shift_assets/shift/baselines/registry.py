"""The baseline detectors by name."""

from __future__ import annotations

from shift_assets.shift.baselines.g_test import GTest
from shift_assets.shift.baselines.raw_bocpd import RawBocpd
from shift_assets.shift.baselines.split_gain import SplitGain
from shift_assets.shift.baselines.window_distances import JensenShannonDistance, ShareGap
from shift_assets.shift.detector.base import Detector
from shift_assets.shift.detector.forecast_error import ForecastError

BASELINES: dict[str, Detector] = {
    detector.name: detector
    for detector in (JensenShannonDistance(), ShareGap(), GTest(), SplitGain(), RawBocpd(), ForecastError())
}
