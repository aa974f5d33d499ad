"""The protocol for a shop's own log: what is known before a day foretells what comes from it on.

Days before the first validation day teach, the validation days choose, the test days are reported; all borders are
borders of day partitions (the global temporal split of Gusak et al., RecSys 2025, arXiv 2507.16289).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.arrays import Int64Array
from shift_assets.contracts.day import day_number
from shift_assets.errors import UserError
from shift_assets.evaluate.contenders import ContenderResult, blend_description, contenders, evaluate_contenders
from shift_assets.evaluate.ranking_tasks import RankingTask
from shift_assets.evaluate.resource_usage import measure_usage
from shift_assets.models.data.sequences import RETURN, pack
from shift_assets.recommend.candidates.registry import GENERATORS
from shift_assets.recommend.context import RecommendationContext, generator_inputs
from shift_assets.recommend.weekly_fits import fit_blend_as_of
from shift_assets.recommend.window import Window
from shift_assets.settings.root import RecommendationSettings, Settings

if TYPE_CHECKING:
    from shift_assets.models.network.interest_model import InterestModel

SHARE_OF_DAYS = 4
"""A short log gives validation and test a fourth of its days each."""
BUSY_SHARE = 0.01
NEXT_ITEM_EVENTS = 4_000
"""Test events of a segment whose item is foretold, drawn by seed where there are more."""
WINDOW, WINDOW_NEW, NEXT_ITEM = "window", "window_new", "next_item"


OnProgress = Callable[[str], None]


class NothingToEvaluate(UserError):
    """The log is too short for a split, or no user came back; the message says what is needed."""


@dataclass(frozen=True)
class TemporalSplit:
    """First days of validation, of test, and the day after the last test day."""

    validation: date
    test: date
    end: date

    @classmethod
    def of(cls, days: pa.ChunkedArray, horizon_days: int) -> TemporalSplit:
        """The newest of the `days` [event]: `horizon_days` for test and validation each, fewer in a short log.

        Raises NothingToEvaluate where there are too few days.
        """
        busy = busy_days(days)
        span = timedelta(days=min(horizon_days, len(busy) // SHARE_OF_DAYS))
        if not span:
            raise NothingToEvaluate(f"the log has {len(busy)} days; a split by day needs {SHARE_OF_DAYS} or more")
        end = busy[-1] + timedelta(days=1)
        return cls(end - 2 * span, end - span, end)


def busy_days(days: pa.ChunkedArray) -> list[date]:
    """The distinct `days` [event] in order, without those of stray events: under BUSY_SHARE of the busiest day's."""
    counts = pc.value_counts(days).flatten()
    numbers = counts[1].to_numpy()
    return sorted(counts[0].filter(pa.array(numbers >= BUSY_SHARE * numbers.max(initial=0))).to_pylist())


def tasks_after(
    events: pa.Table, first_test_day: date, end: date, settings: RecommendationSettings, seed: int
) -> dict[str, RankingTask]:
    """What users took on the days from `first_test_day` to before `end`, foretold from the days before.

    - `window`: the items of all those days, from the history at the end of the day before; repeats count.
    - `window_new`: the same, items of the user's history neither listed nor counted.
    - `next_item`: each single event, from all events of its user before it; trained is only before `first_test_day`.

    Raises NothingToEvaluate where no user of the look-back window came back.
    """
    window = Window.of(events, first_test_day - timedelta(days=1), settings)
    later = events.filter(
        (pc.field("day") >= first_test_day) & (pc.field("day") < end) & (pc.field("behavior") != "return")
    )
    users = pc.fill_null(pc.index_in(later["user_id"], value_set=pa.array(window.sequences.users, pa.string())), -1)
    owners = users.to_numpy().astype(np.int64)
    items = window.vocabulary.item_codes(later["item_id"]) - 1
    evaluated = np.isin(owners, window.target_users)
    everything = np.arange(window.item_count)
    owners, items = _distinct_labels(owners[evaluated], items[evaluated], later["item_id"].filter(pa.array(evaluated)))
    if not (items >= 0).any():
        raise NothingToEvaluate(f"no user active before {first_test_day} took a known item until {end}")
    plain = RankingTask(window, everything, owners, items, window)
    tasks = {WINDOW: plain, WINDOW_NEW: replace(plain, hidden=(window.owners, window.items))}
    following = _next_items(events, window, end, settings.look_back_days, seed)
    if following is not None:
        histories, labels = following
        tasks[NEXT_ITEM] = RankingTask(histories, everything, np.arange(len(labels)), labels, window)
    return tasks


