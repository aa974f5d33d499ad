"""What lists are made from, and what is learnt from it every week: the blend and the gate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.contracts import RECOMMENDATION_OUTCOMES, SEGMENT_SHIFTS, SHIFT_ALERTS
from shift_assets.recommend.content import Content, read_item_vectors
from shift_assets.recommend.gate import Gate
from shift_assets.recommend.ranker import Blend, Cut, fit_blend
from shift_assets.recommend.reviews import Signals, read_signals
from shift_assets.recommend.source import Inputs
from shift_assets.recommend.sources import SOURCES
from shift_assets.recommend.window import Window
from shift_assets.settings import Settings, SourceName

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from shift_assets.models.scoring import InterestModel


@dataclass(frozen=True)
class Known:
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
    gate: Gate | None = None
    items: pa.Table | None = None
    item_vectors: pa.Table | None = None
    signals: pa.Table | None = None
    session: SparkSession | None = None


def known_of(events: pa.Table, settings: Settings, items: pa.Table | None) -> Known:
    """What a segment's `events`, the items table and the files that the settings point to tell, nothing learnt yet.

    Raises ValueError where one of the files has other columns than it should.
    """
    wanted = settings.recommendations
    return Known(
        events,
        items=items,
        item_vectors=read_item_vectors(wanted.item_vectors) if wanted.item_vectors else None,
        signals=read_signals(wanted.signals) if wanted.signals else None,
    )


def sources_of(known: Known, settings: Settings) -> Sequence[SourceName]:
    """The sources that the lists use: the blend's, or those of fixed weights."""
    if known.blend is not None:
        return [name for name in SOURCES if name in known.blend.sources]
    return [name for name, weight in settings.recommendations.weights.items() if weight > 0]


def inputs_of(known: Known, window: Window, settings: Settings, sources: Sequence[SourceName]) -> Inputs:
    """What the `sources` may learn from, of `window`; content and signals only where one of them needs these."""
    wanted = settings.recommendations
    needs = {need for name in sources for need in SOURCES[name].needs}
    content = signals = None
    if needs or wanted.diversity > 0:
        past = known.events.filter(pc.less_equal(known.events["day"], window.day))
        content = Content.of(
            past, window.vocabulary, items=known.items, delivered=known.item_vectors, seed=settings.seed
        )
    if "signals" in needs:
        signals = Signals.of(known.events, known.signals)
    return Inputs(window, wanted, known.model, content, signals, known.session, settings.seed)


def fit_blend_as_of(
    known: Known, day: date, settings: Settings, *, model_of: Callable[[date], InterestModel | None]
) -> Blend | None:
    """The blend that would have foretold best what came in the rounds of `validation_days` that end with `day`.

    `model_of` gives the model that was served on a day: no round is foretold by a model that was taught by it. None
    where nothing can be told.
    """
    wanted = settings.recommendations
    cuts = []
    for number in range(1, wanted.validation_rounds + 1):
        cut_day = day - timedelta(days=number * wanted.validation_days)
        window = Window.of(known.events, cut_day, wanted)
        if not len(window.listed):
            break
        as_of = replace(known, model=model_of(cut_day + timedelta(days=1)))
        cuts.append(Cut.of(inputs_of(as_of, window, settings, wanted.sources), known.events))
    return fit_blend(cuts, wanted, settings.seed) if cuts else None
