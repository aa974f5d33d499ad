"""Everything that training reads: the settings of an installation, and constants of the method.

A constant becomes a setting only when operators of different shops need different values. What does not belong here:
the numbers of the network's shape that are no parameter of training.
"""

from __future__ import annotations

from typing import Literal, Self

from shift_assets.settings.root import ModelSettings, TaskSettings


class ModelParameters(ModelSettings):
    """Settings and constants of the next-item model's training."""

    negatives: int = 256
    """Sampled negatives per step, shared by all its points."""
    negative_sampling: Literal["uniform", "mixed"] = "uniform"
    """Negatives drawn uniformly from all items; mixed: half of them by their share of events."""
    gbce_calibration: float = 0.75
    """Loss gbce: 0 plain, 1 calibrated as the softmax."""
    full_softmax_items: int = 20_000
    """Catalogues up to this size train on all items."""
    cropped_share: float = 0.0
    """Share of histories per step that lose a random beginning."""
    hidden_share: float = 0.0
    """Share of events per step whose item is hidden."""
    item_dropout: float = 0.0
    """Share of items per step that are known by their attributes alone."""
    target_span: int = 50
    """Objective next_days: number of next events, on later days, that a point predicts."""
    warm_learning_rate: float = 5e-4
    """Learning rate of a training that continues from the production model."""

    @classmethod
    def of(cls, settings: ModelSettings) -> Self:
        """Return the settings with the constants; parameters as they are."""
        return settings if isinstance(settings, cls) else cls(**settings.model_dump())


class TaskParameters(TaskSettings):
    """Settings and constants of the auxiliary tasks' training."""

    weighting: Literal["fixed", "uncertainty"] = "fixed"
    """uncertainty: each weight is also divided by a variance that training finds."""
    stop_gradient: tuple[Literal["category", "purchase", "churn", "shift"], ...] = ("purchase", "shift")
    """Tasks that read the encoder without training it: their gradients cost the next item."""
    steps: int = 30
    """Steps that the heads take alone once the encoder is trained."""
    warm_steps: int = 10
    """The same where training continues from the production model."""
    shift_active_days: int = 3
    """Active days on each side of a splice; the first ones after it count as shifted."""
    batch_size: int = 32
    """Chunks of history per step for the tasks, in addition to the next item's."""
    learning_rate: float = 1e-2
    """Learning rate of the heads; the encoder keeps that of the model."""

    @classmethod
    def of(cls, settings: TaskSettings) -> Self:
        """Return the settings with the constants; parameters as they are."""
        return settings if isinstance(settings, cls) else cls(**settings.model_dump())
