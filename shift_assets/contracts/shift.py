"""Tables of the shift stage: state, signals, alerts, segments and the self-check."""

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
"""Whose days replace a user's in a spliced history: any user's, those of one as active, or of the nearest profile."""


SELF_CHECK_DETECTORS = ("e_value", "posterior", "learned", "known_cut", "none")


INTEREST_STATE = Table(
    "interest_state",
    description="State of the shift detector and the visits of each user, carried from day to day",
    grain="one user who was ever active, at the end of the day",
    key=("day", "user_id"),
    consumer=(
        "the next day's `interest_state`, `shift_signals`, `shift_alerts`, `open_alerts`, `alert_outcomes`, "
        "`churn_predictions`, "
        "`churn_calibration`"
    ),
    own_columns=(
        USER_ID,
        Column("last_active_day", DAY, "The user's last active day"),
        count("active_days", "Active days since the state began"),
        count("scored_days", "Active days with a score since the state began"),
        Column(
            "profile",
            CATEGORY_WEIGHTS,
            "Long-term profile: exponentially decayed sum of the daily shares, without moves of the whole segment",
        ),
        Column("former_profile", CATEGORY_WEIGHTS, "Long-term profile before the user's last accepted shift"),
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
            "The last active days, oldest first: score per category, its share of the day without moves of the whole "
            "segment (0 for days older than the possible onsets), and count per behaviour (contract order)",
        ),
        Column("log_evidence", pa.list_(pa.float32()), "Log e-value of each possible onset, oldest first", unit="nats"),
        Column(
            "run_length",
            pa.list_(pa.float32()),
            "Posterior of the onset of the current regime: before the possible onsets, then each of them, oldest first",
        ),
        Column("response_gradient", pa.float32(), "Fitted response to moves of the segment, minus one: numerator"),
        Column(
            "response_information",
            pa.float32(),
            "Fitted response to moves of the segment: information (denominator)",
            minimum=0,
        ),
        Column("evidence", FLOAT, "Log of the alert statistic M on the last scored day", unit="nats", nullable=True),
        share(
            "confidence",
            "Probability of a recent shift on the last scored day, if half of all users shifted: calibrated by the "
            "learned detector, or the posterior before the first self-check",
            nullable=True,
        ),
        share(
            "p_value",
            "p-value of the confidence, by unshifted days; null before the first self-check (by the alert rule "
            "`discovery` of the evidence, by shuffled days) and for users without a score today",
            nullable=True,
        ),
        share(
            "q_value",
            "p-value adjusted for the tests and alerts of the last 28 days; also null for users with an open alert",
            nullable=True,
        ),
        Column("last_alert_day", DAY, "Day on which the user's last alert opened", nullable=True),
        Column("change_rate_ewma", FLOAT, "Exponentially smoothed change rate", nullable=True),
        Column("interest_gap_ewma", FLOAT, "Exponentially smoothed interest gap", nullable=True),
        Column("distribution_distance_ewma", FLOAT, "Exponentially smoothed distribution distance", nullable=True),
        Column("alert_id", STRING, "Open alert, if any", nullable=True),
        Column("alert_kind", STRING, "Kind of the open alert", nullable=True, allowed=ALERT_KINDS),
        Column("alert_opened_day", DAY, "Day on which the open alert opened", nullable=True),
        Column(
            "alert_onset_day",
            DAY,
            "First active day of the new interest of the open alert, as now estimated",
            nullable=True,
        ),
        Column(
            "alert_exceeded_day",
            DAY,
            "Last day on which a signal of the open alert exceeded its threshold",
            nullable=True,
        ),
        Column(
            "alert_status",
            STRING,
            "Change of the alert on the day; null where there was none",
            nullable=True,
            allowed=ALERT_STATUSES,
        ),
        count("gap_count", "Number of gaps between active days"),
        Column("gap_mean_days", FLOAT, "Mean gap between active days", unit="days", nullable=True, minimum=0),
        Column(
            "gap_square_mean", FLOAT, "Mean squared gap between active days", unit="days^2", nullable=True, minimum=0
        ),
        Column(
            "alert_first_onset_day",
            DAY,
            "First estimate of alert_onset_day, made when the alert opened",
            nullable=True,
        ),
    ),
)


