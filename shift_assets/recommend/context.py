"""The facts that a day's recommendations are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.contracts.outcomes import RECOMMENDATION_OUTCOMES
from shift_assets.contracts.shift import SEGMENT_SHIFTS, SHIFT_ALERTS
from shift_assets.recommend.candidates.base import GeneratorInputs
from shift_assets.recommend.candidates.item_content import Content, read_item_vectors
from shift_assets.recommend.candidates.registry import GENERATORS
from shift_assets.recommend.candidates.user_signals import UserSignals, read_signals
from shift_assets.recommend.ranking.blend import Blend
from shift_assets.recommend.shift_adaptation.shift_classifier import ShiftClassifier
from shift_assets.recommend.window import Window
from shift_assets.settings.root import GeneratorName, Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from shift_assets.models.network.interest_model import InterestModel


@dataclass(frozen=True)
class RecommendationContext:
    """All that the recommendations of a day and segment are made from.

    Attributes:
        events: Rows of clean_events up to and including the day; later and older rows are ignored.
        alerts: Rows of shift_alerts of the day.
        segment_shifts: Rows of segment_shifts of the day.
        outcomes: Rows of recommendation_outcomes of earlier days.
        model: Interest model; None: the other generators make the recommendations.
        blend: Learned blend; None: the fixed weights of the settings.
        shift_classifier: None: only alerts adapt a user's recommendations.
        items: The items table; None without one.
        item_vectors: What setting `item_vectors` points to; None without one.
        signals: What setting `signals` points to; None without one.
        session: Spark session for the large sums; None: they are computed in this process.
    """

    events: pa.Table
    alerts: pa.Table = field(default_factory=SHIFT_ALERTS.empty)
    segment_shifts: pa.Table = field(default_factory=SEGMENT_SHIFTS.empty)
    outcomes: pa.Table = field(default_factory=RECOMMENDATION_OUTCOMES.empty)
    model: InterestModel | None = None
    blend: Blend | None = None
    shift_classifier: ShiftClassifier | None = None
    items: pa.Table | None = None
    item_vectors: pa.Table | None = None
    signals: pa.Table | None = None
    session: SparkSession | None = None


def build_context(events: pa.Table, settings: Settings, items: pa.Table | None) -> RecommendationContext:
    """A context of a segment's `events`, the items table and the files that the settings name; nothing fitted yet.

    Raises:
        UserError: One of the files does not have the expected columns.
    """
    wanted = settings.recommendations
    return RecommendationContext(
        events,
        items=items,
        item_vectors=read_item_vectors(wanted.item_vectors) if wanted.item_vectors else None,
        signals=read_signals(wanted.signals) if wanted.signals else None,
    )


def used_generators(context: RecommendationContext, settings: Settings) -> Sequence[GeneratorName]:
    """The candidate generators of the learned blend, or those with a fixed weight."""
    if context.blend is not None:
        return [name for name in GENERATORS if name in context.blend.generators]
    return [name for name, weight in settings.recommendations.weights.items() if weight > 0]


def generator_inputs(
    context: RecommendationContext, window: Window, settings: Settings, names: Sequence[GeneratorName]
) -> GeneratorInputs:
    """What the generators `names` are fitted on as of `window`; content and signals only where they are needed."""
    wanted = settings.recommendations
    needs = {need for name in names for need in GENERATORS[name].needs}
    content = signals = None
    if needs or wanted.diversity > 0:
        past = context.events.filter(pc.less_equal(context.events["day"], window.day))
        content = Content.of(
            past, window.vocabulary, items=context.items, external=context.item_vectors, seed=settings.seed
        )
    if "signals" in needs:
        signals = UserSignals.of(context.events, context.signals)
    return GeneratorInputs(window, wanted, context.model, content, signals, context.session, settings.seed)
