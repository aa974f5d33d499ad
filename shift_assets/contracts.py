"""Every table of the platform, declared once.

What belongs here: grain, key, columns, Arrow types, units, meanings, and the bounds that a valid value keeps.
From these declarations come the write-time validation, the Dagster column schema, the Great Expectations
suites, the comments in the BI files and the data dictionary. What does not belong here: how a table is made.
"""

from __future__ import annotations

from datetime import date
from typing import Literal, NamedTuple, get_args

import pyarrow as pa

from shift_assets.tables import Column, Table, count, share

BEHAVIORS = ("view", "click", "favorite", "cart", "purchase", "return", "rating", "review")
"""The contract's behaviours, in the order of their columns."""

REJECT_REASONS = (
    "malformed",
    "missing_user",
    "missing_item",
    "bad_timestamp",
    "wrong_day",
    "unknown_behavior",
    "bad_value",
    "duplicate",
    "too_long",
    "bot_burst",
    "unreadable_file",
)
ALERT_STATUSES = ("opened", "continued", "closed")
ALERT_KINDS = ("switch", "surge", "fade", "return", "churn_risk")
SEVERITIES = ("low", "medium", "high")
Donor = Literal["random", "same_tier", "nearest_profile"]
DONORS: tuple[Donor, ...] = get_args(Donor)
"""Who takes over from a user in a spliced history: anyone of the segment, one as active, or the nearest profile."""
SELF_CHECKED = ("e_value", "posterior", "learned", "none")

HEX_32 = r"^[0-9a-f]{32}$"

_STRING, _INT, _FLOAT, _DAY = pa.string(), pa.int64(), pa.float64(), pa.date32()
_TIMESTAMP = pa.timestamp("us", tz="UTC")
_CATEGORY_CHANGE = pa.list_(
    pa.struct(
        [("category", _STRING), ("share_before", _FLOAT), ("share_after", _FLOAT), ("contribution", _FLOAT)]
    )  # contribution: to the evidence for the new profile, nats per day
)
_WEIGHTS = pa.list_(pa.struct([("category", _STRING), ("weight", pa.float32())]))


class Partition(NamedTuple):
    """One day of one user segment: the unit in which every table is replaced."""

    day: date
    segment: str


_USER = Column("user_id", _STRING, "Pseudonym of the user", pattern=HEX_32)
_ITEM = Column("item_id", _STRING, "Item, as delivered")
_CATEGORY = Column("category", _STRING, "Interest category: delivered, or learned from text or co-occurrence")

CLEAN_EVENTS = Table(
    "clean_events",
    grain="one accepted behaviour event",
    key=("event_id",),
    consumer="interest series, features, model training, outcomes",
    own_columns=(
        Column("event_id", _STRING, "Digest of the delivered event's identity", pattern=HEX_32),
        _USER,
        _ITEM,
        _CATEGORY,
        Column("behavior", _STRING, "What the user did", allowed=BEHAVIORS),
        Column("event_ts", _TIMESTAMP, "When it happened", unit="UTC"),
        Column("quantity", _FLOAT, "Units, as delivered", nullable=True),
        Column("price", _FLOAT, "Price of one unit, in the shop's currency", nullable=True),
        Column("rating", _FLOAT, "Stars given", nullable=True),
        Column("text", _STRING, "Review or item text of the event", nullable=True),
        Column("source", _STRING, "Name of the source that delivered it"),
        Column("source_file", _STRING, "Delivered file, relative to the landing folder"),
        Column("source_row", _INT, "Row in that file, from 1", minimum=1),
    ),
)

REJECTED_EVENTS = Table(
    "rejected_events",
    grain="one delivered row that is no clean event",
    key=("source_file", "source_row"),
    consumer="quarantine replay, data-quality dashboards",
    own_columns=(
        Column("source_file", _STRING, "Delivered file, relative to the landing folder"),
        Column("source_row", _INT, "Row in that file, from 1; 0 where the file as a whole is unreadable", minimum=0),
        Column(
            "segment_known", pa.bool_(), "False: the user cannot be told, and the segment is a hash of file and row"
        ),
        Column("reason", _STRING, "Why it was rejected", allowed=REJECT_REASONS),
        Column("detail", _STRING, "What exactly was wrong, and with which value"),
        Column("raw", pa.binary(), "The delivered bytes, capped at 64 KiB"),
        Column("raw_sha256", _STRING, "SHA-256 of the whole delivered row", pattern=r"^[0-9a-f]{64}$"),
    ),
)

