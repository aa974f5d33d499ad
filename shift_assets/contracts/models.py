"""Part of shift_assets.contracts.registry."""

from __future__ import annotations

import pyarrow as pa

from shift_assets.contracts.columns import DAY, FLOAT, INT, STRING, USER_ID
from shift_assets.contracts.table import Column, Table, count

MODEL_REGISTRY = Table(
    "model_registry",
    grain="one trained model",
    key=("model", "version"),
    consumer="scoring, audits",
    own_columns=(
        Column("model", STRING, "Which model"),
        Column("version", STRING, "Version, from the digest of its weights"),
        Column("digest", STRING, "SHA-256 of the weights file", pattern=r"^[0-9a-f]{64}$"),
        Column("path", STRING, "Folder of the model, relative to the models folder"),
        Column("window_start", DAY, "First day of the training data"),
        Column("window_end", DAY, "Last day of the training data"),
        Column("served_from", DAY, "First day it may be served"),
        Column("metrics", pa.list_(pa.struct([("name", STRING), ("value", FLOAT)])), "Validation metrics"),
        Column(
            "promoted",
            pa.bool_(),
            "It is served from `served_from` on, until a later one is; false: the one served before was no worse; "
            "null: served, from before there was a choice",
            nullable=True,
        ),
        Column("judged_against", STRING, "Version served before, on the same validation days", nullable=True),
        Column("started_from", STRING, "Version whose weights it continued; null: random weights", nullable=True),
        Column(
            "revision", STRING, "Git revision of the code, + with changes; its version where it is none", nullable=True
        ),
        count("parameters", "Numbers in the weights of the encoder", nullable=True),
        Column("size_bytes", INT, "Size of the weights file", unit="bytes", nullable=True, minimum=0),
    ),
)


def _probability(name: str, meaning: str) -> Column:
    """A probability that a model may have been unable to learn."""
    return Column(name, FLOAT, meaning, "probability", True, None, 0, 1)


MODEL_PREDICTIONS = Table(
    "model_predictions",
    grain="one user seen within 28 days, as the served model foretells it at the end of the day",
    key=("day", "user_id"),
    consumer="mail campaigns, churn and shift reviews, BI",
    own_columns=(
        USER_ID,
        Column("horizon_days", INT, "Days ahead that a purchase and categories are foretold for", "days", minimum=1),
        _probability("purchase_propensity", "A purchase within the horizon; null where none was to be learned from"),
        _probability(
            "churn_probability", "No visit in the following 28 days; null where no 28 days had been seen to the end"
        ),
        _probability(
            "shift_score",
            "The newest active days are another's, had half of all users been replaced; null without spliced users",
        ),
        Column(
            "categories",
            pa.list_(pa.struct([("category", STRING), ("share", FLOAT)])),
            "Categories of the largest share of the interest expected within the horizon, largest first, at most five",
        ),
        Column("model_version", STRING, "Interest model that foretells"),
    ),
)
