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

MODEL_FOLDER = "shift_detector_2"
"""Folder of the learned detectors, in the models folder. Detectors of another form have a folder of another name, so a
check of an older version chooses none: the evidence alerts until the next one."""


@dataclass(frozen=True, slots=True)
class DetectorSelection:
    """Windows of the evidence and learned detector of one segment."""

    starts: int
    posterior_window: int
    model_path: str | None = None  # of the learned detector, relative to the models folder
    model_digest: str | None = None
    flagged_share: float | None = None  # of unspliced histories at the threshold
    found_share: float | None = None  # of spliced histories at the threshold

    @property
    def ranking(self) -> Literal["posterior", "learned"]:
        """What the confidence is."""
        return "posterior" if self.model_path is None else "learned"

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
    e_value, posterior = by_detector.get("e_value", {}), by_detector.get("posterior", {})
    learned = by_detector.get("learned", {})
    if not (learned.get("model_path") or "").startswith(f"{MODEL_FOLDER}/"):
        learned = {}
    return DetectorSelection(
        starts=e_value.get("starts", defaults.starts),
        posterior_window=posterior.get("posterior_window", defaults.posterior_window),
        model_path=learned.get("model_path"),
        model_digest=learned.get("model_digest"),
        flagged_share=(learned or e_value).get("flagged_share"),
        found_share=(learned or e_value).get("found_share"),
    )
