"""Search for the model settings that suit a log, judged on its validation; needs the extra `tune` (optuna).

Tree-structured Parzen estimators propose (Bergstra et al. 2011), and a training that lies below the median of those
before it is broken off.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from shift_assets.models.encoder import ItemAttributes
from shift_assets.models.examples import Validation
from shift_assets.models.sequences import Sequences, Vocabulary
from shift_assets.models.training import CurvePoint, fit
from shift_assets.settings import ModelSettings


class Between(NamedTuple):
    """Numbers from `low` to `high`; `logarithmic`: orders of magnitude are alike."""

    low: float
    high: float
    logarithmic: bool = False


Space = Mapping[str, Between | tuple[Any, ...]]
"""Per field of ModelSettings the numbers, or the listed values, that are tried."""

SPACE: Space = {
    "dimensions": (32, 64, 128, 256),
    "layers": (1, 2),
    "dropout": Between(0.1, 0.6),
    "learning_rate": Between(3e-4, 5e-3, logarithmic=True),
    "item_start": ("random", "transitions"),
    "batch_size": (64, 128, 256),
}


@dataclass(frozen=True)
class Trial:
    """What was tried, and the best NDCG that it reached on the validation; None where it was broken off."""

    chosen: dict[str, Any]
    ndcg: float | None


@dataclass(frozen=True)
class Found:
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
    tell: Callable[[Trial], None] | None = None,
) -> Found:
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

    def judge(trial: optuna.Trial) -> float:
        chosen = {name: _suggested(trial, name, values) for name, values in space.items()}
        looks: list[float] = []

        def watch(point: CurvePoint) -> None:
            looks.append(point.ndcg or 0.0)
            trial.report(max(looks), len(looks))
            if trial.should_prune():
                raise optuna.TrialPruned

        suited = ModelSettings.model_validate(settings.model_dump() | chosen)
        tried.append(Trial(chosen, None))
        try:
            fit(learnable, vocabulary, validation, suited, seed=seed, attributes=attributes, tell=watch)
            tried[-1] = Trial(chosen, max(looks))
        finally:
            if tell is not None:
                tell(tried[-1])
        return max(looks)

    study.optimize(judge, n_trials=trials)
    best = ModelSettings.model_validate(settings.model_dump() | study.best_trial.params)
    return Found(best, tuple(tried))


def _suggested(trial: Any, name: str, values: Between | tuple[Any, ...]) -> Any:
    if isinstance(values, Between):
        return trial.suggest_float(name, values.low, values.high, log=values.logarithmic)
    return trial.suggest_categorical(name, values)
