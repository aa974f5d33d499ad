"""The interface of detectors of interest shifts, and the product's own two behind it.

One file per family, one interface, so that all are evaluated alike. The product's alerts come from `EValue`; the
detectors in `shift.baselines` exist for comparison.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float64

from shift_assets.arrays import Float64Array
from shift_assets.interest.histories import Histories
from shift_assets.settings.root import EvidenceSettings
from shift_assets.shift.detector.evidence import trace


class Detector(Protocol):
    """Scores every active day of every user, given what was known at its end."""

    @property
    def name(self) -> str:
        """Name in settings and reports."""
        ...

    def score(self, histories: Histories) -> Float64[Float64Array, " entry"]:
        """Return the suspicion of a recent shift, larger is more suspicious; nan where the detector is silent.

        Args:
            histories: all users of a segment, or a sample. The detector may estimate the day's platform-wide move
                from them, but must not use any entry of a later day.
        """
        ...


@dataclass(frozen=True, slots=True)
class EValue:
    """The alert statistic, log M, as a detector."""

    settings: EvidenceSettings
    name: str = "e_value"

    def score(self, histories: Histories) -> Float64[Float64Array, " entry"]:
        """Return log M, nats."""
        return trace(histories, self.settings).log_e


@dataclass(frozen=True, slots=True)
class Posterior:
    """The confidence as a detector, in log odds."""

    settings: EvidenceSettings
    name: str = "posterior"

    def score(self, histories: Histories) -> Float64[Float64Array, " entry"]:
        """Return the log odds that a new regime began within the last `posterior_window` scored days."""
        probability = trace(histories, self.settings).posterior
        return np.asarray(np.log(probability / np.maximum(1.0 - probability, 1e-12)))
