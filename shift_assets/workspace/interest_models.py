"""The trained interest models of an installation: their registry in the lake, their weights in a folder."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from shift_assets.contracts.models import MODEL_REGISTRY
from shift_assets.storage.lake import Lake

if TYPE_CHECKING:
    from shift_assets.models.network.interest_model import InterestModel


@dataclass(frozen=True)
class InterestModels:
    """The models that `lake` registers and `folder` holds."""

    lake: Lake
    folder: Path

    def registered(self, segment: str, last_day: date) -> pa.Table:
        """Rows of MODEL_REGISTRY of a segment, up to and with `last_day`."""
        return self.lake.read(MODEL_REGISTRY, last_day=last_day, segments=[segment])

    def champion(self, segment: str, day: date) -> InterestModel | None:
        """Load the model that serves a segment on `day`; None where none was trained.

        Raises:
            ModelError: its weights are missing or were changed.
        """
        from shift_assets.models.registry.store import load

        row = champion_row(self.registered(segment, day), segment)
        return load(self.folder / row["path"], row["digest"]) if row else None


def champion_row(registry: pa.Table, segment: str) -> dict[str, Any] | None:
    """The row of the newest promoted model of `segment` among rows of MODEL_REGISTRY; None where there is none."""
    rows = [row for row in registry.to_pylist() if row["segment"] == segment and row["promoted"] is not False]
    return max(rows, key=lambda row: row["served_from"], default=None)
