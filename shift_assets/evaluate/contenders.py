"""Evaluation of every candidate generator and of the blend on the same ranking tasks, with their resource usage."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from shift_assets.arrays import Float32Array, Int64Array
from shift_assets.evaluate.ranking_tasks import RankingMetrics, RankingTask, quality, top_k_items
from shift_assets.evaluate.resource_usage import ResourceUsage, measure_usage
from shift_assets.recommend.candidates.base import FittedGenerator, GeneratorInputs, Scorer
from shift_assets.recommend.candidates.registry import GENERATORS
from shift_assets.recommend.ranking.blend import Blend
from shift_assets.recommend.ranking.ranker import BlendedRanker
from shift_assets.settings.root import GeneratorName

OnProgress = Callable[[str], None]

BLEND, FIXED_BLEND = "blend", "fixed_blend"


class Contender(NamedTuple):
    """A fitted recommender, and the resource usage of its training.

    `scorer_on` applies it to the histories of a task, whose hidden pairs it may leave out at once.
    """

    name: str
    scorer_on: Callable[[RankingTask], Scorer]
    training: ResourceUsage


class ContenderResult(NamedTuple):
    """Metrics of one contender on one task; `scoring` is the resource usage of ranking."""

    contender: str
    task: str
    quality: RankingMetrics
    training: ResourceUsage
    scoring: ResourceUsage


def contenders(
    inputs: GeneratorInputs,
    blend: Blend | None,
    *,
    encoder: ResourceUsage,
    blending: ResourceUsage,
    on_progress: OnProgress,
) -> list[Contender]:
    """Fit every candidate generator that the inputs allow, and blend them with fixed weights and with fitted ones.

    Args:
        inputs: The window, and what generators are fitted on.
        blend: The fitted blend; None without one.
        encoder: Resource usage of the interest model's training.
        blending: Resource usage of fitting the blend, without its generators.
        on_progress: Called with a description of each phase.
    """
    fitted: dict[GeneratorName, FittedGenerator] = {}
    costs: dict[str, ResourceUsage] = {}
    for name, source in GENERATORS.items():
        if source.can_fit(inputs):
            on_progress(f"fitting {name}")
            with measure_usage() as usage:
                fitted[name] = source.fit(inputs)
            costs[name] = encoder if source.needs_model else usage
    found = [Contender(name, _source_on(made), costs[name]) for name, made in fitted.items()]
    weighted = {name: made for name, made in fitted.items() if inputs.settings.weights.get(name, 0) > 0}
    found.append(
        Contender(FIXED_BLEND, _mixed_on(weighted, None, inputs), _total_usage(costs[name] for name in weighted))
    )
    if blend is not None:
        used = {name: made for name, made in fitted.items() if name in blend.generators}
        cost = _total_usage([blending, *(costs[name] for name in used)])
        found.append(Contender(BLEND, _mixed_on(used, blend, inputs), cost))
    return found


def _source_on(fitted: FittedGenerator) -> Callable[[RankingTask], Scorer]:
    return lambda task: fitted(task.window)


def _mixed_on(
    fitted: Mapping[GeneratorName, FittedGenerator], blend: Blend | None, inputs: GeneratorInputs
) -> Callable[[RankingTask], Scorer]:
    everything = np.arange(inputs.window.item_count)

    def scorer_on(task: RankingTask) -> Scorer:
        ranker = BlendedRanker(
            fitted, blend, inputs.settings, inputs.window, task.window, allowed=everything, excluded=task.hidden
        )

        def scores(users: Int64Array) -> Float32Array:
            return ranker.score(users).scores

        return scores

    return scorer_on


def _total_usage(parts: Any) -> ResourceUsage:
    parts = list(parts)
    return ResourceUsage(
        sum(part.cpu_seconds for part in parts), max((part.peak_memory_mib for part in parts), default=0.0)
    )


def evaluate_contenders(
    found: list[Contender], tasks: Mapping[str, RankingTask], *, samples: int, seed: int, on_progress: OnProgress
) -> list[ContenderResult]:
    """Evaluate each contender on each task.

    Args:
        found: The contenders.
        tasks: Ranking tasks by name.
        samples: Bootstrap samples of the intervals.
        seed: Seed of the bootstrap.
        on_progress: Called with a description of each phase.
    """
    rows = []
    for task_name, task in tasks.items():
        for contender in found:
            on_progress(f"{task_name}: {contender.name}")
            with measure_usage() as usage:
                slates = top_k_items(contender.scorer_on(task), task, task.users)
            evaluated = quality(slates, task, samples=samples, seed=seed)
            rows.append(ContenderResult(contender.name, task_name, evaluated, contender.training, usage))
    return rows


def blend_description(blend: Blend | None) -> dict[str, Any] | None:
    """The blend as plain values, for a report; None without a blend."""
    if blend is None:
        return None
    found: dict[str, Any] = json.loads(blend.to_json())
    return found
