"""Platt scaling of the log-odds of a head."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from shift_assets.arrays import BoolArray, Float64Array

SLOPE_DEVIATION, INTERCEPT_DEVIATION = 0.5, 1.0
"""Standard deviations of the prior of slope and intercept around no calibration (1, 0)."""


class Calibration(NamedTuple):
    """A linear function of the log-odds (Platt 1999).

    >>> Calibration(slope=2.0, intercept=0.0).probability(np.array([0.0])).tolist()
    [0.5]
    """

    slope: float = 1.0
    intercept: float = 0.0

    @classmethod
    def of(cls, log_odds: Float64Array, happened: BoolArray) -> Calibration:
        """Fit a calibration by penalised maximum likelihood; with few cases it stays near (1, 0).

        Args:
            log_odds: Log-odds [case] of the head.
            happened: Outcome [case].
        """

        def cost(parameters: Float64Array) -> float:
            slope, intercept = parameters
            calibrated = slope * log_odds + intercept
            likelihood = np.logaddexp(0, np.where(happened, -calibrated, calibrated)).sum()
            prior = ((slope - 1) / SLOPE_DEVIATION) ** 2 + (intercept / INTERCEPT_DEVIATION) ** 2
            return float(likelihood + prior / 2)

        found = minimize(cost, np.array([1.0, 0.0]), method="L-BFGS-B", bounds=[(0.05, None), (None, None)])
        return cls(float(found.x[0]), float(found.x[1]))

    def probability(self, log_odds: Float64Array) -> Float64Array:
        """Calibrated probabilities, in the shape of `log_odds`."""
        return np.asarray(1 / (1 + np.exp(-np.clip(self.slope * log_odds + self.intercept, -500, 500))))
