"""Part of shift_assets.contracts.registry."""

from __future__ import annotations

import pyarrow as pa

from shift_assets.contracts.columns import CATEGORY, FLOAT, INT, STRING, USER_ID
from shift_assets.contracts.table import Column, Table, share

INTEREST_FORECASTS = Table(
    "interest_forecasts",
    grain="one user and category met in the weeks before, and the seven days after the day",
    key=("day", "user_id", "category"),
    consumer="shift signals of seven days later, analysts",
    own_columns=(
        USER_ID,
        CATEGORY,
        share(
            "share", "Forecast share of the category in the user's score of the next seven days, should the user come"
        ),
        Column("band", FLOAT, "Half width of the conformal band around the share", unit="share", minimum=0),
        Column(
            "quantile",
            FLOAT,
            "Conformal quantile of the day's model: the band is so many spreads of the forecast",
            unit="spreads",
            minimum=0,
        ),
    ),
)


FORECAST_QUALITY = Table(
    "forecast_quality",
    grain="the serving forecasting model or a baseline, evaluated on the newest weeks up to the weekly refit day",
    key=("day", "segment", "model"),
    consumer="analysts: whether the serving model is still ahead of the baselines",
    own_columns=(
        Column("model", STRING, "Member of the family: a baseline or a learned one"),
        Column("is_serving", pa.bool_(), "The settings let this member make the daily forecasts"),
        Column("parameters", STRING, "JSON of the parameters that the search chose"),
        Column("n_rows", INT, "User-category weeks judged, all out of time", unit="count", minimum=1),
        Column("mse", FLOAT, "Mean squared error", unit="share^2", minimum=0),
        Column("mae", FLOAT, "Mean absolute error", unit="share", minimum=0),
        Column(
            "r2",
            FLOAT,
            "1 - squared error over that of the mean share; null: all shares were the same",
            nullable=True,
            maximum=1,
        ),
        share("coverage", "Part of the users' weeks with every category inside its band"),
        Column("band", FLOAT, "Mean half width of the conformal band", unit="share", minimum=0),
        Column(
            "features",
            pa.list_(pa.struct([("name", STRING), ("anova_f", FLOAT), ("lasso_weight", FLOAT), ("importance", FLOAT)])),
            "Feature selection, the same for all members: F statistic, Lasso weight, forest importance",
        ),
    ),
)
