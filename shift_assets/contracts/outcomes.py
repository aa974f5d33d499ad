"""Tables of outcomes: alerts, recommendations, experiments and churn against what followed."""

from __future__ import annotations

import pyarrow as pa

from shift_assets.contracts.columns import DAY, FLOAT, HEX_32, INT, STRING
from shift_assets.contracts.table import Column, Table, count, share

CHURN_CALIBRATION = Table(
    "churn_calibration",
    description="What came of the churn probabilities of four weeks ago and of the warnings, computed weekly",
    grain="one segment: churn probabilities of 28 days ago against the visits since",
    key=("day", "segment"),
    consumer="`bi_activation.duckdb` (whoever acts on churn warnings), `shift-assets run` (its report)",
    own_columns=(
        count("n_users", "Users with a prediction"),
        share("base_rate", "Share of the users without a visit in the 28 days"),
        Column("brier", FLOAT, "Mean squared error of the churn probability", minimum=0, maximum=1),
        Column("brier_low", FLOAT, "Lower end of the 95 % interval"),
        Column("brier_high", FLOAT, "Upper end of the 95 % interval"),
        Column(
            "brier_skill",
            FLOAT,
            "Brier skill score: 1 - Brier score / Brier score of the base rate",
            nullable=True,
            maximum=1,
        ),
        Column("brier_skill_low", FLOAT, "Lower end of the 95 % interval", nullable=True),
        Column("brier_skill_high", FLOAT, "Upper end of the 95 % interval", nullable=True),
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
            "Reliability diagram, ten bins of predicted probability: users, mean prediction, observed share and "
            "its 95 % "
            "Wilson interval",
        ),
        share("auc", "ROC AUC of the churn probability; null where all or none stayed away", nullable=True),
        share("calibration_error", "Mean distance of predicted and observed share over the bins (ECE)", nullable=True),
        share("visits_auc", "AUC of BG/NBD on the visits alone", nullable=True),
        share("visits_brier", "Brier score of BG/NBD on the visits alone", nullable=True),
        share("visits_calibration_error", "Calibration error of BG/NBD on the visits alone", nullable=True),
        share("stacked_share", "Share of the users whom the interest model made a prediction for", nullable=True),
        share("stated_precision", "Stated share of the warned users who stay away", nullable=True),
        share(
            "threshold",
            "Threshold of the churn probability then; null where none reached the stated precision",
            nullable=True,
        ),
        count("n_warned", "Warnings that opened in the week up to 28 days ago", nullable=True),
        share("warned_precision", "Share of these users without a visit in the 28 days after", nullable=True),
        Column(
            "early_detection",
            pa.list_(pa.struct([("days", INT), ("n_churners", INT), ("warned", FLOAT)])),
            "Early-detection curve: of the users with a rhythm who have been away for 56 to 83 days, the share whose "
            "warning had opened by so many days after the last visit",
            nullable=True,
        ),
    ),
)


ALERT_OUTCOMES = Table(
    "alert_outcomes",
    description=(
        "Whether the days after an alert confirm it: for a shift the likelihood of the new events under the recent "
        "against the reference profile, for a churn warning that the user stayed away"
    ),
    grain="one alert that opened on `day - horizon_days` (28 for a churn warning), evaluated when that has passed",
    key=("alert_id",),
    consumer="`alerts`, `outcomes`, `bi_public.duckdb`, `shift-assets run` (its report)",
    own_columns=(
        Column("alert_id", STRING, "Alert that is evaluated", pattern=HEX_32),
        Column("horizon_days", INT, "Days after the alert that are evaluated", unit="days", minimum=1),
        Column(
            "confirmed",
            pa.bool_(),
            "Whether the events of the horizon are likelier under the recent profile than under the reference profile, "
            "null where there are too few; of a churn warning: whether the user did not come",
            nullable=True,
        ),
        Column(
            "log_likelihood_gain",
            FLOAT,
            "Mean log-likelihood under the recent profile minus that under the reference profile",
            "nats per event",
            True,
        ),
        count("n_events", "Events in the horizon"),
    ),
)


_BY_SHIFT_KIND = pa.list_(pa.struct([("shift_kind", STRING), ("users", INT), ("clicked", INT), ("purchased", INT)]))


_EXPLORED = pa.list_(pa.struct([("category", STRING), ("shown", INT), ("met", INT)]))


