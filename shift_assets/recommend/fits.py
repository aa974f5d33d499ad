"""What lists are made with as rows of `list_fits`, written weekly and read by the days after."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from shift_assets.contracts import LIST_FITS
from shift_assets.recommend.gate import Gate, fit_gate
from shift_assets.recommend.known import Known, fit_blend_as_of
from shift_assets.recommend.ranker import Blend
from shift_assets.recommend.window import Window
from shift_assets.settings import Settings

if TYPE_CHECKING:
    from shift_assets.models.scoring import InterestModel

BLEND, GATE = "blend", "gate"


def fitted_rows(
    known: Known, day: date, segment: str, settings: Settings, *, model_of: Callable[[date], InterestModel | None]
) -> pa.Table:
    """The rows of a day: a blend and a gate, each where there was enough to learn from.

    `known.events` holds clean_events up to and with `day`; `model_of` gives the model that was served on a day.
    """
    wanted = settings.recommendations
    rows: list[dict[str, Any]] = []
    blend = fit_blend_as_of(known, day, settings, model_of=model_of) if wanted.blend == "learned" else None
    if blend is not None:
        quality = [
            {"name": f"{name}_{measure}", "value": value}
            for name, judged in sorted(blend.judged.items())
            for measure, value in sorted(judged._asdict().items())
        ]
        rows.append(
            {
                "part": BLEND,
                "chosen": blend.chosen,
                "n_users": blend.users,
                "quality": quality,
                "parameters": blend.to_json(),
            }
        )
    gate = fit_gate(known.events, Window.of(known.events, day, wanted), wanted, settings.seed)
    if gate is not None:
        rows.append(
            {
                "part": GATE,
                "chosen": "taught",
                "n_users": gate.users,
                "quality": [{"name": "auc", "value": gate.auc}],
                "parameters": gate.as_json(),
            }
        )
    placed = [{"day": day, "segment": segment, **row} for row in rows]
    return pa.Table.from_pylist(placed, schema=LIST_FITS.schema)


def newest_blend(fits: pa.Table) -> Blend | None:
    """The blend of the newest row; None where there is none."""
    text = _newest(fits, BLEND)
    return None if text is None else Blend.from_json(text)


def newest_gate(fits: pa.Table) -> Gate | None:
    """The gate of the newest row; None where there is none."""
    text = _newest(fits, GATE)
    return None if text is None else Gate.from_json(text)


def _newest(fits: pa.Table, part: str) -> str | None:
    rows = [row for row in fits.select(["day", "part", "parameters"]).to_pylist() if row["part"] == part]
    return max(rows, key=lambda row: row["day"])["parameters"] if rows else None
