"""The choice of the newest self-check: the windows of the evidence, and the detector that ranks the alerts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.settings.root import EvidenceSettings

SELECTION_VALID_DAYS = 28
"""Days for which the choice of a weekly self-check applies when there is no newer one."""


@dataclass(frozen=True, slots=True)
class DetectorSelection:
    """Windows of the evidence and ranking detector of one segment."""

    starts: int
    posterior_window: int
    ranking: Literal["posterior", "learned"] = "posterior"
    model_path: str | None = None  # of the learned detector, whether it ranks or not; relative to the models folder
    model_digest: str | None = None
    placebo_false_share: float | None = None  # share flagged under the permutation null

    def evidence(self, settings: EvidenceSettings) -> EvidenceSettings:
        """Return `settings` with the chosen windows."""
        return settings.model_copy(update={"starts": self.starts, "posterior_window": self.posterior_window})


def newest_check(self_check: pa.Table, segment: str, day: date) -> pa.Table:
    """Return the rows of the last check of `segment` in the `SELECTION_VALID_DAYS` days before `day`, or none."""
    before = self_check.filter(
        (pc.field("segment") == segment)
        & (pc.field("day") < pa.scalar(day, pa.date32()))
        & (pc.field("day") >= pa.scalar(day - timedelta(days=SELECTION_VALID_DAYS), pa.date32()))
    )
    return before.filter(pc.equal(before["day"], pc.max(before["day"])))


def detector_selection(self_check: pa.Table, defaults: EvidenceSettings) -> DetectorSelection:
    """Return the choice in the rows of one check of one segment; `defaults` where nothing was evaluated."""
    chosen = self_check.filter(self_check["chosen"]).to_pylist()
    by_detector = {row["detector"]: row for row in sorted(chosen, key=lambda row: row["active_days"])}
    fitted = [row for row in self_check.to_pylist() if row["model_path"] is not None]
    e_value, posterior = by_detector.get("e_value", {}), by_detector.get("posterior", {})
    return DetectorSelection(
        starts=e_value.get("starts", defaults.starts),
        posterior_window=posterior.get("posterior_window", defaults.posterior_window),
        ranking="learned" if "learned" in by_detector else "posterior",
        model_path=fitted[0]["model_path"] if fitted else None,
        model_digest=fitted[0]["model_digest"] if fitted else None,
        placebo_false_share=e_value.get("placebo_false_share"),
    )
