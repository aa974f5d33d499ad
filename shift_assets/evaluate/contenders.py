"""Every candidate source, the blend and what each cost, judged on the same tasks by the same code."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from shift_assets.evaluate.tasks import Quality, Task, quality, top_lists
from shift_assets.evaluate.usage import Usage, measured
from shift_assets.models.sequences import Integers
from shift_assets.recommend.mixing import Mixer
from shift_assets.recommend.ranker import Blend
from shift_assets.recommend.source import Fitted, Inputs, Scorer
from shift_assets.recommend.sources import SOURCES
from shift_assets.recommend.window import Floats
from shift_assets.settings import SourceName

Tell = Callable[[str], None]

BLEND, FIXED_BLEND = "blend", "fixed_blend"


class Contender(NamedTuple):
    """Something that makes lists, what it learnt frozen, and what the learning cost.

    `scorer_on` turns it on the histories of a task, whose hidden pairs it may leave out at once.
    """

    name: str
    scorer_on: Callable[[Task], Scorer]
    training: Usage


class Judged(NamedTuple):
    """One contender on one task; `scoring` is the cost of its lists."""

    contender: str
    task: str
    quality: Quality
    training: Usage
    scoring: Usage


def contenders(inputs: Inputs, blend: Blend | None, *, encoder: Usage, blending: Usage, tell: Tell) -> list[Contender]:
    """Every source that can be fitted on the inputs, and all of them blended, by fixed weights and as learned.

    `encoder` is the cost of the interest model's training, `blending` that of the blend beside its sources.
    """
    fitted: dict[SourceName, Fitted] = {}
    costs: dict[str, Usage] = {}
    for name, source in SOURCES.items():
        if source.possible(inputs):
            tell(f"fitting {name}")
            with measured() as usage:
                fitted[name] = source.fit(inputs)
            costs[name] = encoder if source.needs_model else usage
    found = [Contender(name, _source_on(made), costs[name]) for name, made in fitted.items()]
    weighted = {name: made for name, made in fitted.items() if inputs.settings.weights.get(name, 0) > 0}
    found.append(Contender(FIXED_BLEND, _mixed_on(weighted, None, inputs), _sum(costs[name] for name in weighted)))
    if blend is not None:
        used = {name: made for name, made in fitted.items() if name in blend.sources}
        cost = _sum([blending, *(costs[name] for name in used)])
        found.append(Contender(BLEND, _mixed_on(used, blend, inputs), cost))
    return found


def _source_on(fitted: Fitted) -> Callable[[Task], Scorer]:
    return lambda task: fitted(task.window)


def _mixed_on(fitted: Mapping[SourceName, Fitted], blend: Blend | None, inputs: Inputs) -> Callable[[Task], Scorer]:
    everything = np.arange(inputs.window.item_count)

    def on(task: Task) -> Scorer:
        ranked = Mixer(fitted, blend, inputs.settings, inputs.window, everything, task.hidden).on(task.window)

        def scores(users: Integers) -> Floats:
            return ranked(users).scores

        return scores

    return on


def _sum(parts: Any) -> Usage:
    parts = list(parts)
    return Usage(sum(part.cpu_seconds for part in parts), max((part.peak_memory_mib for part in parts), default=0.0))


def judge(found: list[Contender], tasks: Mapping[str, Task], *, samples: int, seed: int, tell: Tell) -> list[Judged]:
    """Each contender on each task."""
    rows = []
    for task_name, task in tasks.items():
        for contender in found:
            tell(f"{task_name}: {contender.name}")
            with measured() as usage:
                lists = top_lists(contender.scorer_on(task), task, task.users)
            judged = quality(lists, task, samples=samples, seed=seed)
            rows.append(Judged(contender.name, task_name, judged, contender.training, usage))
    return rows


def described(blend: Blend | None) -> dict[str, Any] | None:
    """The blend as plain values, for a report; None where nothing could be learned."""
    if blend is None:
        return None
    found: dict[str, Any] = json.loads(blend.to_json())
    return found
