"""The next-item model and its auxiliary tasks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from shift_assets.settings.section import Count, Days, Number, Section, Share, Steps, Unit


class ModelSettings(Section):
    """The next-item model (PyTorch)."""

    device: str = Field("auto", description="`auto`, `cpu`, `cuda`, `cuda:1`, ...; `auto` takes a GPU if there is one.")
    window_days: Days = Field(90, ge=2, description="Days of events to train on, up to the day before.")
    objective: Literal["next_days", "next_event"] = Field(
        "next_days",
        description="`next_days` predicts the items of later days from the end of a day; `next_event` predicts every "
        "next event.",
    )
    copy_mechanism: bool = Field(
        True, description="Add a learned copy mechanism that raises items the user interacted with before."
    )
    item_initialisation: Literal["random", "transitions"] = Field(
        "transitions",
        description="Item embeddings before training: random, or factorised from the item transitions.",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Number format of the large matrix products in training; `auto` takes bfloat16 where the hardware "
        "supports it.",
    )
    architecture: Literal["transformer", "gru", "lstm", "autoencoder"] = Field(
        "transformer",
        description="Sequence encoder; `autoencoder` takes the mean of the events with some left out.",
    )
    dimensions: Count = Field(48, ge=4, description="Length of the item embeddings; a multiple of `heads`.")
    layers: Count = Field(1, ge=1, le=8, description="Layers of the sequence encoder.")
    heads: Count = Field(2, ge=1, description="Attention heads of the transformer.")
    dropout: Share = Field(0.3, ge=0, lt=1, description="Dropout rate in training.")
    maximum_length: Annotated[int, Unit("events")] = Field(
        50, ge=2, description="Newest events of a user that the model reads."
    )
    learning_rate: Number = Field(1e-3, gt=0, description="Learning rate of a training from scratch.")
    batch_size: Count = Field(128, ge=1, description="Histories per training step.")
    loss: Literal["auto", "full", "chunked", "sampled", "gbce"] = Field(
        "auto",
        description="`full`: softmax over all items; `chunked`: the same in chunks of bounded memory; `sampled`: over "
        "sampled negatives; `gbce`: binary cross-entropy calibrated for sampling; `auto`: chunked, sampled on large "
        "catalogues.",
    )
    patience: Count = Field(
        3, ge=0, description="Early stopping: evaluation steps without improvement before training stops."
    )
    validation_days: Days = Field(
        7, ge=1, description="Last days of the window, held out for early stopping; at most a third of the window."
    )
    maximum_steps: Steps = Field(80, ge=1, description="`next_days`: most steps of a training from scratch.")
    maximum_epochs: Annotated[int, Unit("epochs")] = Field(
        30, ge=1, description="`next_event`: most passes over the log of a training from scratch."
    )
    warm_steps: Steps = Field(6, ge=1, description="Steps of a training that continues from the production model.")
    eval_every_steps: Steps = Field(
        10, ge=1, description="Training steps between two evaluations on the validation days."
    )
    threads: Annotated[int, Unit("CPU threads")] = Field(
        1,
        ge=1,
        description="CPU threads of one training, evaluation or prediction; more than one slows down "
        "partitions that run in parallel.",
    )
    distributed: bool = Field(False, description="Share each step among the processes that `torchrun` started.")

    @model_validator(mode="after")
    def _heads_divide(self) -> ModelSettings:
        if self.dimensions % self.heads:
            raise ValueError(f"dimensions {self.dimensions} is no multiple of heads {self.heads}")
        return self


class TaskSettings(Section):
    """What the next-item model also predicts for a user: categories, a purchase, churn, a shift."""

    weights: Annotated[
        dict[Literal["category", "purchase", "churn", "shift"], float], Unit("weight; the next item has 1")
    ] = Field(
        default={"category": 0.3, "purchase": 0.3, "churn": 0.1, "shift": 0.1},
        description="Weight of the loss of each task. Empty: only the next item is trained.",
    )
    horizon_days: Days = Field(7, ge=1, description="Days ahead for which categories and a purchase are predicted.")