DELIVERIES = Table(
    "deliveries",
    grain="one delivered file, as far as its rows fell to the partition",
    key=("source_file",),
    consumer="accounting: every delivered row is clean or rejected",
    own_columns=(
        Column("source_file", _STRING, "Delivered file, relative to the landing folder"),
        Column("file_sha256", _STRING, "SHA-256 of the delivered bytes", pattern=r"^[0-9a-f]{64}$"),
        Column("file_rows", _INT, "Rows of the whole file", unit="count", minimum=0),
        Column(
            "rows",
            _INT,
            "Rows of the file that fell to this partition, as the parser counted them",
            unit="count",
            minimum=1,
        ),
    ),
)

INTEREST_SERIES = Table(
    "interest_series",
    grain="one user, category and day with at least one event",
    key=("day", "user_id", "category"),
    consumer="interest state, features, alert outcomes, segment trends",
    own_columns=(
        _USER,
        _CATEGORY,
        Column("score", _FLOAT, "Interest score: weighted sum of the day's behaviours, floored at 0", minimum=0.0),
        *(count(f"n_{behavior}", f"Events of behaviour {behavior}") for behavior in BEHAVIORS),
        Column("amount", _FLOAT, "Quantity x price of purchases less returns", unit="shop currency"),
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
        _USER,
        Column("recency_days", _FLOAT, "Days since the last active day", unit="days", minimum=0),
        Column("frequency", _FLOAT, "Events in the look-back window", unit="events", minimum=0),
        Column("monetary", _FLOAT, "Amount in the look-back window", unit="shop currency"),
        Column("active_days", _FLOAT, "Days with an event in the look-back window", unit="days", minimum=1),
        *(share(f"rate_{behavior}", f"Share of events that are {behavior}") for behavior in BEHAVIORS),
        Column("entropy_bits", _FLOAT, "Shannon entropy of the user's category shares", unit="bits", minimum=0),
        Column(
            "price_level",
            _FLOAT,
            "Mean price rank of the items met within their category",
            "rank 0..1",
            True,
            None,
            0,
            1,
        ),
        Column("hour_profile", pa.list_(_FLOAT), "Share of events by local hour, 24 values"),
        Column("weekday_profile", pa.list_(_FLOAT), "Share of events by local weekday from Monday, 7 values"),
        Column(
            "attributes",
            pa.list_(pa.struct([("name", _STRING), ("value", _STRING)])),
            "Profile attributes delivered in the users table",
        ),
        *(
            Column(f"{name}_imputed", _FLOAT, f"{name}, the segment's median where it is missing")
            for name in NORMALISED_FEATURES
        ),
        *(
            Column(f"{name}_normalised", _FLOAT, f"{name}_imputed as z-score within the segment")
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
        _ITEM,
        _CATEGORY,
        Column("price", _FLOAT, "Median price in the look-back window", "shop currency", True, None, 0),
        Column("popularity", _FLOAT, "Distinct users in the last 7 days", unit="users", minimum=0),
        Column("trend", _FLOAT, "log2 of last 7 days' users over the week before, each plus one", unit="log2 ratio"),
        Column("rating_mean", _FLOAT, "Mean rating in the look-back window", "stars", True),
        Column("embedding", pa.list_(pa.float32()), "Text embedding (TF-IDF, SVD), unit length; empty without text"),
    ),
)

INTEREST_STATE = Table(
    "interest_state",
    grain="one user ever active, as of the end of the day",
    key=("day", "user_id"),
    consumer="its own next day, shift signals, alerts, recommendations",
    own_columns=(
        _USER,
        Column("last_active_day", _DAY, "The user's last active day"),
        count("active_days", "Active days since the state began"),
        count("scored_days", "Active days with a score since the state began"),
        Column(
            "profile",
            _WEIGHTS,
            "Long-term profile: exponentially decayed sum of the daily shares, without what the whole segment did",
        ),
        Column("former_profile", _WEIGHTS, "Profile before the last shift that has become the user's normal"),
        Column(
            "recent_days",
            pa.list_(
                pa.struct(
                    [
                        ("day", _DAY),
                        (
                            "scores",
                            pa.list_(
                                pa.struct([("category", _STRING), ("score", pa.float32()), ("own_share", pa.float32())])
                            ),
                        ),
                        ("counts", pa.list_(pa.int32())),
                    ]
                )
            ),
            "The last active days, oldest first: score per category, its share of the day without what the whole "
            "segment did (0 once older than the possible starts), and count per behaviour (contract order)",
        ),
        Column("log_evidence", pa.list_(pa.float32()), "Log e-value of each possible start, oldest first", unit="nats"),
        Column(
            "run_length",
            pa.list_(pa.float32()),
            "Posterior of the start of the current regime: before the possible starts, then each of them, oldest first",
        ),
        Column("response_gradient", pa.float32(), "Learnt response to the segment's moves, less one: numerator"),
        Column("response_information", pa.float32(), "Learnt response to the segment's moves: information", minimum=0),
        Column("evidence", _FLOAT, "Log of the alarm statistic M on the last scored day", unit="nats", nullable=True),
        share("confidence", "Posterior of a recent shift on the last scored day", nullable=True),
        share("p_value", "p-value of the evidence; null for users without score today", nullable=True),
        share(
            "q_value",
            "p-value adjusted over the tests and alarms of the last 28 days; null for users with an open alarm, too",
            nullable=True,
        ),
        Column("last_alert_day", _DAY, "Day on which the user's last alarm opened", nullable=True),
        Column("change_rate_ewma", _FLOAT, "Smoothed change rate carried forward", nullable=True),
        Column("interest_gap_ewma", _FLOAT, "Smoothed interest gap carried forward", nullable=True),
        Column("distribution_distance_ewma", _FLOAT, "Smoothed distribution distance carried forward", nullable=True),
        Column("alert_id", _STRING, "Open alarm, if any", nullable=True),
        Column("alert_kind", _STRING, "Kind of the open alarm", nullable=True, allowed=ALERT_KINDS),
        Column("alert_opened_day", _DAY, "Day on which the open alarm opened", nullable=True),
        Column("alert_onset_day", _DAY, "First active day of the open alarm's new interest", nullable=True),
        Column(
            "alert_exceeded_day",
            _DAY,
            "Last day on which a signal of the open alarm stood above its line",
            nullable=True,
        ),
        Column(
            "alert_status",
            _STRING,
            "What happened to the alarm today; null where nothing did",
            nullable=True,
            allowed=ALERT_STATUSES,
        ),
        share("churn_probability", "Probability that the user does not come in the following 28 days", nullable=True),
        Column("churn_opened_day", _DAY, "Day on which the open churn warning opened", nullable=True),
        Column(
            "churn_status",
            _STRING,
            "What happened to the churn warning today; null where nothing did",
            nullable=True,
            allowed=("opened", "closed"),
        ),
        count("gap_count", "Visit gaps seen"),
        Column("gap_mean_days", _FLOAT, "Mean gap between active days", unit="days", nullable=True, minimum=0),
        Column("gap_square_mean", _FLOAT, "Mean squared gap", unit="days^2", nullable=True, minimum=0),
    ),
)

SHIFT_SIGNALS = Table(
    "shift_signals",
    grain="one user active that day, or whose churn warning opened or closed",
    key=("day", "user_id"),
    consumer="shift alerts, analysts",
    own_columns=(
        _USER,
        count("n_recent", "Active days in the recent window"),
        count("n_reference", "Active days in the reference window"),
        Column(
            "change_rate",
            _FLOAT,
            "Relative change of the mean daily number of behaviours, recent over reference",
            "ratio - 1",
            True,
            None,
            -1,
        ),
        Column(
            "change_rate_by_behavior",
            pa.list_(pa.struct([("behavior", _STRING), ("change_rate", _FLOAT)])),
            "The same for each behaviour seen in the reference window",
        ),
        share("interest_gap", "Largest |share recent - share reference| over categories", nullable=True),
        Column(
            "interest_gap_total",
            _FLOAT,
            "Sum of |share recent - share reference| over categories",
            "0..2",
            True,
            None,
            0,
            2,
        ),
        share(
            "distribution_distance",
            "Jensen-Shannon distance (base 2) of the smoothed category distributions",
            nullable=True,
        ),
        Column(
            "forecast_error",
            _FLOAT,
            "Largest |residual| over its conformal band among the user's categories; above 1 the week fell outside",
            unit="ratio",
            nullable=True,
            minimum=0,
        ),
        share("model_shift_score", "Score of the learned shift detector", nullable=True),
        Column("evidence", _FLOAT, "Log of the alarm statistic M, an e-value for a shift", unit="nats", nullable=True),
        share("confidence", "Posterior probability of a recent shift", nullable=True),
        share("p_value", "p-value of the evidence under no shift", nullable=True),
        share("churn_probability", "Probability that the user does not come in the following 28 days", nullable=True),
    ),
)

INTEREST_FORECASTS = Table(
    "interest_forecasts",
    grain="one user and category met in the weeks before, and the seven days after the day",
    key=("day", "user_id", "category"),
    consumer="shift signals of seven days later, analysts",
    own_columns=(
        _USER,
        _CATEGORY,
        share(
            "share", "Forecast share of the category in the user's score of the next seven days, should the user come"
        ),
        Column("band", _FLOAT, "Half width of the conformal band around the share", unit="share", minimum=0),
        Column(
            "quantile",
            _FLOAT,
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
        Column("model", _STRING, "Member of the family: a baseline or a learned one"),
        Column("is_serving", pa.bool_(), "The settings let this member make the daily forecasts"),
        Column("parameters", _STRING, "JSON of the parameters that the search chose"),
        Column("n_rows", _INT, "User-category weeks judged, all out of time", unit="count", minimum=1),
        Column("mse", _FLOAT, "Mean squared error", unit="share^2", minimum=0),
        Column("mae", _FLOAT, "Mean absolute error", unit="share", minimum=0),
        Column(
            "r2",
            _FLOAT,
            "1 - squared error over that of the mean share; null: all shares were the same",
            nullable=True,
            maximum=1,
        ),
        share("coverage", "Part of the users' weeks with every category inside its band"),
        Column("band", _FLOAT, "Mean half width of the conformal band", unit="share", minimum=0),
        Column(
            "features",
            pa.list_(
                pa.struct([("name", _STRING), ("anova_f", _FLOAT), ("lasso_weight", _FLOAT), ("importance", _FLOAT)])
            ),
            "Feature selection, the same for all members: F statistic, Lasso weight, forest importance",
        ),
    ),
)

CHURN_CALIBRATION = Table(
    "churn_calibration",
    grain="one segment: churn predictions made 28 days before, against what followed",
    key=("day", "segment"),
    consumer="trust in churn warnings, quality reports",
    own_columns=(
        count("n_users", "Users with a prediction"),
        share("base_rate", "Share of the users without a visit in the 28 days"),
        Column("brier", _FLOAT, "Mean squared error of the churn probability", minimum=0, maximum=1),
        Column("brier_low", _FLOAT, "Lower end of its 95 % interval"),
        Column("brier_high", _FLOAT, "Upper end of its 95 % interval"),
        Column("brier_skill", _FLOAT, "1 - Brier score over that of the base rate", nullable=True, maximum=1),
        Column("brier_skill_low", _FLOAT, "Lower end of its 95 % interval", nullable=True),
        Column("brier_skill_high", _FLOAT, "Upper end of its 95 % interval", nullable=True),
        Column(
            "reliability",
            pa.list_(
                pa.struct(
                    [
                        ("predicted_low", _FLOAT),
                        ("predicted_high", _FLOAT),
                        ("n_users", _INT),
                        ("predicted", _FLOAT),
                        ("observed", _FLOAT),
                        ("observed_low", _FLOAT),
                        ("observed_high", _FLOAT),
                    ]
                )
            ),
            "Ten bins of predicted probability: users, mean prediction, observed share and its 95 % Wilson interval",
        ),
    ),
)

SHIFT_ALERTS = Table(
    "shift_alerts",
    grain="one alarm on one day of its episode",
    key=("day", "alert_id"),
    consumer="marketers, recommendations, the alert outbox",
    own_columns=(
        Column("alert_id", _STRING, "Alarm, the same through its episode", pattern=HEX_32),
        _USER,
        Column("status", _STRING, "What happened today", allowed=ALERT_STATUSES),
        Column("kind", _STRING, "What sort of shift", allowed=ALERT_KINDS),
        Column("severity", _STRING, "How large", allowed=SEVERITIES),
        share("magnitude", "Total variation distance between old and new profile"),
        share("magnitude_low", "Magnitude: lower end of its 90 % interval", nullable=True),
        share("magnitude_high", "Magnitude: upper end of its 90 % interval", nullable=True),
        share("confidence", "Posterior probability of a shift", nullable=True),
        share("p_value", "p-value under no shift", nullable=True),
        share(
            "q_value",
            "Share of false alarms among those of the last 28 days with p-values up to this; of the opening day only",
            nullable=True,
        ),
        share("model_shift_score", "Score of the learned detector", nullable=True),
        Column(
            "ranking",
            _STRING,
            "What ranks the day's alarms, as the newest self-check chose",
            nullable=True,
            allowed=("posterior", "learned"),
        ),
        share("ranking_score", "Its value: the confidence, or the score of the learned detector", nullable=True),
        share(
            "placebo_false_share",
            "Measured by the newest self-check: share of users left as they are, but for the order of their days, whom "
            "the alarm statistic flags within the active days that the check looks at",
            nullable=True,
        ),
        Column("onset_day", _DAY, "First active day of the new interest"),
        Column(
            "rising",
            _CATEGORY_CHANGE,
            "Categories that gained share, largest first, with what each adds to the evidence per day (nats)",
        ),
        Column("falling", _CATEGORY_CHANGE, "Categories that lost share, largest first"),
        share("platform_share", "Part of the move that the whole segment made", nullable=True),
        Column("explanation", _STRING, "The alarm in one sentence"),
        Column("detector", _STRING, "Detector that owns the alarm"),
        Column("model_version", _STRING, "Interest model consulted", nullable=True),
    ),
)

SEGMENT_SHIFTS = Table(
    "segment_shifts",
    grain="one category of one segment",
    key=("day", "segment", "category"),
    consumer="campaign planning, BI",
    own_columns=(
        _CATEGORY,
        share("share_before", "Share of the segment's interest in the reference window"),
        share("share_after", "Share of the segment's interest in the recent window"),
        Column("z_score", _FLOAT, "Change over its day-to-day standard error", "standard errors", True),
        Column("direction", _STRING, "Which way it moved", allowed=("rising", "falling", "steady")),
        count("n_users", "Users with interest in the category in the recent window"),
        Column(
            "rising_pairs",
            pa.list_(pa.struct([("item_a", _STRING), ("item_b", _STRING), ("lift", _FLOAT)])),
            "Item pairs bought or viewed together more often than before",
        ),
    ),
)

MEASURES = ("volume", "active_users", "category_share")

SEGMENT_EVENTS = Table(
    "segment_events",
    grain="one measure of one segment that changed within its last ten days",
    key=("day", "segment", "measure", "category"),
    consumer="campaign planning, reading of user alarms, BI",
    own_columns=(
        Column("measure", _STRING, "What changed for the whole segment", allowed=MEASURES),
        Column("category", _STRING, "Category whose share changed; empty for the other measures"),
        Column("status", _STRING, "Told today for the first time, or told before", allowed=("opened", "continued")),
        Column("onset_day", _DAY, "First day after the change"),
        Column(
            "before",
            _FLOAT,
            "Mean of the same weekdays in the regime before, at most four weeks of it",
            "as measured",
            minimum=0,
        ),
        Column("after", _FLOAT, "Mean of the days since the onset", "score, users, or share of a day", minimum=0),
        share("posterior", "Posterior probability of a change within the last ten days"),
        Column("explanation", _STRING, "The event in one sentence"),
    ),
)

ALARM_CLUSTERS = Table(
    "alarm_clusters",
    grain="one cluster of users alarmed in the last 28 days, by one method",
    key=("day", "segment", "method", "cluster"),
    consumer="campaign planning, BI",
    own_columns=(
        Column("method", _STRING, "How the users were grouped", allowed=("k_means", "dbscan")),
        Column("cluster", _INT, "Number of the cluster, the largest is 1", minimum=1),
        Column("name", _STRING, "What its users left and what they came to, by category"),
        count("n_users", "Users of the cluster"),
        share("share_of_users", "Their share of all users with such an alarm"),
        Column("rising", _CATEGORY_CHANGE, "Categories whose mean share rose most, largest first"),
        Column("falling", _CATEGORY_CHANGE, "Categories whose mean share fell most, largest first"),
        Column(
            "silhouette",
            _FLOAT,
            "Mean silhouette of its users: 1 apart from the others, 0 between",
            None,
            True,
            None,
            -1,
            1,
        ),
        Column("user_id", _STRING, "Pseudonym of the user nearest to its centre, as an example", pattern=HEX_32),
    ),
)

INTEREST_MOVES = Table(
    "interest_moves",
    grain="one association rule over the categories that fell and rose in the alarms of the last 28 days",
    key=("day", "segment", "antecedent", "antecedent_items", "consequent"),
    consumer="who moves from where to where: campaign planning, BI",
    own_columns=(
        Column("antecedent", _STRING, "What was seen, such as `fell:mugs`, in order of the alphabet, joined by ` + `"),
        Column("antecedent_items", _INT, "How many were joined; a category may hold ` + ` itself", "count", minimum=1),
        Column("consequent", _STRING, "What was seen with it, such as `rose:garden`"),
        count("n_users", "Users of whom both sides are true"),
        count("n_antecedent", "Users of whom the antecedent is true"),
        share("support", "Share of all users with such an alarm of whom both sides are true"),
        share("confidence", "Share of the users of the antecedent of whom the consequent is true"),
        Column(
            "lift", _FLOAT, "Confidence over the share of all users of whom the consequent is true", "ratio", minimum=0
        ),
    ),
)

RECOMMENDATIONS = Table(
    "recommendations",
    grain="one place in one user's list",
    key=("day", "user_id", "rank"),
    consumer="shop front, mail campaigns, outcomes",
    own_columns=(
        _USER,
        Column("rank", _INT, "Place in the list, 1 is best", minimum=1),
        _ITEM,
        Column("score", _FLOAT, "Blended score; comparable within one user's list"),
        Column("source", _STRING, "Candidate source that contributed most"),
        Column("reason", _STRING, "Why this item, for a person"),
        Column("alert_id", _STRING, "Alarm that caused it, if any", nullable=True),
        Column("policy", _STRING, "Policy that made the list"),
        Column(
            "propensity",
            _FLOAT,
            "Probability with which the policy showed this item here",
            "probability",
            False,
            None,
            0,
            1,
        ),
        Column(
            "policy_propensity",
            _FLOAT,
            "Probability with which the user was dealt the policy",
            "probability",
            False,
            None,
            0,
            1,
        ),
    ),
)

_GAIN = Column("gain", _FLOAT, "Share that the category gained in the user's alarm; null without one", nullable=True)
_CAUSE = Column("alert_id", _STRING, "Open alarm of the user in which the category rose, if any", nullable=True)
_SUGGESTED = Column(
    "items", pa.list_(_STRING), "Up to five items to show, best first: the user's own listed ones, else the segment's"
)

CAMPAIGN_AUDIENCES = Table(
    "campaign_audiences",
    grain="one user to be addressed about one category that rose in an alarm of the segment",
    key=("day", "user_id", "category"),
    consumer="mail and push campaigns",
    own_columns=(
        _USER,
        _CATEGORY,
        Column("place", _INT, "Place of the user in the category's audience, 1 is best", minimum=1),
        share("score", "Share of the user's interest that the category is expected to have"),
        _GAIN,
        _CAUSE,
        _SUGGESTED,
    ),
)

AD_SLOTS = Table(
    "ad_slots",
    grain="one advertising slot of one user",
    key=("day", "user_id", "slot"),
    consumer="advertising on the shop's pages and elsewhere",
    own_columns=(
        _USER,
        Column("slot", _INT, "Which slot, 1 is the most promising", minimum=1),
        _CATEGORY,
        share("score", "Share of the user's interest that the category is expected to have"),
        _GAIN,
        _CAUSE,
        _SUGGESTED,
    ),
)

ALERT_OUTCOMES = Table(
    "alert_outcomes",
    grain="one alarm, judged on the day that completed its horizon: it had opened on `day - horizon_days`",
    key=("alert_id",),
    consumer="quality reports, the self-check",
    own_columns=(
        Column("alert_id", _STRING, "Alarm judged", pattern=HEX_32),
        Column("horizon_days", _INT, "Days after the alarm that were looked at", unit="days", minimum=1),
        Column(
            "confirmed",
            pa.bool_(),
            "The days after are likelier under the recent profile; null with too few events",
            nullable=True,
        ),
        Column(
            "log_likelihood_gain", _FLOAT, "Mean gain of the recent over the reference profile", "nats per event", True
        ),
        count("n_events", "Events in the horizon"),
    ),
)

NO_SHIFT = "no_shift"
"""Stands where a kind of alarm would, for users without an open one."""
_WON = pa.list_(pa.struct([("shift_kind", _STRING), ("users", _INT), ("clicked", _INT), ("purchased", _INT)]))
_EXPLORED = pa.list_(pa.struct([("category", _STRING), ("shown", _INT), ("met", _INT)]))
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
        Column("policy", _STRING, "Policy judged"),
        Column("horizon_days", _INT, "Days after the lists that were looked at", unit="days", minimum=1),
        Column("k", _INT, "Length of the list judged", minimum=1),
        count("users", "Users with a list and an event in the horizon"),
        *(
            column
            for name in _RATES
            for column in (
                Column(name, _FLOAT, _RATE_MEANINGS[name], nullable=True, minimum=0),
                Column(f"{name}_low", _FLOAT, f"{name}: lower end of its 95 % interval", nullable=True),
                Column(f"{name}_high", _FLOAT, f"{name}: upper end of its 95 % interval", nullable=True),
            )
        ),
        Column(
            "effective_users",
            _FLOAT,
            "Kish's effective number of users behind ips, snips and dr",
            unit="users",
            nullable=True,
            minimum=0,
        ),
        Column("off_policy_note", _STRING, "Why ips, snips and dr are null, where they are", nullable=True),
        Column(
            "by_shift_kind",
            _WON,
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
        Column("experiment", _STRING, "Name of the experiment, by which users were dealt to policies"),
        Column("period_start", _DAY, "First day of the period: each period is an experiment of its own"),
        Column("policy", _STRING, "Policy judged"),
        Column("baseline", _STRING, "Policy that it is compared with"),
        Column(
            "metric",
            _STRING,
            "What is compared: share of lists with an item met, with one bought, or recall of the list",
            allowed=("click_rate", "purchase_rate", "recall_at_k"),
        ),
        count("users", "Users of the policy"),
        count("baseline_users", "Users of the baseline"),
        Column("difference", _FLOAT, "Rate of the policy less that of the baseline", nullable=True),
        Column("difference_low", _FLOAT, "Lower end of its 95 % interval, on a day fixed beforehand", nullable=True),
        Column("difference_high", _FLOAT, "Upper end of its 95 % interval, on a day fixed beforehand", nullable=True),
        Column("sequential_low", _FLOAT, "Lower end of the 95 % interval that holds on all days at once", None, True),
        Column("sequential_high", _FLOAT, "Upper end of the 95 % interval that holds on all days at once", None, True),
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
        Column("note", _STRING, "Why nothing is compared, where it is not", nullable=True),
    ),
)

MODEL_REGISTRY = Table(
    "model_registry",
    grain="one trained model",
    key=("model", "version"),
    consumer="scoring, audits",
    own_columns=(
        Column("model", _STRING, "Which model"),
        Column("version", _STRING, "Version, from the digest of its weights"),
        Column("digest", _STRING, "SHA-256 of the weights file", pattern=r"^[0-9a-f]{64}$"),
        Column("path", _STRING, "Folder of the model, relative to the models folder"),
        Column("window_start", _DAY, "First day of the training data"),
        Column("window_end", _DAY, "Last day of the training data"),
        Column("served_from", _DAY, "First day it may be served"),
        Column("metrics", pa.list_(pa.struct([("name", _STRING), ("value", _FLOAT)])), "Validation metrics"),
        Column(
            "promoted",
            pa.bool_(),
            "It is served from `served_from` on, until a later one is; false: the one served before was no worse; "
            "null: served, from before there was a choice",
            nullable=True,
        ),
        Column("judged_against", _STRING, "Version served before, on the same validation days", nullable=True),
        Column("started_from", _STRING, "Version whose weights it continued; null: random weights", nullable=True),
        Column(
            "revision", _STRING, "Git revision of the code, + with changes; its version where it is none", nullable=True
        ),
        count("parameters", "Numbers in the weights of the encoder", nullable=True),
        Column("size_bytes", _INT, "Size of the weights file", unit="bytes", nullable=True, minimum=0),
    ),
)


def _probability(name: str, meaning: str) -> Column:
    """A probability that a model may have been unable to learn."""
    return Column(name, _FLOAT, meaning, "probability", True, None, 0, 1)


MODEL_PREDICTIONS = Table(
    "model_predictions",
    grain="one user seen within 28 days, as the served model foretells it at the end of the day",
    key=("day", "user_id"),
    consumer="mail campaigns, churn and shift reviews, BI",
    own_columns=(
        _USER,
        Column("horizon_days", _INT, "Days ahead that a purchase and categories are foretold for", "days", minimum=1),
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
            pa.list_(pa.struct([("category", _STRING), ("share", _FLOAT)])),
            "Categories of the largest share of the interest expected within the horizon, largest first, at most five",
        ),
        Column("model_version", _STRING, "Interest model that foretells"),
    ),
)