SHIFT_SIGNALS = Table(
    "shift_signals",
    description="Change indicators and detector statistics of each active user, computed from the state",
    grain="one user active that day, or whose churn warning opened or closed",
    key=("day", "user_id"),
    consumer="`shift_alerts`, `shift_overview`, `bi_activation.duckdb` (analysts), `bi_public.duckdb`",
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
            "Change rate of each behaviour that occurs in the reference window",
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
            "Largest |residual| / conformal band among the user's categories; above 1 the week lies outside its band",
            unit="ratio",
            nullable=True,
            minimum=0,
        ),
        share("model_shift_score", "Score of the learned shift detector", nullable=True),
        Column("evidence", FLOAT, "Log of the alert statistic M, an e-value for a shift", unit="nats", nullable=True),
        share("confidence", "Calibrated probability of a recent shift, if half of all users shifted", nullable=True),
        share("p_value", "p-value of the confidence on days without a shift", nullable=True),
        share("churn_probability", "Probability of no visit in the next 28 days", nullable=True),
    ),
)


SHIFT_ALERTS = Table(
    "shift_alerts",
    description="Alerts on users whose interest shifted or who are at risk of churn, with kind, size and explanation",
    grain="one alert on one day of its episode",
    key=("day", "alert_id"),
    consumer=(
        "`recommendations`, `campaign_audiences`, `ad_slots`, `alarm_clusters`, `interest_moves`, "
        "`alert_outcomes`, `recommendation_outcomes`, `alert_outbox`, `alerts`, `shift_overview`, "
        "`open_alert_list`, `recommendation_list`, `bi_public.duckdb`, `shift-assets run` (its report)"
    ),
    own_columns=(
        Column("alert_id", STRING, "Alert, the same throughout its episode", pattern=HEX_32),
        USER_ID,
        Column("status", STRING, "Status on the day", allowed=ALERT_STATUSES),
        Column("kind", STRING, "Kind of shift", allowed=ALERT_KINDS),
        Column(
            "severity",
            STRING,
            "Severity: of a shift by magnitude_quantile (medium where that is null), of a change of activity by its "
            "size, of a churn warning by the visits lost",
            allowed=SEVERITIES,
        ),
        share("magnitude", "Total variation distance between the profiles before and after"),
        share("magnitude_low", "Lower end of the 90 % interval of the magnitude", nullable=True),
        share("magnitude_high", "Upper end of the 90 % interval of the magnitude", nullable=True),
        share(
            "magnitude_quantile",
            "Share of smaller moves among those that the segment's users make over as many active days; null where too "
            "few users have enough days, and for changes of activity alone",
            nullable=True,
        ),
        share("confidence", "Calibrated probability of a shift, if half of all users shifted", nullable=True),
        share("p_value", "p-value under no shift", nullable=True),
        share(
            "q_value",
            "Estimated share of false alerts among those of the last 28 days with a p-value up to this one; null after "
            "the opening day",
            nullable=True,
        ),
        share("model_shift_score", "Score of the learned shift detector", nullable=True),
        Column(
            "ranking",
            STRING,
            "What the confidence is: calibrated by the learned detector, or the posterior before the first self-check",
            nullable=True,
            allowed=("posterior", "learned"),
        ),
        share("ranking_score", "Value to rank by: the confidence", nullable=True),
        share(
            "found_share",
            "By the newest self-check: of users replaced by another, the share found within eight active days",
            nullable=True,
        ),
        share(
            "flagged_share",
            "By the newest self-check: of unchanged users, the share flagged within eight active days",
            nullable=True,
        ),
        Column("onset_day", DAY, "First active day of the new interest, as now estimated"),
        Column(
            "rising",
            CATEGORY_CHANGES,
            "Categories that gained share, largest first, with the contribution of each to the evidence (nats per day)",
        ),
        Column("falling", CATEGORY_CHANGES, "Categories that lost share, largest first"),
        share("platform_share", "Share of the change that the whole segment made", nullable=True),
        Column("explanation", STRING, "The alert in one sentence"),
        Column("detector", STRING, "Detector that opened the alert"),
        Column("model_version", STRING, "Version of the interest model used", nullable=True),
        Column("first_onset_day", DAY, "First estimate of onset_day, made when the alert opened", nullable=True),
    ),
)


