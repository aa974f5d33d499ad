"""Tables of the interest models."""

from __future__ import annotations

import pyarrow as pa

from shift_assets.contracts.columns import DAY, FLOAT, INT, STRING, USER_ID
from shift_assets.contracts.table import Column, Table, count

MODEL_REGISTRY = Table(
    "model_registry",
    description=(
        "Trained interest models: where the weights are, what they were trained on, how they were validated "
        "and whether they serve"
    ),
    grain="one trained model",
    key=("model", "version"),
    consumer="the next day's `interest_model`, `model_predictions`, `list_fits`, `recommendations`",
    own_columns=(
        Column("model", STRING, "Name of the model"),
        Column("version", STRING, "Version, from the digest of its weights"),
        Column("digest", STRING, "SHA-256 of the weights file", pattern=r"^[0-9a-f]{64}$"),
        Column("path", STRING, "Folder of the model, relative to the models folder"),
        Column("window_start", DAY, "First day of the training data"),
        Column("window_end", DAY, "Last day of the training data"),
        Column("served_from", DAY, "First day on which the model may serve"),
        Column("metrics", pa.list_(pa.struct([("name", STRING), ("value", FLOAT)])), "Validation metrics"),
        Column(
            "promoted",
            pa.bool_(),
            "True: it serves from `served_from` until a later model is promoted; false: the champion was at least as "
            "good; null: it serves, and was trained before there was a comparison",
            nullable=True,
        ),
        Column(
            "judged_against",
            STRING,
            "Version of the champion that it was compared with, on the same validation days",
            nullable=True,
        ),
        Column(
            "started_from",
            STRING,
            "Version whose weights initialised the training; null: random weights",
            nullable=True,
        ),
        Column(
            "revision",
            STRING,
            "Git revision of the code, with + where it had changes; the package's version outside a checkout",
            nullable=True,
        ),
        count("parameters", "Number of parameters of the encoder", nullable=True),
        Column("size_bytes", INT, "Size of the weights file", unit="bytes", nullable=True, minimum=0),
    ),
)


def _probability(name: str, meaning: str) -> Column:
    """A probability; null where the training data had no examples."""
    return Column(name, FLOAT, meaning, "probability", True, None, 0, 1)


MODEL_PREDICTIONS = Table(
    "model_predictions",
    description=(
        "Purchase, churn and shift probabilities of each recently active user, scored by the champion of the day"
    ),
    grain="one user seen within 28 days, scored by the champion at the end of the day",
    key=("day", "user_id"),
    consumer="`churn_predictions`, `shift-assets export` (mail campaigns)",
    own_columns=(
        USER_ID,
        Column("horizon_days", INT, "Days ahead for which purchase and categories are predicted", "days", minimum=1),
        _probability(
            "purchase_propensity", "Probability of a purchase within the horizon; null where the training data had none"
        ),
        _probability(
            "churn_probability",
            "Probability of no visit in the next 28 days; null where the training data cover fewer than 28 days",
        ),
        _probability(
            "shift_score",
            "Probability that the newest active days belong to another user, at a prior of one half; null where the "
            "training data had no spliced histories",
        ),
        Column(
            "categories",
            pa.list_(pa.struct([("category", STRING), ("share", FLOAT)])),
            "Up to five categories with the largest expected share of interest within the horizon, largest first",
        ),
        Column("model_version", STRING, "Version of the interest model"),
    ),
)
