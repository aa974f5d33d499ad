"""Part of shift_assets.contracts.registry."""

from __future__ import annotations

from typing import Literal, get_args

import pyarrow as pa

from shift_assets.contracts.columns import (
    CATEGORY,
    CATEGORY_CHANGES,
    CATEGORY_WEIGHTS,
    DAY,
    FLOAT,
    HEX_32,
    INT,
    STRING,
    USER_ID,
)
from shift_assets.contracts.table import Column, Table, count, share

ALERT_STATUSES = ("opened", "continued", "closed")


ALERT_KINDS = ("switch", "surge", "fade", "return", "churn_risk")


SEVERITIES = ("low", "medium", "high")


Donor = Literal["random", "same_tier", "nearest_profile"]


DONORS: tuple[Donor, ...] = get_args(Donor)
"""Who takes over from a user in a spliced history: anyone of the segment, one as active, or the nearest profile."""


SELF_CHECK_DETECTORS = ("e_value", "posterior", "learned", "none")


INTEREST_STATE = Table(
    "interest_state",
    grain="one user ever active, as of the end of the day",
    key=("day", "user_id"),
    consumer="its own next day, shift signals, alerts, recommendations",
    own_columns=(
        USER_ID,
        Column("last_active_day", DAY, "The user's last active day"),
        count("active_days", "Active days since the state began"),
        count("scored_days", "Active days with a score since the state began"),
        Column(
            "profile",
            CATEGORY_WEIGHTS,
            "Long-term profile: exponentially decayed sum of the daily shares, without what the whole segment did",
        ),
        Column("former_profile", CATEGORY_WEIGHTS, "Profile before the last shift that has become the user's normal"),
        Column(
            "recent_days",
            pa.list_(
                pa.struct(
                    [
                        ("day", DAY),
                        (
                            "scores",
                            pa.list_(
                                pa.struct([("category", STRING), ("score", pa.float32()), ("own_share", pa.float32())])
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
        Column("evidence", FLOAT, "Log of the alarm statistic M on the last scored day", unit="nats", nullable=True),
        share("confidence", "Posterior of a recent shift on the last scored day", nullable=True),
        share("p_value", "p-value of the evidence; null for users without score today", nullable=True),
        share(
            "q_value",
            "p-value adjusted over the tests and alarms of the last 28 days; null for users with an open alarm, too",
            nullable=True,
        ),
        Column("last_alert_day", DAY, "Day on which the user's last alarm opened", nullable=True),
        Column("change_rate_ewma", FLOAT, "Smoothed change rate carried forward", nullable=True),
        Column("interest_gap_ewma", FLOAT, "Smoothed interest gap carried forward", nullable=True),
        Column("distribution_distance_ewma", FLOAT, "Smoothed distribution distance carried forward", nullable=True),
        Column("alert_id", STRING, "Open alarm, if any", nullable=True),
        Column("alert_kind", STRING, "Kind of the open alarm", nullable=True, allowed=ALERT_KINDS),
        Column("alert_opened_day", DAY, "Day on which the open alarm opened", nullable=True),
        Column("alert_onset_day", DAY, "First active day of the open alarm's new interest", nullable=True),
        Column(
            "alert_exceeded_day",
            DAY,
            "Last day on which a signal of the open alarm stood above its line",
            nullable=True,
        ),
        Column(
            "alert_status",
            STRING,
            "What happened to the alarm today; null where nothing did",
            nullable=True,
            allowed=ALERT_STATUSES,
        ),
        share("churn_probability", "Probability that the user does not come in the following 28 days", nullable=True),
        Column("churn_opened_day", DAY, "Day on which the open churn warning opened", nullable=True),
        Column(
            "churn_status",
            STRING,
            "What happened to the churn warning today; null where nothing did",
            nullable=True,
            allowed=("opened", "closed"),
        ),
        count("gap_count", "Visit gaps seen"),
        Column("gap_mean_days", FLOAT, "Mean gap between active days", unit="days", nullable=True, minimum=0),
        Column("gap_square_mean", FLOAT, "Mean squared gap", unit="days^2", nullable=True, minimum=0),
    ),
)


SHIFT_SIGNALS = Table(
    "shift_signals",
    grain="one user active that day, or whose churn warning opened or closed",
    key=("day", "user_id"),
    consumer="shift alerts, analysts",
    own_columns=(
        USER_ID,
        count("n_recent", "Active days in the recent window"),
        count("n_reference", "Active days in the reference window"),
        Column(
            "change_rate",
            FLOAT,
            "Relative change of the mean daily number of behaviours, recent over reference",
            "ratio - 1",
            True,
            None,
            -1,
        ),
        Column(
            "change_rate_by_behavior",
            pa.list_(pa.struct([("behavior", STRING), ("change_rate", FLOAT)])),
            "The same for each behaviour seen in the reference window",
        ),
        share("interest_gap", "Largest |share recent - share reference| over categories", nullable=True),
        Column(
            "interest_gap_total",
            FLOAT,
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
            FLOAT,
            "Largest |residual| over its conformal band among the user's categories; above 1 the week fell outside",
            unit="ratio",
            nullable=True,
            minimum=0,
        ),
        share("model_shift_score", "Score of the learned shift detector", nullable=True),
        Column("evidence", FLOAT, "Log of the alarm statistic M, an e-value for a shift", unit="nats", nullable=True),
        share("confidence", "Posterior probability of a recent shift", nullable=True),
        share("p_value", "p-value of the evidence under no shift", nullable=True),
        share("churn_probability", "Probability that the user does not come in the following 28 days", nullable=True),
    ),
)


SHIFT_ALERTS = Table(
    "shift_alerts",
    grain="one alarm on one day of its episode",
    key=("day", "alert_id"),
    consumer="marketers, recommendations, the alert outbox",
    own_columns=(
        Column("alert_id", STRING, "Alarm, the same through its episode", pattern=HEX_32),
        USER_ID,
        Column("status", STRING, "What happened today", allowed=ALERT_STATUSES),
        Column("kind", STRING, "What sort of shift", allowed=ALERT_KINDS),
        Column("severity", STRING, "How large", allowed=SEVERITIES),
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
            STRING,
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
        Column("onset_day", DAY, "First active day of the new interest"),
        Column(
            "rising",
            CATEGORY_CHANGES,
            "Categories that gained share, largest first, with what each adds to the evidence per day (nats)",
        ),
        Column("falling", CATEGORY_CHANGES, "Categories that lost share, largest first"),
        share("platform_share", "Part of the move that the whole segment made", nullable=True),
        Column("explanation", STRING, "The alarm in one sentence"),
        Column("detector", STRING, "Detector that owns the alarm"),
        Column("model_version", STRING, "Interest model consulted", nullable=True),
    ),
)


SEGMENT_SHIFTS = Table(
    "segment_shifts",
    grain="one category of one segment",
    key=("day", "segment", "category"),
    consumer="campaign planning, BI",
    own_columns=(
        CATEGORY,
        share("share_before", "Share of the segment's interest in the reference window"),
        share("share_after", "Share of the segment's interest in the recent window"),
        Column("z_score", FLOAT, "Change over its day-to-day standard error", "standard errors", True),
        Column("direction", STRING, "Which way it moved", allowed=("rising", "falling", "steady")),
        count("n_users", "Users with interest in the category in the recent window"),
        Column(
            "rising_pairs",
            pa.list_(pa.struct([("item_a", STRING), ("item_b", STRING), ("lift", FLOAT)])),
            "Item pairs bought or viewed together more often than before",
        ),
    ),
)


SEGMENT_EVENT_MEASURES = ("volume", "active_users", "category_share")


SEGMENT_EVENTS = Table(
    "segment_events",
    grain="one measure of one segment that changed within its last ten days",
    key=("day", "segment", "measure", "category"),
    consumer="campaign planning, reading of user alarms, BI",
    own_columns=(
        Column("measure", STRING, "What changed for the whole segment", allowed=SEGMENT_EVENT_MEASURES),
        Column("category", STRING, "Category whose share changed; empty for the other measures"),
        Column("status", STRING, "Told today for the first time, or told before", allowed=("opened", "continued")),
        Column("onset_day", DAY, "First day after the change"),
        Column(
            "before",
            FLOAT,
            "Mean of the same weekdays in the regime before, at most four weeks of it",
            "as measured",
            minimum=0,
        ),
        Column("after", FLOAT, "Mean of the days since the onset", "score, users, or share of a day", minimum=0),
        share("posterior", "Posterior probability of a change within the last ten days"),
        Column("explanation", STRING, "The event in one sentence"),
    ),
)


ALERT_CLUSTERS = Table(
    "alarm_clusters",
    grain="one cluster of users alarmed in the last 28 days, by one method",
    key=("day", "segment", "method", "cluster"),
    consumer="campaign planning, BI",
    own_columns=(
        Column("method", STRING, "How the users were grouped", allowed=("k_means", "dbscan")),
        Column("cluster", INT, "Number of the cluster, the largest is 1", minimum=1),
        Column("name", STRING, "What its users left and what they came to, by category"),
        count("n_users", "Users of the cluster"),
        share("share_of_users", "Their share of all users with such an alarm"),
        Column("rising", CATEGORY_CHANGES, "Categories whose mean share rose most, largest first"),
        Column("falling", CATEGORY_CHANGES, "Categories whose mean share fell most, largest first"),
        Column(
            "silhouette",
            FLOAT,
            "Mean silhouette of its users: 1 apart from the others, 0 between",
            None,
            True,
            None,
            -1,
            1,
        ),
        Column("user_id", STRING, "Pseudonym of the user nearest to its centre, as an example", pattern=HEX_32),
    ),
)


INTEREST_MOVES = Table(
    "interest_moves",
    grain="one association rule over the categories that fell and rose in the alarms of the last 28 days",
    key=("day", "segment", "antecedent", "antecedent_items", "consequent"),
    consumer="who moves from where to where: campaign planning, BI",
    own_columns=(
        Column("antecedent", STRING, "What was seen, such as `fell:mugs`, in order of the alphabet, joined by ` + `"),
        Column("antecedent_items", INT, "How many were joined; a category may hold ` + ` itself", "count", minimum=1),
        Column("consequent", STRING, "What was seen with it, such as `rose:garden`"),
        count("n_users", "Users of whom both sides are true"),
        count("n_antecedent", "Users of whom the antecedent is true"),
        share("support", "Share of all users with such an alarm of whom both sides are true"),
        share("confidence", "Share of the users of the antecedent of whom the consequent is true"),
        Column(
            "lift", FLOAT, "Confidence over the share of all users of whom the consequent is true", "ratio", minimum=0
        ),
    ),
)


NO_SHIFT = "no_shift"
"""Stands where a kind of alarm would, for users without an open one."""


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
        Column("detector", STRING, "Detector judged; none: nothing could be", allowed=SELF_CHECK_DETECTORS),
        Column("starts", INT, "Possible starts that the evidence looks back to", unit="days", nullable=True),
        Column("posterior_window", INT, "Age up to which the posterior counts a regime as new", "days", nullable=True),
        Column("kind", STRING, "Donor of the spliced histories", nullable=True, allowed=DONORS),
        share("kept", "Share of the user's own days that stay after the splice; 0: a whole shift", nullable=True),
        Column("active_days", INT, "Active days from the splice on that were seen", nullable=True, minimum=1),
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
        Column("model_path", STRING, "Folder of the taught detector, relative to the models folder", nullable=True),
        Column("model_digest", STRING, "SHA-256 of its weights file", nullable=True, pattern=r"^[0-9a-f]{64}$"),
        Column("note", STRING, "Why nothing could be judged", nullable=True),
    ),
)