_RATES = ("recall_at_k", "ndcg_at_k", "click_rate", "purchase_rate", "coverage", "novelty", "ips", "snips", "dr")


_RATE_MEANINGS = {
    "recall_at_k": "recall@k: share of the items of the horizon's events that were recommended; at most k count",
    "ndcg_at_k": "NDCG@k: normalised discounted cumulative gain of the recommendations",
    "click_rate": "Share of users who interacted with a recommended item",
    "purchase_rate": "Share of users who bought a recommended item",
    "coverage": "Share of the catalogue that is recommended to anyone",
    "novelty": "Mean self-information of the recommended items, in bits",
    "ips": "Inverse-propensity estimate (IPS) of the click rate per item shown, had the policy not explored",
    "snips": "Self-normalised inverse-propensity estimate (SNIPS) of the same",
    "dr": "Doubly robust estimate (DR) of the same",
}


RECOMMENDATION_OUTCOMES = Table(
    "recommendation_outcomes",
    description="Ranking metrics and off-policy estimates of the recommendations whose horizon ended, by policy",
    grain=(
        "one policy, evaluated on the day that completes the horizon of its recommendations, those of `day - "
        "horizon_days`"
    ),
    key=("day", "segment", "policy"),
    consumer=(
        "`recommendations` of the following days, `bi_activation.duckdb` (whoever chooses the policy), "
        "`bi_public.duckdb`, `shift-assets run` (its report)"
    ),
    own_columns=(
        Column("policy", STRING, "Policy that is evaluated"),
        Column("horizon_days", INT, "Days after the recommendations that are evaluated", unit="days", minimum=1),
        Column("k", INT, "Number of recommendations per user", minimum=1),
        count("users", "Users with recommendations and an event in the horizon"),
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
        Column("off_policy_note", STRING, "Why ips, snips and dr are null; null where they are not", nullable=True),
        Column(
            "by_shift_kind",
            _BY_SHIFT_KIND,
            "By kind of the open alert, or no_shift: users with recommendations, those who interacted with one in the "
            "horizon, and those who bought one; the bandits learn from it",
        ),
        Column(
            "explored",
            _EXPLORED,
            "Explored ranks by category of the item shown, and how many of these items the user interacted with",
        ),
    ),
)


EXPERIMENT_REPORT = Table(
    "experiment_report",
    description="Difference between two policies with fixed-day and always-valid intervals",
    grain="one metric of one pair of policies, over the recommendations of the period whose horizon has ended",
    key=("day", "segment", "policy", "baseline", "metric"),
    consumer="`bi_activation.duckdb` (whoever chooses the policy)",
    own_columns=(
        Column("experiment", STRING, "Name of the experiment; it seeds the assignment of users to policies"),
        Column("period_start", DAY, "First day of the period; each period is an experiment of its own"),
        Column("policy", STRING, "Policy that is evaluated"),
        Column("baseline", STRING, "Policy that it is compared with"),
        Column(
            "metric",
            STRING,
            "What is compared: share of users who interacted with a recommended item, share who bought one, or "
            "recall@k",
            allowed=("click_rate", "purchase_rate", "recall_at_k"),
        ),
        count("users", "Users of the policy"),
        count("baseline_users", "Users of the baseline"),
        Column("difference", FLOAT, "Metric of the policy minus that of the baseline", nullable=True),
        Column(
            "difference_low", FLOAT, "Lower end of the 95 % interval, valid on one day fixed in advance", nullable=True
        ),
        Column(
            "difference_high", FLOAT, "Upper end of the 95 % interval, valid on one day fixed in advance", nullable=True
        ),
        Column(
            "sequential_low", FLOAT, "Lower end of the 95 % confidence sequence, valid on all days at once", None, True
        ),
        Column(
            "sequential_high", FLOAT, "Upper end of the 95 % confidence sequence, valid on all days at once", None, True
        ),
        share(
            "sequential_p_value",
            "Always-valid p-value of no difference, however often it is read in the period",
            nullable=True,
        ),
        share(
            "sample_ratio_p_value",
            "p-value of the sample ratio test, that users were assigned to the policies by their shares; below "
            "0.001 no "
            "difference is reported; null with one policy",
            nullable=True,
        ),
        Column("note", STRING, "Why nothing is compared; null where it is", nullable=True),
    ),
)
