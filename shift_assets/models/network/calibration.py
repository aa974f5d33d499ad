"""Platt scaling: a line on the log-odds of a head."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from shift_assets.arrays import BoolArray, Float64Array

SLOPE_DEVIATION, INTERCEPT_DEVIATION = 0.5, 1.0
"""How far a calibration is thought to lie from none, as standard deviations of a prior."""


class Calibration(NamedTuple):
    """A line on the log-odds (Platt 1999)."""

    slope: float = 1.0
    intercept: float = 0.0

    @classmethod
    def of(cls, log_odds: Float64Array, happened: BoolArray) -> Calibration:
        """The likeliest line, under a prior that holds it near none where there are few cases."""

        def cost(line: Float64Array) -> float:
            calibrated = line[0] * log_odds + line[1]
            likelihood = np.logaddexp(0, np.where(happened, -calibrated, calibrated)).sum()
            prior = ((line[0] - 1) / SLOPE_DEVIATION) ** 2 + (line[1] / INTERCEPT_DEVIATION) ** 2
            return float(likelihood + prior / 2)

        found = minimize(cost, np.array([1.0, 0.0]), method="L-BFGS-B", bounds=[(0.05, None), (None, None)])
        return cls(float(found.x[0]), float(found.x[1]))

    def probability(self, log_odds: Float64Array) -> Float64Array:
        """Calibrated probability, the shape of `log_odds`."""
        return np.asarray(1 / (1 + np.exp(-np.clip(self.slope * log_odds + self.intercept, -500, 500))))
