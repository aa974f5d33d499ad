"""The classic detectors by name."""

from __future__ import annotations

from shift_assets.shift.detectors import Detector
from shift_assets.shift.detectors.g_test import GTest
from shift_assets.shift.detectors.indicators import JensenShannonDistance, ShareGap
from shift_assets.shift.detectors.raw_bocpd import RawBocpd
from shift_assets.shift.detectors.split_gain import SplitGain

CLASSIC: dict[str, Detector] = {
    detector.name: detector for detector in (JensenShannonDistance(), ShareGap(), GTest(), SplitGain(), RawBocpd())
}
