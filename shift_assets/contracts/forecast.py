"""Tables of the forecasting stage."""

from __future__ import annotations

import pyarrow as pa

from shift_assets.contracts.columns import CATEGORY, FLOAT, INT, STRING, USER_ID
from shift_assets.contracts.table import Column, Table, share

INTEREST_FORECASTS = Table(
    "interest_forecasts",
    description=(
        "Forecast of each user's category shares for the next seven days, with a conformal band, by the model"
        " that `forecast_quality` of the newest refit day names"
    ),
    grain="one user and category seen in the preceding weeks, for the seven days after the day",
    key=("day", "user_id", "category"),
    consumer="`shift_signals` of seven days later",
    own_columns=(
        USER_ID,
        CATEGORY,
        share(
            "share",
            "Forecast share of the category in the user's score over the next seven days, given that the user is "
            "active",
        ),
        Column("band", FLOAT, "Half width of the conformal band around the share", unit="share", minimum=0),
        Column(
            "quantile",
            FLOAT,
            "Conformal quantile of the day's model: the band is this number of spreads of the forecast",
            unit="spreads",
            minimum=0,
        ),
        Column("model", STRING, "Forecasting model; null in rows of version 0.1.0", nullable=True),
    ),
)


FORECAST_QUALITY = Table(
    "forecast_quality",
    description="Out-of-time error of the forecasting models that may serve, computed weekly, and which of them serves",
    grain="a forecasting model or a baseline, evaluated on the newest weeks up to the weekly refit day",
    key=("day", "segment", "model"),
    consumer="`interest_forecasts` of the week after, `shift-assets export`",
    own_columns=(
        Column("model", STRING, "Forecasting model: a baseline or a learned one"),
        Column(
            "is_serving", pa.bool_(), "Whether this model makes the forecasts from the day on, until the next refit day"
        ),
        Column("parameters", STRING, "Parameters chosen by the search, as JSON"),
        Column(
            "n_rows", INT, "User-category weeks evaluated, all later than the training data", unit="count", minimum=1
        ),
        Column("mse", FLOAT, "Mean squared error", unit="share^2", minimum=0),
        Column("mae", FLOAT, "Mean absolute error", unit="share", minimum=0),
        Column(
            "r2",
            FLOAT,
            "Coefficient of determination against the mean share; null where all shares are equal",
            nullable=True,
            maximum=1,
        ),
        share("coverage", "Share of user weeks in which every category lies within its band"),
        Column("band", FLOAT, "Mean half width of the conformal band", unit="share", minimum=0),
        Column(
            "features",
            pa.list_(pa.struct([("name", STRING), ("anova_f", FLOAT), ("lasso_weight", FLOAT), ("importance", FLOAT)])),
            "Feature selection, the same for all models: ANOVA F statistic, lasso weight, forest importance",
        ),
    ),
)