QUALITY_VERDICTS = Table(
    "quality_verdicts",
    grain="one expectation on one partition of a table",
    key=("table_name", "expectation"),
    consumer="the gate before every reader of the table, BI",
    own_columns=(
        Column("table_name", _STRING, "Table that was checked"),
        Column("data_version", _STRING, "Content digest of the partition that was checked"),
        Column("expectation", _STRING, "The expectation, as a sentence"),
        Column("severity", _STRING, "ERROR holds back what reads the table, WARN does not", allowed=("ERROR", "WARN")),
        Column("passed", pa.bool_(), "Whether the partition keeps it"),
        Column("observed", _STRING, "What was seen"),
    ),
)

ALERT_OUTBOX = Table(
    "alert_outbox",
    grain="one message about one alarm",
    key=("message_id",),
    consumer="the webhook notifier",
    own_columns=(
        Column("message_id", _STRING, "Idempotency key of the message", pattern=HEX_32),
        Column("alert_id", _STRING, "Alarm it tells of", pattern=HEX_32),
        Column("status", _STRING, "Status of the alarm", allowed=ALERT_STATUSES),
        Column("severity", _STRING, "How large", allowed=SEVERITIES),
        Column("payload", _STRING, "JSON body that the webhook receives"),
    ),
)


def _with_interval(name: str, meaning: str) -> tuple[Column, ...]:
    """A share that could not always be measured, and the ends of its interval."""
    return (
        share(name, meaning, nullable=True),
        share(f"{name}_low", f"{name}: lower end of its 95 % interval", nullable=True),
        share(f"{name}_high", f"{name}: upper end of its 95 % interval", nullable=True),
    )


