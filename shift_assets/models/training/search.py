"""Hyperparameter search on a log's validation; needs the extra `tune` (optuna).

Tree-structured Parzen estimators (Bergstra et al. 2011) propose settings, and a training below the median of the
trials before it is pruned.
"""
# For the evaluation of contenders, whose encoder settings it will choose.

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from shift_assets.models.data.item_attributes import ItemAttributes
from shift_assets.models.data.sequences import Sequences, Vocabulary
from shift_assets.models.data.validation import Validation
from shift_assets.models.training.fit import CurvePoint, fit
from shift_assets.models.training.parameters import ModelParameters


class FloatRange(NamedTuple):
    """Numbers from `low` to `high`, drawn uniformly or, if `logarithmic`, log-uniformly."""

    low: float
    high: float
    logarithmic: bool = False


Space = Mapping[str, FloatRange | tuple[Any, ...]]
"""Range, or values, to try by field of ModelParameters."""

SPACE: Space = {
    "dimensions": (32, 64, 128, 256),
    "layers": (1, 2),
    "dropout": FloatRange(0.1, 0.6),
    "learning_rate": FloatRange(3e-4, 5e-3, logarithmic=True),
    "item_initialisation": ("random", "transitions"),
    "batch_size": (64, 128, 256),
}


@dataclass(frozen=True)
class Trial:
    """Settings that were tried, and their best validation NDCG; None where the trial was pruned."""

    chosen: dict[str, Any]
    ndcg: float | None


@dataclass(frozen=True)
class SearchResult:
    """The settings of the best trial, and all trials in order."""

    settings: ModelParameters
    trials: tuple[Trial, ...]


def search(
    learnable: Sequences,
    vocabulary: Vocabulary,
    validation: Validation,
    settings: ModelParameters,
    *,
    trials: int,
    seed: int,
    space: Space = SPACE,
    attributes: ItemAttributes | None = None,
    on_progress: Callable[[Trial], None] | None = None,
) -> SearchResult:
    """Train `trials` models and return the settings of the one with the best validation NDCG.

    Every training has the same seed, so that settings are compared and not random draws. The same arguments give the
    same trials.

    Args:
        learnable: Events to train on, in codes of `vocabulary`.
        vocabulary: Items and categories.
        validation: Histories and the items taken after them.
        settings: Settings of all fields outside `space`.
        trials: Number of trainings, at least 1.
        seed: Seed of the proposals and of every training.
        space: Fields to try.
        attributes: Attributes of the items.
        on_progress: Called after every trial.

    Raises:
        ValueError: The validation has no users.
    """
    import optuna

    if not len(validation.owners):
        raise ValueError("the validation has no users to compare trials on")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=4)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed), pruner=pruner)
    tried: list[Trial] = []

    def objective(trial: optuna.Trial) -> float:
        chosen = {name: _suggested(trial, name, values) for name, values in space.items()}
        scores: list[float] = []

        def watch(point: CurvePoint) -> None:
            scores.append(point.ndcg or 0.0)
            trial.report(max(scores), len(scores))
            if trial.should_prune():
                raise optuna.TrialPruned

        trial_settings = ModelParameters.model_validate(settings.model_dump() | chosen)
        tried.append(Trial(chosen, None))
        try:
            fit(learnable, vocabulary, validation, trial_settings, seed=seed, attributes=attributes, on_progress=watch)
            tried[-1] = Trial(chosen, max(scores))
        finally:
            if on_progress is not None:
                on_progress(tried[-1])
        return max(scores)

    study.optimize(objective, n_trials=trials)
    best = ModelParameters.model_validate(settings.model_dump() | study.best_trial.params)
    return SearchResult(best, tuple(tried))


def _suggested(trial: Any, name: str, values: FloatRange | tuple[Any, ...]) -> Any:
    if isinstance(values, FloatRange):
        return trial.suggest_float(name, values.low, values.high, log=values.logarithmic)
    return trial.suggest_categorical(name, values)
