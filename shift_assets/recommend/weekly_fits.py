"""What lists are made with as rows of `list_fits`, written weekly and read by the days after."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from shift_assets.contracts.recommendations import LIST_FITS
from shift_assets.recommend.context import RecommendationContext, fit_blend_as_of
from shift_assets.recommend.ranking.blend import Blend
from shift_assets.recommend.shift_adaptation.shift_classifier import ShiftClassifier, fit_shift_classifier
from shift_assets.recommend.window import Window
from shift_assets.settings.root import Settings

if TYPE_CHECKING:
    from shift_assets.models.inference.scoring import InterestModel

BLEND, SHIFT_CLASSIFIER = "blend", "gate"


def weekly_fit_rows(
    context: RecommendationContext,
    day: date,
    segment: str,
    settings: Settings,
    *,
    model_of: Callable[[date], InterestModel | None],
) -> pa.Table:
    """The rows of a day: a blend and a gate, each where there was enough to learn from.

    `context.events` holds clean_events up to and with `day`; `model_of` gives the model that was served on a day.
    """
    wanted = settings.recommendations
    rows: list[dict[str, Any]] = []
    blend = fit_blend_as_of(context, day, settings, model_of=model_of) if wanted.blend == "learned" else None
    if blend is not None:
        quality = [
            {"name": f"{name}_{measure}", "value": value}
            for name, metrics in sorted(blend.metrics.items())
            for measure, value in sorted(metrics._asdict().items())
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
    shift_classifier = fit_shift_classifier(
        context.events, Window.of(context.events, day, wanted), wanted, settings.seed
    )
    if shift_classifier is not None:
        rows.append(
            {
                "part": SHIFT_CLASSIFIER,
                "chosen": "taught",
                "n_users": shift_classifier.users,
                "quality": [{"name": "auc", "value": shift_classifier.auc}],
                "parameters": shift_classifier.to_json(),
            }
        )
    keyed_rows = [{"day": day, "segment": segment, **row} for row in rows]
    return pa.Table.from_pylist(keyed_rows, schema=LIST_FITS.schema)


def newest_blend(fits: pa.Table) -> Blend | None:
    """The blend of the newest row; None where there is none."""
    text = _newest(fits, BLEND)
    return None if text is None else Blend.from_json(text)


def newest_shift_classifier(fits: pa.Table) -> ShiftClassifier | None:
    """The gate of the newest row; None where there is none."""
    text = _newest(fits, SHIFT_CLASSIFIER)
    return None if text is None else ShiftClassifier.from_json(text)


def _newest(fits: pa.Table, part: str) -> str | None:
    rows = [row for row in fits.select(["day", "part", "parameters"]).to_pylist() if row["part"] == part]
    return max(rows, key=lambda row: row["day"])["parameters"] if rows else None