DETECTOR_SELF_CHECK = Table(
    "detector_self_check",
    grain="one detector with its settings, on one sort of spliced histories, so many active days after the splice",
    key=("day", "segment", "detector", "starts", "posterior_window", "kind", "kept", "active_days"),
    consumer="choice of window and detector, the false share beside every alarm list, BI",
    own_columns=(
        Column("detector", _STRING, "Detector judged; none: nothing could be", allowed=SELF_CHECKED),
        Column("starts", _INT, "Possible starts that the evidence looks back to", unit="days", nullable=True),
        Column("posterior_window", _INT, "Age up to which the posterior counts a regime as new", "days", nullable=True),
        Column("kind", _STRING, "Donor of the spliced histories", nullable=True, allowed=DONORS),
        share("kept", "Share of the user's own days that stay after the splice; 0: a whole shift", nullable=True),
        Column("active_days", _INT, "Active days from the splice on that were seen", nullable=True, minimum=1),
        count("n_users", "Users with enough active days on both sides of a splice, up to the sample's size"),
        count("n_cases", "Spliced histories judged"),
        share("donor_distance", "Mean total variation between the profiles of user and donor", nullable=True),
        *_with_interval("auc", "Area under the curve of spliced against whole histories"),
        *_with_interval("average_precision", "Average precision, as many histories spliced as whole"),
        *_with_interval("recall_at_1_percent", "Spliced flagged where 1 % of the whole are"),
        *_with_interval("recall_at_5_percent", "Spliced flagged where 5 % of the whole are"),
        *_with_interval(
            "placebo_false_share",
            "Histories made of one user's own days that are flagged: by the e-value at the patience, by others where "
            "5 % of the whole are",
        ),
        *_with_interval("flagged_share", "Whole histories with M at the patience or above; some of them did shift"),
        share("flagged_bound", "What flagged_share may be at most, were none of them to shift", nullable=True),
        Column("chosen", pa.bool_(), "These settings serve, or this detector owns the ranking, until the next check"),
        Column("model_path", _STRING, "Folder of the taught detector, relative to the models folder", nullable=True),
        Column("model_digest", _STRING, "SHA-256 of its weights file", nullable=True, pattern=r"^[0-9a-f]{64}$"),
        Column("note", _STRING, "Why nothing could be judged", nullable=True),
    ),
)