OPEN_ALERTS = Table(
    "open_alerts",
    description=(
        "Every alert that is open at the end of the day, whether its user came or not, with what rose and fell up to "
        "the user's last visit"
    ),
    grain="one user with an open shift alert or churn warning; of both, the shift alert",
    key=("day", "user_id"),
    consumer="`open_alert_list`, `bi_public.duckdb`, `shift-assets run` (its report)",
    own_columns=(
        USER_ID,
        Column("alert_id", STRING, "Alert, the same throughout its episode", pattern=HEX_32),
        Column("kind", STRING, "Kind of shift", allowed=ALERT_KINDS),
        Column(
            "onset_day",
            DAY,
            "First active day of the new interest, as now estimated; of a churn warning, first day of the silence",
        ),
        Column("opened_day", DAY, "Day on which the alert opened"),
        share(
            "confidence",
            "Calibrated probability of a shift, if half of all users shifted; of a churn warning, its probability",
            nullable=True,
        ),
        Column("rising", CATEGORY_CHANGES, "Categories that gained share, largest first; none for a churn warning"),
        Column("falling", CATEGORY_CHANGES, "Categories that lost share, largest first; none for a churn warning"),
        Column(
            "churn_alert_id",
            STRING,
            "Churn warning that is open besides the shift alert, if any",
            nullable=True,
            pattern=HEX_32,
        ),
        Column(
            "first_onset_day",
            DAY,
            "First estimate of onset_day, made when the alert opened; null for a churn warning",
            nullable=True,
        ),
    ),
)


SEGMENT_SHIFTS = Table(
    "segment_shifts",
    description="Change of each category's share in a segment, the last seven days against the 28 before",
    grain="one category of one segment",
    key=("day", "segment", "category"),
    consumer="`recommendations`, `bi_activation.duckdb` (campaign planning), `bi_public.duckdb`",
    own_columns=(
        CATEGORY,
        share("share_before", "Share of the segment's interest in the reference window"),
        share("share_after", "Share of the segment's interest in the recent window"),
        Column("z_score", FLOAT, "Change divided by its day-to-day standard error", "standard errors", True),
        Column("direction", STRING, "Direction of the change", allowed=("rising", "falling", "steady")),
        count("n_users", "Users with interest in the category in the recent window"),
        Column(
            "rising_pairs",
            pa.list_(pa.struct([("item_a", STRING), ("item_b", STRING), ("lift", FLOAT)])),
            "Item pairs bought or viewed together more often than in the reference window",
        ),
    ),
)


SEGMENT_EVENT_MEASURES = ("volume", "active_users", "category_share")


SEGMENT_EVENTS = Table(
    "segment_events",
    description=(
        "Recent changes of a whole segment's volume, active users or category shares, found by online "
        "change-point detection"
    ),
    grain="one measure of one segment that changed within its last ten days",
    key=("day", "segment", "measure", "category"),
    consumer="`bi_activation.duckdb` (campaign planning)",
    own_columns=(
        Column("measure", STRING, "Measure of the segment that changed", allowed=SEGMENT_EVENT_MEASURES),
        Column("category", STRING, "Category whose share changed; empty for the other measures"),
        Column(
            "status",
            STRING,
            "opened: reported for the first time; continued: reported before",
            allowed=("opened", "continued"),
        ),
        Column("onset_day", DAY, "First day after the change"),
        Column(
            "before",
            FLOAT,
            "Mean of the same weekdays before the change, at most four weeks of them",
            "as measured",
            minimum=0,
        ),
        Column("after", FLOAT, "Mean since the onset", "score, users, or share of a day", minimum=0),
        share("posterior", "Posterior probability of a change within the last ten days"),
        Column("explanation", STRING, "The event in one sentence"),
    ),
)


ALERT_CLUSTERS = Table(
    "alarm_clusters",
    description="Users with a recent alert, grouped by their change of interest with k-means and DBSCAN",
    grain="one cluster of users with an alert in the last 28 days, by one method",
    key=("day", "segment", "method", "cluster"),
    consumer="`bi_activation.duckdb` (campaign planning)",
    own_columns=(
        Column("method", STRING, "How the users were grouped", allowed=("k_means", "dbscan")),
        Column("cluster", INT, "Number of the cluster, the largest is 1", minimum=1),
        Column("name", STRING, "Categories that its users left and those that they moved to"),
        count("n_users", "Users in the cluster"),
        share("share_of_users", "Share of all users with such an alert"),
        Column("rising", CATEGORY_CHANGES, "Categories whose mean share rose most, largest first"),
        Column("falling", CATEGORY_CHANGES, "Categories whose mean share fell most, largest first"),
        Column(
            "silhouette",
            FLOAT,
            "Mean silhouette coefficient of its users",
            None,
            True,
            None,
            -1,
            1,
        ),
        Column("user_id", STRING, "Pseudonym of the user nearest to the centre, as an example", pattern=HEX_32),
    ),
)


