"""Offline ranking evaluation with a temporal split (recall@20, NDCG@10), on a shop's own log.

Training uses the days before the validation days, tuning the validation days, and reported are the test days; all are
whole day partitions (the global temporal split of Gusak et al., RecSys 2025, arXiv 2507.16289).
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
"""A short log gives a quarter of its days to validation and to test each."""
BUSY_SHARE = 0.01
NEXT_ITEM_EVENTS = 4_000
"""Most test events of the next-item task; more are sampled."""
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
        """Split at the newest days: `horizon_days` each for test and validation, fewer in a short log.

        Args:
            days: Day [event] of the log.
            horizon_days: Days of test and of validation.

        Raises:
            NothingToEvaluate: The log has too few days.
        """
        busy = busy_days(days)
        span = timedelta(days=min(horizon_days, len(busy) // SHARE_OF_DAYS))
        if not span:
            raise NothingToEvaluate(f"the log has {len(busy)} days; a temporal split needs {SHARE_OF_DAYS} or more")
        end = busy[-1] + timedelta(days=1)
        return cls(end - 2 * span, end - span, end)


def busy_days(days: pa.ChunkedArray) -> list[date]:
    """The distinct `days` [event], sorted, without days that have under BUSY_SHARE of the busiest day's events."""
    counts = pc.value_counts(days).flatten()
    numbers = counts[1].to_numpy()
    return sorted(counts[0].filter(pa.array(numbers >= BUSY_SHARE * numbers.max(initial=0))).to_pylist())


def tasks_after(
    events: pa.Table, first_test_day: date, end: date, settings: RecommendationSettings, seed: int
) -> dict[str, RankingTask]:
    """Ranking tasks of the test days: predict items from the days before.

    - `window`: the items of all test days, from the history at the end of the day before; repeats count.
    - `window_new`: the same, without items of the user's history in ranking and labels.
    - `next_item`: the item of each single event, from all earlier events of its user, with training up to the day
      before the test days.

    Args:
        events: clean_events of a segment.
        first_test_day: First test day.
        end: The day after the last test day.
        settings: Look-back window of the recommendations.
        seed: Seed of the sample of next items.

    Raises:
        NothingToEvaluate: No user of the look-back window came back.
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
    """Each pair of user and item once; unknown items are distinguished by name."""
    codes = pc.dictionary_encode(names.combine_chunks()).indices.to_numpy().astype(np.int64)
    _, first = np.unique(owners * (int(codes.max(initial=0)) + 1) + codes, return_index=True)
    return owners[first], items[first]


def _next_items(
    events: pa.Table, window: Window, end: date, look_back_days: int, seed: int
) -> tuple[Window, Int64Array] | None:
    """Histories before single events after `window.day`, and the items of those events."""
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
    """Every contender on every task of one segment; `tasks` hold users, labels and the share of unreachable labels."""

    borders: TemporalSplit
    tasks: dict[str, dict[str, float]]
    blend: dict[str, Any] | None
    evaluated: list[ContenderResult]


def report(known: RecommendationContext, settings: Settings, *, seed: int, on_progress: OnProgress) -> Report:
    """Evaluate candidate generators, model and blend of one segment on its newest days.

    Nothing is trained or tuned on the test days: the blend is fitted on training snapshots before them, each with the
    model of its day.

    Args:
        known: The segment's events, and items, vectors and signals where there are any.
        settings: Settings of the home.
        seed: Seed of the samples and the bootstrap.
        on_progress: Called with a description of each phase.

    Raises:
        NothingToEvaluate: The log is too short, or no user came back.
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
    """Train the model that is served on a day from scratch on the days before it."""
    from shift_assets.models.training.train import train

    return lambda day: train(known.events, day, settings.model, seed=settings.seed, tasks=settings.tasks).model
