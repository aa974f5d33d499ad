"""Search for the model settings that suit a log, judged on its validation; needs the extra `tune` (optuna).

Tree-structured Parzen estimators propose (Bergstra et al. 2011), and a training that lies below the median of those
before it is broken off.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from shift_assets.models.data.item_attributes import ItemAttributes
from shift_assets.models.data.sequences import Sequences, Vocabulary
from shift_assets.models.data.validation import Validation
from shift_assets.models.training.fit import CurvePoint, fit
from shift_assets.settings.root import ModelSettings


class FloatRange(NamedTuple):
    """Numbers from `low` to `high`; `logarithmic`: orders of magnitude are alike."""

    low: float
    high: float
    logarithmic: bool = False


Space = Mapping[str, FloatRange | tuple[Any, ...]]
"""Per field of ModelSettings the numbers, or the listed values, that are tried."""

SPACE: Space = {
    "dimensions": (32, 64, 128, 256),
    "layers": (1, 2),
    "dropout": FloatRange(0.1, 0.6),
    "learning_rate": FloatRange(3e-4, 5e-3, logarithmic=True),
    "item_start": ("random", "transitions"),
    "batch_size": (64, 128, 256),
}


@dataclass(frozen=True)
class Trial:
    """What was tried, and the best NDCG that it reached on the validation; None where it was broken off."""

    chosen: dict[str, Any]
    ndcg: float | None


@dataclass(frozen=True)
class SearchResult:
    """The settings of the best trial, and all trials in order."""

    settings: ModelSettings
    trials: tuple[Trial, ...]


def search(
    learnable: Sequences,
    vocabulary: Vocabulary,
    validation: Validation,
    settings: ModelSettings,
    *,
    trials: int,
    seed: int,
    space: Space = SPACE,
    attributes: ItemAttributes | None = None,
    on_progress: Callable[[Trial], None] | None = None,
) -> SearchResult:
    """The best of `trials` (at least 1) trainings within `space`, whose other settings are `settings`.

    Every training has the same seed, so that settings are compared, not luck. The same arguments give the same
    trials. Raises ValueError where the validation has no user to judge by.
    """
    import optuna

    if not len(validation.owners):
        raise ValueError("nothing to search by: the validation has no user")
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

        trial_settings = ModelSettings.model_validate(settings.model_dump() | chosen)
        tried.append(Trial(chosen, None))
        try:
            fit(learnable, vocabulary, validation, trial_settings, seed=seed, attributes=attributes, on_progress=watch)
            tried[-1] = Trial(chosen, max(scores))
        finally:
            if on_progress is not None:
                on_progress(tried[-1])
        return max(scores)

    study.optimize(objective, n_trials=trials)
    best = ModelSettings.model_validate(settings.model_dump() | study.best_trial.params)
    return SearchResult(best, tuple(tried))


def _suggested(trial: Any, name: str, values: FloatRange | tuple[Any, ...]) -> Any:
    if isinstance(values, FloatRange):
        return trial.suggest_float(name, values.low, values.high, log=values.logarithmic)
    return trial.suggest_categorical(name, values)
