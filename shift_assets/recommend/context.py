"""What lists are made from, and what is learnt from it every week: the blend and the gate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
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
from shift_assets.recommend.ranking.blend_training import fit_blend
from shift_assets.recommend.ranking.training_snapshot import TrainingSnapshot
from shift_assets.recommend.shift_adaptation.shift_classifier import ShiftClassifier
from shift_assets.recommend.window import Window
from shift_assets.settings.root import GeneratorName, Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from shift_assets.models.inference.scoring import InterestModel


@dataclass(frozen=True)
class RecommendationContext:
    """All that the lists of a day and segment are made from.

    `events` holds clean_events up to and with the day (later and older rows are ignored), `alerts` and
    `segment_shifts` the rows of the day, `outcomes` the recommendation_outcomes of earlier days. What was not learnt
    yet is None: without a model the other sources make the lists, without a blend the fixed weights, and without a
    gate only alarms lean a list. `items` is the delivered items table, `item_vectors` and `signals` what the settings
    of these names point to; None where there is none. `session`: Spark, where it does the large sums.
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
    """What a segment's `events`, the items table and the files that the settings point to tell, nothing learnt yet.

    Raises ValueError where one of the files has other columns than it should.
    """
    wanted = settings.recommendations
    return RecommendationContext(
        events,
        items=items,
        item_vectors=read_item_vectors(wanted.item_vectors) if wanted.item_vectors else None,
        signals=read_signals(wanted.signals) if wanted.signals else None,
    )


def used_generators(context: RecommendationContext, settings: Settings) -> Sequence[GeneratorName]:
    """The sources that the lists use: the blend's, or those of fixed weights."""
    if context.blend is not None:
        return [name for name in GENERATORS if name in context.blend.sources]
    return [name for name, weight in settings.recommendations.weights.items() if weight > 0]


def generator_inputs(
    context: RecommendationContext, window: Window, settings: Settings, sources: Sequence[GeneratorName]
) -> GeneratorInputs:
    """What the `sources` may learn from, of `window`; content and signals only where one of them needs these."""
    wanted = settings.recommendations
    needs = {need for name in sources for need in GENERATORS[name].needs}
    content = signals = None
    if needs or wanted.diversity > 0:
        past = context.events.filter(pc.less_equal(context.events["day"], window.day))
        content = Content.of(
            past, window.vocabulary, items=context.items, external=context.item_vectors, seed=settings.seed
        )
    if "signals" in needs:
        signals = UserSignals.of(context.events, context.signals)
    return GeneratorInputs(window, wanted, context.model, content, signals, context.session, settings.seed)


def fit_blend_as_of(
    context: RecommendationContext, day: date, settings: Settings, *, model_of: Callable[[date], InterestModel | None]
) -> Blend | None:
    """The blend that would have foretold best what came in the rounds of `validation_days` that end with `day`.

    `model_of` gives the model that was served on a day: no round is foretold by a model that was taught by it. None
    where nothing can be told.
    """
    wanted = settings.recommendations
    snapshots = []
    for number in range(1, wanted.validation_rounds + 1):
        snapshot_day = day - timedelta(days=number * wanted.validation_days)
        window = Window.of(context.events, snapshot_day, wanted)
        if not len(window.target_users):
            break
        as_of = replace(context, model=model_of(snapshot_day + timedelta(days=1)))
        snapshots.append(TrainingSnapshot.of(generator_inputs(as_of, window, settings, wanted.sources), context.events))
    return fit_blend(snapshots, wanted, settings.seed) if snapshots else None