INTEREST_MOVES = Table(
    "interest_moves",
    description="Association rules between the categories that fell and rose together in recent alerts",
    grain="one association rule over the categories that fell and rose in the alerts of the last 28 days",
    key=("day", "segment", "antecedent", "antecedent_items", "consequent"),
    consumer="`bi_activation.duckdb` (campaign planning), `bi_public.duckdb`",
    own_columns=(
        Column(
            "antecedent", STRING, "Left-hand side, such as `fell:mugs`; several in alphabetical order, joined by ` + `"
        ),
        Column(
            "antecedent_items",
            INT,
            "Number of items on the left-hand side; a category's name may itself contain ` + `",
            "count",
            minimum=1,
        ),
        Column("consequent", STRING, "Right-hand side, such as `rose:garden`"),
        count("n_users", "Users for whom both sides hold"),
        count("n_antecedent", "Users for whom the antecedent holds"),
        share("support", "Share of all users with such an alert for whom both sides hold"),
        share("confidence", "Share of the users of the antecedent for whom the consequent holds"),
        Column(
            "lift",
            FLOAT,
            "Confidence divided by the share of all users for whom the consequent holds",
            "ratio",
            minimum=0,
        ),
    ),
)


NO_SHIFT = "no_shift"
"""In place of the kind of an alert, for users without an open one."""


def _with_interval(name: str, meaning: str) -> tuple[Column, ...]:
    """A share that is null where it could not be measured, and the ends of its interval."""
    return (
        share(name, meaning, nullable=True),
        share(f"{name}_low", f"Lower end of the 95 % interval of {name}", nullable=True),
        share(f"{name}_high", f"Upper end of the 95 % interval of {name}", nullable=True),
    )


DETECTOR_SELF_CHECK = Table(
    "detector_self_check",
    description=(
        "Weekly evaluation of the shift detectors on spliced histories of the installation's own users; it "
        "chooses the detector that alerts and its threshold"
    ),
    grain=(
        "one detector with its settings, on one kind of spliced histories, at one number of active days after"
        " the splice"
    ),
    key=("day", "segment", "detector", "starts", "posterior_window", "kind", "kept", "active_days"),
    consumer="`interest_state`, `shift_signals`, `shift_alerts` of the following days, `shift-assets run` (its report)",
    own_columns=(
        Column(
            "detector",
            STRING,
            "Evaluated detector; known_cut: the bound, which knows the splice point; none: nothing could be evaluated",
            allowed=SELF_CHECK_DETECTORS,
        ),
        Column("starts", INT, "Look-back of the evidence: number of possible onsets", unit="days", nullable=True),
        Column("posterior_window", INT, "Age up to which the posterior counts a regime as new", "days", nullable=True),
        Column("kind", STRING, "Donor of the spliced histories", nullable=True, allowed=DONORS),
        share(
            "kept",
            "Share of the user's own days that remain after the splice point; 0: a complete shift",
            nullable=True,
        ),
        Column(
            "active_days",
            INT,
            "Active days from the splice point on that the detector has seen",
            nullable=True,
            minimum=1,
        ),
        count("n_users", "Users with enough active days on both sides of a splice point, up to the sample size"),
        count("n_cases", "Spliced histories evaluated"),
        share("donor_distance", "Mean total variation distance between the profiles of user and donor", nullable=True),
        *_with_interval("auc", "ROC AUC of spliced against unspliced histories"),
        *_with_interval("average_precision", "Average precision with as many spliced as unspliced histories"),
        *_with_interval("recall_at_1_percent", "Recall of spliced histories at a 1 % flag rate of unspliced ones"),
        *_with_interval("recall_at_5_percent", "Recall of spliced histories at a 5 % flag rate of unspliced ones"),
        *_with_interval(
            "flagged_share",
            "Share of unspliced histories that reach the detector's threshold (e_value: A; learned: that of its "
            "alerts); some of them did shift",
        ),
        *_with_interval("found_share", "Share of spliced histories that reach the same threshold"),
        Column("chosen", pa.bool_(), "Whether this detector alerts until the next check"),
        Column("model_path", STRING, "Folder of the learned detector, relative to the models folder", nullable=True),
        Column("model_digest", STRING, "SHA-256 of its weights file", nullable=True, pattern=r"^[0-9a-f]{64}$"),
        Column(
            "note",
            STRING,
            "What the threshold in service finds and flags; or why nothing could be evaluated",
            nullable=True,
        ),
    ),
)