LIST_FITS = Table(
    "list_fits",
    grain="one thing that lists are made with, learnt anew every week",
    key=("day", "part"),
    consumer="recommendations of the following days, audits",
    own_columns=(
        Column("part", _STRING, "What was learnt: blend, how sources are mixed; gate, when a list leans"),
        Column("chosen", _STRING, "The blend that foretold best; for the gate: taught"),
        count("n_users", "Users that it was learnt from"),
        Column("quality", pa.list_(pa.struct([("name", _STRING), ("value", _FLOAT)])), "On users held out"),
        Column("parameters", _STRING, "What was learnt, as JSON"),
    ),
)

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        CLEAN_EVENTS,
        REJECTED_EVENTS,
        DELIVERIES,
        INTEREST_SERIES,
        USER_FEATURES,
        ITEM_FEATURES,
        INTEREST_STATE,
        INTEREST_FORECASTS,
        FORECAST_QUALITY,
        SHIFT_SIGNALS,
        SHIFT_ALERTS,
        SEGMENT_SHIFTS,
        SEGMENT_EVENTS,
        ALARM_CLUSTERS,
        INTEREST_MOVES,
        RECOMMENDATIONS,
        LIST_FITS,
        CAMPAIGN_AUDIENCES,
        AD_SLOTS,
        ALERT_OUTCOMES,
        CHURN_CALIBRATION,
        DETECTOR_SELF_CHECK,
        RECOMMENDATION_OUTCOMES,
        EXPERIMENT_REPORT,
        MODEL_REGISTRY,
        MODEL_PREDICTIONS,
        QUALITY_VERDICTS,
        ALERT_OUTBOX,
    )
}
"""Every table, by name."""
