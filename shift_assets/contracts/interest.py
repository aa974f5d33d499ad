"""Tables of interest: the series and the features of users and items."""

from __future__ import annotations

import pyarrow as pa

from shift_assets.contracts.cleaning import BEHAVIORS
from shift_assets.contracts.columns import CATEGORY, FLOAT, ITEM_ID, STRING, USER_ID
from shift_assets.contracts.table import Column, Table, count, share

INTEREST_SERIES = Table(
    "interest_series",
    description="Interest score of each user in each category, a weighted sum of the day's clean events",
    grain="one user, category and day with at least one event",
    key=("day", "user_id", "category"),
    consumer=(
        "`interest_state`, `user_features`, `interest_forecasts`, `forecast_quality`, `shift_signals`, "
        "`segment_shifts`, `segment_events`, `alert_outcomes`, `detector_self_check`, `segment_trends`, "
        "`shift_overview`, `bi_public.duckdb`, `shift-assets evaluate shifts`"
    ),
    own_columns=(
        USER_ID,
        CATEGORY,
        Column("score", FLOAT, "Interest score: weighted sum of the day's behaviours, floored at 0", minimum=0.0),
        *(count(f"n_{behavior}", f"Events of behaviour {behavior}") for behavior in BEHAVIORS),
        Column("amount", FLOAT, "Sum of quantity x price of purchases, less that of returns", unit="shop currency"),
    ),
)


NORMALISED_FEATURES = ("recency_days", "frequency", "monetary", "active_days", "entropy_bits", "price_level")
"""User features that also have a column `_imputed`, and a column `_normalised`: the z-score in the segment."""


USER_FEATURES = Table(
    "user_features",
    description=(
        "Recency, frequency, monetary value, behaviour rates and profiles of each user, computed over a "
        "look-back window"
    ),
    grain="one user with an event in the look-back window",
    key=("day", "user_id"),
    consumer="`bi_activation.duckdb` (analysts)",
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
            "Mean price rank, within their categories, of the items that the user interacted with",
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
            "Attributes of the user in the source's users table",
        ),
        *(
            Column(f"{name}_imputed", FLOAT, f"{name}, or the segment's median where it is null")
            for name in NORMALISED_FEATURES
        ),
        *(
            Column(f"{name}_normalised", FLOAT, f"z-score of {name}_imputed within the segment")
            for name in NORMALISED_FEATURES
        ),
    ),
)


ITEM_FEATURES = Table(
    "item_features",
    description="Price, popularity, trend, rating and text embedding of each item, computed over a look-back window",
    grain="one item with an event in the look-back window",
    key=("day", "item_id"),
    consumer="`campaign_audiences`, `ad_slots`, `recommendation_list`",
    own_columns=(
        ITEM_ID,
        CATEGORY,
        Column("price", FLOAT, "Median price in the look-back window", "shop currency", True, None, 0),
        Column("popularity", FLOAT, "Distinct users in the last 7 days", unit="users", minimum=0),
        Column(
            "trend",
            FLOAT,
            "log2 ratio of the users of the last 7 days to those of the 7 days before, each plus one",
            unit="log2 ratio",
        ),
        Column("rating_mean", FLOAT, "Mean rating in the look-back window", "stars", True),
        Column(
            "embedding",
            pa.list_(pa.float32()),
            "Text embedding (TF-IDF, truncated SVD) of unit length; empty where the item has no text",
        ),
    ),
)
