"""The weekly fits as rows of `list_fits`: the blend and the shift classifier, read by the days after."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from shift_assets.contracts.recommendations import LIST_FITS
from shift_assets.recommend.context import RecommendationContext, generator_inputs
from shift_assets.recommend.ranking.blend import Blend
from shift_assets.recommend.ranking.blend_training import fit_blend
from shift_assets.recommend.ranking.training_snapshot import TrainingSnapshot
from shift_assets.recommend.shift_adaptation.shift_classifier import ShiftClassifier, fit_shift_classifier
from shift_assets.recommend.window import Window
from shift_assets.settings.root import Settings

if TYPE_CHECKING:
    from shift_assets.models.network.interest_model import InterestModel

# Values of columns `part` and `chosen` as they are stored.
BLEND, SHIFT_CLASSIFIER = "blend", "gate"
_FITTED = "taught"

_log = logging.getLogger(__name__)


def weekly_fit_rows(
    context: RecommendationContext,
    day: date,
    segment: str,
    settings: Settings,
    *,
    model_of: Callable[[date], InterestModel | None],
) -> pa.Table:
    """Fit the blend and the shift classifier; a row of `list_fits` for each that has enough data.

    Args:
        context: Its events hold clean_events up to and including `day`.
        day: Day of the fits.
        segment: Segment of the events.
        settings: Settings of the installation.
        model_of: The interest model that is served on a day.
    """
    started = time.perf_counter()
    wanted = settings.recommendations
    blend = fit_blend_as_of(context, day, settings, model_of=model_of) if wanted.blend == "learned" else None
    window = Window.of(context.events, day, wanted)
    shift_classifier = fit_shift_classifier(context.events, window, wanted, settings.seed)
    rows = [
        *([] if blend is None else [_blend_row(blend)]),
        *([] if shift_classifier is None else [_shift_classifier_row(shift_classifier)]),
    ]
    _log.info("weekly fits of %s on %s: %d rows in %.1f s", segment, day, len(rows), time.perf_counter() - started)
    return pa.Table.from_pylist(
        [{"day": day, "segment": segment, **row} for row in rows],
        schema=LIST_FITS.schema,
    )


def fit_blend_as_of(
    context: RecommendationContext, day: date, settings: Settings, *, model_of: Callable[[date], InterestModel | None]
) -> Blend | None:
    """Fit the blend on training snapshots whose `validation_days` of labels end with `day`, one after the other.

    Args:
        context: Events up to and including `day`, and what the generators need.
        day: Last day of labels.
        settings: Settings of the installation.
        model_of: The interest model that is served on a day, so that no snapshot is scored by a model trained on its
            labels.

    Returns:
        The blend; None where there are too few users.
    """
    wanted = settings.recommendations
    snapshots = []
    for number in range(1, wanted.validation_rounds + 1):
        snapshot_day = day - timedelta(days=number * wanted.validation_days)
        window = Window.of(context.events, snapshot_day, wanted)
        if not len(window.target_users):
            break
        as_of = replace(context, model=model_of(snapshot_day + timedelta(days=1)))
        inputs = generator_inputs(as_of, window, settings, wanted.candidate_generators)
        snapshots.append(TrainingSnapshot.of(inputs, context.events))
    return fit_blend(snapshots, wanted, settings.seed) if snapshots else None


def newest_blend(fits: pa.Table) -> Blend | None:
    """The blend of the newest row of `fits`; None without one."""
    text = _newest(fits, BLEND)
    return None if text is None else Blend.from_json(text)


def newest_shift_classifier(fits: pa.Table) -> ShiftClassifier | None:
    """The shift classifier of the newest row of `fits`; None without one."""
    text = _newest(fits, SHIFT_CLASSIFIER)
    return None if text is None else ShiftClassifier.from_json(text)


def _newest(fits: pa.Table, part: str) -> str | None:
    rows = [row for row in fits.select(["day", "part", "parameters"]).to_pylist() if row["part"] == part]
    return max(rows, key=lambda row: row["day"])["parameters"] if rows else None


def _blend_row(blend: Blend) -> dict[str, Any]:
    quality = [
        {"name": f"{name}_{metric}", "value": value}
        for name, metrics in sorted(blend.metrics.items())
        for metric, value in sorted(metrics._asdict().items())
    ]
    return {
        "part": BLEND,
        "chosen": blend.chosen,
        "n_users": blend.users,
        "quality": quality,
        "parameters": blend.to_json(),
    }


def _shift_classifier_row(shift_classifier: ShiftClassifier) -> dict[str, Any]:
    return {
        "part": SHIFT_CLASSIFIER,
        "chosen": _FITTED,
        "n_users": shift_classifier.users,
        "quality": [{"name": "auc", "value": shift_classifier.auc}],
        "parameters": shift_classifier.to_json(),
    }
