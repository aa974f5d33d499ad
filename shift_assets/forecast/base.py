"""Forecasts of what share of a user's interest each category will have in the next week.

One file per member, one interface; `registry` names the members. What is forecast is the share of the user's
score in a week in which the user comes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from shift_assets.arrays import Float64Array
from shift_assets.forecast.features import Examples

Parameters = Mapping[str, float | int]


class Predictor(Protocol):
    """A fitted member."""

    def predict(self, examples: Examples) -> Float64Array:
        """Forecast share, [row], as the member has it: not yet bounded to 0..1."""
        ...


class Forecaster(Protocol):
    """A member of the family."""

    @property
    def grid(self) -> Sequence[Parameters]:
        """Parameters that the search tries; the first are used where there is no search."""
        ...

    def fit(self, examples: Examples, parameters: Parameters, seed: int) -> Predictor:
        """Learns from rows whose targets are all known; the same rows, parameters and seed give the same member."""
        ...
