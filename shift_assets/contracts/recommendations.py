"""Tables of recommendations and what campaigns make of them."""

from __future__ import annotations

import pyarrow as pa

from shift_assets.contracts.columns import CATEGORY, FLOAT, INT, ITEM_ID, STRING, USER_ID
from shift_assets.contracts.table import Column, Table, count, share

RECOMMENDATIONS = Table(
    "recommendations",
    description=(
        "Top-k recommendations of each recently active user: candidates of several generators, blended, "
        "re-ranked and adapted to open alerts"
    ),
    grain="one rank of one user's recommendations",
    key=("day", "user_id", "rank"),
    consumer=(
        "`campaign_audiences`, `ad_slots`, `recommendation_outcomes`, `experiment_report`, "
        "`recommendation_list`, `shift-assets run` (its report)"
    ),
    own_columns=(
        USER_ID,
        Column("rank", INT, "Rank, 1 is best", minimum=1),
        ITEM_ID,
        Column("score", FLOAT, "Blended score, comparable among the recommendations of one user"),
        Column("source", STRING, "Candidate generator that contributed most to the score"),
        Column("reason", STRING, "Why this item is recommended, as a sentence"),
        Column("alert_id", STRING, "Alert that caused the recommendation, if any", nullable=True),
        Column("policy", STRING, "Policy that made the recommendations"),
        Column(
            "propensity",
            FLOAT,
            "Probability with which the policy shows this item at this rank",
            "probability",
            False,
            None,
            0,
            1,
        ),
        Column(
            "policy_propensity",
            FLOAT,
            "Probability with which the user was assigned the policy",
            "probability",
            False,
            None,
            0,
            1,
        ),
    ),
)


_GAIN = Column(
    "gain", FLOAT, "Share that the category gained in the user's alert; null without an alert", nullable=True
)


_ALERT_ID = Column("alert_id", STRING, "Open alert of the user in which the category rose, if any", nullable=True)


_SUGGESTED_ITEMS = Column(
    "items",
    pa.list_(STRING),
    "Up to five items to show, best first: those recommended to the user, else the segment's most popular",
)


CAMPAIGN_AUDIENCES = Table(
    "campaign_audiences",
    description=(
        "Users to address about a category that rises in the segment, ranked by expected interest, with items to show"
    ),
    grain="one user to address about one category that rose in an alert of the segment",
    key=("day", "user_id", "category"),
    consumer="`bi_activation.duckdb` (mail and push campaigns)",
    own_columns=(
        USER_ID,
        CATEGORY,
        Column("place", INT, "Rank of the user in the category's audience, 1 is best", minimum=1),
        share("score", "Expected share of the category in the user's interest"),
        _GAIN,
        _ALERT_ID,
        _SUGGESTED_ITEMS,
    ),
)


AD_SLOTS = Table(
    "ad_slots",
    description="The categories and items to advertise to each user, ranked by expected interest",
    grain="one advertising slot of one user",
    key=("day", "user_id", "slot"),
    consumer="`bi_activation.duckdb` (advertising on the shop's pages and elsewhere)",
    own_columns=(
        USER_ID,
        Column("slot", INT, "Number of the slot, 1 is the most promising", minimum=1),
        CATEGORY,
        share("score", "Expected share of the category in the user's interest"),
        _GAIN,
        _ALERT_ID,
        _SUGGESTED_ITEMS,
    ),
)


LIST_FITS = Table(
    "list_fits",
    description=(
        "What the weekly fit of the recommender learned: the blend of candidate generators and the shift classifier"
    ),
    grain="one fitted part of the recommender, refitted every week",
    key=("day", "part"),
    consumer="`recommendations` of the following days",
    own_columns=(
        Column(
            "part",
            STRING,
            "What was fitted: blend, the weights of the candidate generators; gate, the shift classifier",
        ),
        Column(
            "chosen", STRING, "The blend that ranked best on validation; for the shift classifier: the word `taught`"
        ),
        count("n_users", "Users in the training data"),
        Column("quality", pa.list_(pa.struct([("name", STRING), ("value", FLOAT)])), "Metrics on held-out users"),
        Column("parameters", STRING, "Fitted parameters, as JSON"),
    ),
)
