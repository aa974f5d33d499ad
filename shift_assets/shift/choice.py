"""What the newest self-check chose: which windows serve, and which detector ranks the users."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.settings import EvidenceSettings

IN_FORCE_DAYS = 28
"""Days for which what a weekly self-check chose stays in force when no newer one was made."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Settings of the evidence, and the owner of the ranking, for one segment."""

    starts: int
    posterior_window: int
    ranking: Literal["posterior", "learned"] = "posterior"
    model_path: str | None = None  # of the learned detector, whether it ranks or not; relative to the models folder
    model_digest: str | None = None
    placebo_false_share: float | None = None  # at the patience, within the active days that the check looked at

    def evidence(self, settings: EvidenceSettings) -> EvidenceSettings:
        """`settings` with what was chosen."""
        return settings.model_copy(update={"starts": self.starts, "posterior_window": self.posterior_window})


def newest_check(self_check: pa.Table, segment: str, day: date) -> pa.Table:
    """Rows of the last check of `segment` in the `IN_FORCE_DAYS` days before `day`; none where there was none."""
    before = self_check.filter(
        (pc.field("segment") == segment)
        & (pc.field("day") < pa.scalar(day, pa.date32()))
        & (pc.field("day") >= pa.scalar(day - timedelta(days=IN_FORCE_DAYS), pa.date32()))
    )
    return before.filter(pc.equal(before["day"], pc.max(before["day"])))


def choice(self_check: pa.Table, defaults: EvidenceSettings) -> Choice:
    """The choice in the rows of one check of one segment; the settings' own where nothing was judged."""
    chosen = self_check.filter(self_check["chosen"]).to_pylist()
    of = {row["detector"]: row for row in sorted(chosen, key=lambda row: row["active_days"])}
    taught = [row for row in self_check.to_pylist() if row["model_path"] is not None]
    e_value, posterior = of.get("e_value", {}), of.get("posterior", {})
    return Choice(
        starts=e_value.get("starts", defaults.starts),
        posterior_window=posterior.get("posterior_window", defaults.posterior_window),
        ranking="learned" if "learned" in of else "posterior",
        model_path=taught[0]["model_path"] if taught else None,
        model_digest=taught[0]["model_digest"] if taught else None,
        placebo_false_share=e_value.get("placebo_false_share"),
    )
