"""Part of shift_assets.contracts.registry."""

from __future__ import annotations

import pyarrow as pa

from shift_assets.contracts.columns import CATEGORY, FLOAT, INT, ITEM_ID, STRING, USER_ID
from shift_assets.contracts.table import Column, Table, count, share

RECOMMENDATIONS = Table(
    "recommendations",
    grain="one place in one user's list",
    key=("day", "user_id", "rank"),
    consumer="shop front, mail campaigns, outcomes",
    own_columns=(
        USER_ID,
        Column("rank", INT, "Place in the list, 1 is best", minimum=1),
        ITEM_ID,
        Column("score", FLOAT, "Blended score; comparable within one user's list"),
        Column("source", STRING, "Candidate source that contributed most"),
        Column("reason", STRING, "Why this item, for a person"),
        Column("alert_id", STRING, "Alarm that caused it, if any", nullable=True),
        Column("policy", STRING, "Policy that made the list"),
        Column(
            "propensity",
            FLOAT,
            "Probability with which the policy showed this item here",
            "probability",
            False,
            None,
            0,
            1,
        ),
        Column(
            "policy_propensity",
            FLOAT,
            "Probability with which the user was dealt the policy",
            "probability",
            False,
            None,
            0,
            1,
        ),
    ),
)


_GAIN = Column("gain", FLOAT, "Share that the category gained in the user's alarm; null without one", nullable=True)


_ALERT_ID = Column("alert_id", STRING, "Open alarm of the user in which the category rose, if any", nullable=True)


_SUGGESTED_ITEMS = Column(
    "items", pa.list_(STRING), "Up to five items to show, best first: the user's own listed ones, else the segment's"
)


CAMPAIGN_AUDIENCES = Table(
    "campaign_audiences",
    grain="one user to be addressed about one category that rose in an alarm of the segment",
    key=("day", "user_id", "category"),
    consumer="mail and push campaigns",
    own_columns=(
        USER_ID,
        CATEGORY,
        Column("place", INT, "Place of the user in the category's audience, 1 is best", minimum=1),
        share("score", "Share of the user's interest that the category is expected to have"),
        _GAIN,
        _ALERT_ID,
        _SUGGESTED_ITEMS,
    ),
)


AD_SLOTS = Table(
    "ad_slots",
    grain="one advertising slot of one user",
    key=("day", "user_id", "slot"),
    consumer="advertising on the shop's pages and elsewhere",
    own_columns=(
        USER_ID,
        Column("slot", INT, "Which slot, 1 is the most promising", minimum=1),
        CATEGORY,
        share("score", "Share of the user's interest that the category is expected to have"),
        _GAIN,
        _ALERT_ID,
        _SUGGESTED_ITEMS,
    ),
)


LIST_FITS = Table(
    "list_fits",
    grain="one thing that lists are made with, learnt anew every week",
    key=("day", "part"),
    consumer="recommendations of the following days, audits",
    own_columns=(
        Column("part", STRING, "What was learnt: blend, how sources are mixed; gate, when a list leans"),
        Column("chosen", STRING, "The blend that foretold best; for the gate: taught"),
        count("n_users", "Users that it was learnt from"),
        Column("quality", pa.list_(pa.struct([("name", STRING), ("value", FLOAT)])), "On users held out"),
        Column("parameters", STRING, "What was learnt, as JSON"),
    ),
)
