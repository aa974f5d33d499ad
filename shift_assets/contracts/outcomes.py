"""Part of shift_assets.contracts.registry."""

from __future__ import annotations

import pyarrow as pa

from shift_assets.contracts.columns import DAY, FLOAT, HEX_32, INT, STRING
from shift_assets.contracts.table import Column, Table, count, share

CHURN_CALIBRATION = Table(
    "churn_calibration",
    grain="one segment: churn predictions made 28 days before, against what followed",
    key=("day", "segment"),
    consumer="trust in churn warnings, quality reports",
    own_columns=(
        count("n_users", "Users with a prediction"),
        share("base_rate", "Share of the users without a visit in the 28 days"),
        Column("brier", FLOAT, "Mean squared error of the churn probability", minimum=0, maximum=1),
        Column("brier_low", FLOAT, "Lower end of its 95 % interval"),
        Column("brier_high", FLOAT, "Upper end of its 95 % interval"),
        Column("brier_skill", FLOAT, "1 - Brier score over that of the base rate", nullable=True, maximum=1),
        Column("brier_skill_low", FLOAT, "Lower end of its 95 % interval", nullable=True),
        Column("brier_skill_high", FLOAT, "Upper end of its 95 % interval", nullable=True),
        Column(
            "reliability",
            pa.list_(
                pa.struct(
                    [
                        ("predicted_low", FLOAT),
                        ("predicted_high", FLOAT),
                        ("n_users", INT),
                        ("predicted", FLOAT),
                        ("observed", FLOAT),
                        ("observed_low", FLOAT),
                        ("observed_high", FLOAT),
                    ]
                )
            ),
            "Ten bins of predicted probability: users, mean prediction, observed share and its 95 % Wilson interval",
        ),
    ),
)


ALERT_OUTCOMES = Table(
    "alert_outcomes",
    grain="one alarm, judged on the day that completed its horizon: it had opened on `day - horizon_days`",
    key=("alert_id",),
    consumer="quality reports, the self-check",
    own_columns=(
        Column("alert_id", STRING, "Alarm judged", pattern=HEX_32),
        Column("horizon_days", INT, "Days after the alarm that were looked at", unit="days", minimum=1),
        Column(
            "confirmed",
            pa.bool_(),
            "The days after are likelier under the recent profile; null with too few events",
            nullable=True,
        ),
        Column(
            "log_likelihood_gain", FLOAT, "Mean gain of the recent over the reference profile", "nats per event", True
        ),
        count("n_events", "Events in the horizon"),
    ),
)


_BY_SHIFT_KIND = pa.list_(pa.struct([("shift_kind", STRING), ("users", INT), ("clicked", INT), ("purchased", INT)]))


_EXPLORED = pa.list_(pa.struct([("category", STRING), ("shown", INT), ("met", INT)]))


_RATES = ("recall_at_k", "ndcg_at_k", "click_rate", "purchase_rate", "coverage", "novelty", "ips", "snips", "dr")


_RATE_MEANINGS = {
    "recall_at_k": "Share of the items met in the horizon that the list held (at most k counted)",
    "ndcg_at_k": "Normalised discounted cumulative gain of the list",
    "click_rate": "Share of users who met a recommended item",
    "purchase_rate": "Share of users who bought a recommended item",
    "coverage": "Share of the catalogue that the lists hold",
    "novelty": "Mean self-information of recommended items, bits",
    "ips": "Inverse-propensity estimate of the click rate per item shown, had no lot been held",
    "snips": "Self-normalised inverse-propensity estimate of the same",
    "dr": "Doubly robust estimate of the same",
}


RECOMMENDATION_OUTCOMES = Table(
    "recommendation_outcomes",
    grain="one policy, judged on the day that completed the horizon of its lists, those of `day - horizon_days`",
    key=("day", "segment", "policy"),
    consumer="quality reports, policy choice, BI",
    own_columns=(
        Column("policy", STRING, "Policy judged"),
        Column("horizon_days", INT, "Days after the lists that were looked at", unit="days", minimum=1),
        Column("k", INT, "Length of the list judged", minimum=1),
        count("users", "Users with a list and an event in the horizon"),
        *(
            column
            for name in _RATES
            for column in (
                Column(name, FLOAT, _RATE_MEANINGS[name], nullable=True, minimum=0),
                Column(f"{name}_low", FLOAT, f"{name}: lower end of its 95 % interval", nullable=True),
                Column(f"{name}_high", FLOAT, f"{name}: upper end of its 95 % interval", nullable=True),
            )
        ),
        Column(
            "effective_users",
            FLOAT,
            "Kish's effective number of users behind ips, snips and dr",
            unit="users",
            nullable=True,
            minimum=0,
        ),
        Column("off_policy_note", STRING, "Why ips, snips and dr are null, where they are", nullable=True),
        Column(
            "by_shift_kind",
            _BY_SHIFT_KIND,
            "All users with a list by the kind of their open alarm, or no_shift; those who met a recommended item in "
            "the horizon, and those who bought one: what bandits learn from",
        ),
        Column(
            "explored",
            _EXPLORED,
            "Places drawn by lot, by category of the item shown, and how many of them their user met",
        ),
    ),
)


EXPERIMENT_REPORT = Table(
    "experiment_report",
    grain="one metric of one pair of policies, over the lists of the period whose horizon has ended",
    key=("day", "segment", "policy", "baseline", "metric"),
    consumer="whoever decides which policy stays, BI",
    own_columns=(
        Column("experiment", STRING, "Name of the experiment, by which users were dealt to policies"),
        Column("period_start", DAY, "First day of the period: each period is an experiment of its own"),
        Column("policy", STRING, "Policy judged"),
        Column("baseline", STRING, "Policy that it is compared with"),
        Column(
            "metric",
            STRING,
            "What is compared: share of lists with an item met, with one bought, or recall of the list",
            allowed=("click_rate", "purchase_rate", "recall_at_k"),
        ),
        count("users", "Users of the policy"),
        count("baseline_users", "Users of the baseline"),
        Column("difference", FLOAT, "Rate of the policy less that of the baseline", nullable=True),
        Column("difference_low", FLOAT, "Lower end of its 95 % interval, on a day fixed beforehand", nullable=True),
        Column("difference_high", FLOAT, "Upper end of its 95 % interval, on a day fixed beforehand", nullable=True),
        Column("sequential_low", FLOAT, "Lower end of the 95 % interval that holds on all days at once", None, True),
        Column("sequential_high", FLOAT, "Upper end of the 95 % interval that holds on all days at once", None, True),
        share(
            "sequential_p_value",
            "p-value of no difference, however often it is looked at in the period",
            nullable=True,
        ),
        share(
            "sample_ratio_p_value",
            "p-value that users came to the policies by their shares; below 0.001 no difference is told; null with "
            "one policy only",
            nullable=True,
        ),
        Column("note", STRING, "Why nothing is compared, where it is not", nullable=True),
    ),
)