def _distinct_labels(owners: Int64Array, items: Int64Array, names: pa.ChunkedArray) -> tuple[Int64Array, Int64Array]:
    """Each pair of user and item once; unknown items are told apart by name."""
    codes = pc.dictionary_encode(names.combine_chunks()).indices.to_numpy().astype(np.int64)
    _, first = np.unique(owners * (int(codes.max(initial=0)) + 1) + codes, return_index=True)
    return owners[first], items[first]


def _next_items(
    events: pa.Table, window: Window, end: date, look_back_days: int, seed: int
) -> tuple[Window, Int64Array] | None:
    """Histories as they stood before single events after `window.day`, and the items of those events."""
    first = window.day - timedelta(days=look_back_days - 1)
    sequences = pack(events.filter((pc.field("day") >= first) & (pc.field("day") < end)), window.vocabulary)
    users = np.arange(len(sequences.users))
    last = end - timedelta(days=1)
    whole = Window(last, window.vocabulary, sequences, users, np.full(len(users), day_number(last)))
    has_history = np.arange(len(sequences.days)) > np.repeat(sequences.offsets[:-1], sequences.lengths)
    evaluated = np.flatnonzero(
        has_history & (sequences.days > day_number(window.day)) & (sequences.behaviors != RETURN)
    )
    if not len(evaluated):
        return None
    if len(evaluated) > NEXT_ITEM_EVENTS:
        evaluated = np.sort(np.random.default_rng(seed).choice(evaluated, NEXT_ITEM_EVENTS, replace=False))
    return whole.prefixes(whole.owners[evaluated], evaluated), whole.items[evaluated]


class Report(NamedTuple):
    """Every contender on every task of one segment; `tasks` tell how many users, labels, and labels out of reach."""

    borders: TemporalSplit
    tasks: dict[str, dict[str, float]]
    blend: dict[str, Any] | None
    evaluated: list[ContenderResult]


def report(known: RecommendationContext, settings: Settings, *, seed: int, on_progress: OnProgress) -> Report:
    """What sources, model and blend of one segment foretold of its newest days.

    `known` holds the segment's events, and items, vectors and signals where there are any. The test days teach
    nothing and choose nothing: the blend is fitted to the days before them, cut by cut, with the model of the cut.

    Raises NothingToEvaluate where the log is too short or nobody came back.
    """
    events = known.events
    borders = TemporalSplit.of(events["day"], settings.outcomes.horizon_days)
    span = borders.test - borders.validation
    wanted = settings.recommendations.model_copy(
        update={"validation_days": span.days, "exclude_bought_days": 0, "exclude_returned_days": 0}
    )
    evaluation_settings = settings.model_copy(
        update={
            "recommendations": wanted,
            "model": settings.model.model_copy(update={"validation_days": span.days}),
        }
    )
    tasks = tasks_after(events, borders.test, borders.end, wanted, seed)
    on_progress("fitting the blend to the days before the test")
    with measure_usage() as blending:
        blend = fit_blend_as_of(
            known, borders.test - timedelta(days=1), evaluation_settings, model_of=_trained(known, evaluation_settings)
        )
    on_progress("training the model")
    with measure_usage() as encoder:
        model = _trained(known, evaluation_settings)(borders.test)
    window = tasks[WINDOW].window
    inputs = generator_inputs(replace(known, model=model), window, evaluation_settings, tuple(GENERATORS))
    found = contenders(inputs, blend, encoder=encoder, blending=blending, on_progress=on_progress)
    return Report(
        borders,
        {
            name: {
                "users": len(task.users),
                "labels": len(task.owners),
                "unreachable_share": task.unreachable_share,
                "items": len(task.allowed),
            }
            for name, task in tasks.items()
        },
        blend_description(blend),
        evaluate_contenders(
            found, tasks, samples=settings.outcomes.bootstrap_samples, seed=seed, on_progress=on_progress
        ),
    )


def _trained(known: RecommendationContext, settings: Settings) -> Callable[[date], InterestModel | None]:
    """The model that is served on a day, trained from nothing on the days before it."""
    from shift_assets.models.training.train import train

    return lambda day: train(known.events, day, settings.model, seed=settings.seed, tasks=settings.tasks).model
