"""Every candidate source, the blend and what each cost, judged on the same tasks by the same code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from shift_assets.evaluate.tasks import Quality, Task, quality, top_lists
from shift_assets.evaluate.usage import Usage, measured
from shift_assets.recommend.source import Fitted, Inputs, Scorer
from shift_assets.recommend.sources import SOURCES

Tell = Callable[[str], None]


class Contender(NamedTuple):
    """Something that makes lists, what it learnt frozen, and what the learning cost."""

    name: str
    scorer_on: Fitted
    training: Usage


class Judged(NamedTuple):
    """One contender on one task; `scoring` is the cost of its lists."""

    contender: str
    task: str
    quality: Quality
    training: Usage
    scoring: Usage


def fit_sources(inputs: Inputs, model_training: Usage | None, tell: Tell) -> list[Contender]:
    """Every source that can be fitted on the inputs; the cost of the interest model is that of its training."""
    found = []
    for name, source in SOURCES.items():
        if source.needs_model and inputs.model is None:
            continue
        tell(f"fitting {name}")
        with measured() as usage:
            fitted = source.fit(inputs)
        found.append(Contender(name, fitted, model_training if source.needs_model and model_training else usage))
    return found


def judge(
    contenders: list[Contender], tasks: Mapping[str, Task], *, samples: int, seed: int, tell: Tell
) -> list[Judged]:
    """Each contender on each task."""
    rows = []
    for task_name, task in tasks.items():
        for contender in contenders:
            tell(f"{task_name}: {contender.name}")
            with measured() as usage:
                scorer: Scorer = contender.scorer_on(task.window)
                lists = top_lists(scorer, task, task.users)
            found = quality(lists, task, samples=samples, seed=seed)
            rows.append(Judged(contender.name, task_name, found, contender.training, usage))
    return rows
