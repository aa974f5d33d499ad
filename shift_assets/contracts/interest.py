"""Part of shift_assets.contracts.registry."""

from __future__ import annotations

import pyarrow as pa

from shift_assets.contracts.cleaning import BEHAVIORS
from shift_assets.contracts.columns import CATEGORY, FLOAT, ITEM_ID, STRING, USER_ID
from shift_assets.contracts.table import Column, Table, count, share

INTEREST_SERIES = Table(
    "interest_series",
    grain="one user, category and day with at least one event",
    key=("day", "user_id", "category"),
    consumer="interest state, features, alert outcomes, segment trends",
    own_columns=(
        USER_ID,
        CATEGORY,
        Column("score", FLOAT, "Interest score: weighted sum of the day's behaviours, floored at 0", minimum=0.0),
        *(count(f"n_{behavior}", f"Events of behaviour {behavior}") for behavior in BEHAVIORS),
        Column("amount", FLOAT, "Quantity x price of purchases less returns", unit="shop currency"),
    ),
)


NORMALISED_FEATURES = ("recency_days", "frequency", "monetary", "active_days", "entropy_bits", "price_level")
"""User features that also stand imputed (`_imputed`) and normalised (`_normalised`: z-score in the segment)."""


USER_FEATURES = Table(
    "user_features",
    grain="one user with an event in the look-back window",
    key=("day", "user_id"),
    consumer="churn and shift models, BI",
    own_columns=(
        USER_ID,
        Column("recency_days", FLOAT, "Days since the last active day", unit="days", minimum=0),
        Column("frequency", FLOAT, "Events in the look-back window", unit="events", minimum=0),
        Column("monetary", FLOAT, "Amount in the look-back window", unit="shop currency"),
        Column("active_days", FLOAT, "Days with an event in the look-back window", unit="days", minimum=1),
        *(share(f"rate_{behavior}", f"Share of events that are {behavior}") for behavior in BEHAVIORS),
        Column("entropy_bits", FLOAT, "Shannon entropy of the user's category shares", unit="bits", minimum=0),
        Column(
            "price_level",
            FLOAT,
            "Mean price rank of the items met within their category",
            "rank 0..1",
            True,
            None,
            0,
            1,
        ),
        Column("hour_profile", pa.list_(FLOAT), "Share of events by local hour, 24 values"),
        Column("weekday_profile", pa.list_(FLOAT), "Share of events by local weekday from Monday, 7 values"),
        Column(
            "attributes",
            pa.list_(pa.struct([("name", STRING), ("value", STRING)])),
            "Profile attributes delivered in the users table",
        ),
        *(
            Column(f"{name}_imputed", FLOAT, f"{name}, the segment's median where it is missing")
            for name in NORMALISED_FEATURES
        ),
        *(
            Column(f"{name}_normalised", FLOAT, f"{name}_imputed as z-score within the segment")
            for name in NORMALISED_FEATURES
        ),
    ),
)


ITEM_FEATURES = Table(
    "item_features",
    grain="one item met in the look-back window",
    key=("day", "item_id"),
    consumer="recommendation candidates, cold items, BI",
    own_columns=(
        ITEM_ID,
        CATEGORY,
        Column("price", FLOAT, "Median price in the look-back window", "shop currency", True, None, 0),
        Column("popularity", FLOAT, "Distinct users in the last 7 days", unit="users", minimum=0),
        Column("trend", FLOAT, "log2 of last 7 days' users over the week before, each plus one", unit="log2 ratio"),
        Column("rating_mean", FLOAT, "Mean rating in the look-back window", "stars", True),
        Column("embedding", pa.list_(pa.float32()), "Text embedding (TF-IDF, SVD), unit length; empty without text"),
    ),
)
