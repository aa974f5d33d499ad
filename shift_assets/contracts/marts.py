"""What BI reads: the marts of the warehouse and the public aggregates, declared like contracts.

What belongs here: grain, columns and meaning of each mart, which lake tables the warehouse holds for them, and
which table goes into which published file. From it come the tables' types, the comments in the files and the data
dictionary. What does not belong here: how a mart is computed; that is `sql/marts/` and `sql/public/`, one file of
the same name each.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from shift_assets.contracts.churn import CHURN_PREDICTIONS
from shift_assets.contracts.cleaning import REJECTED_EVENTS
from shift_assets.contracts.interest import INTEREST_SERIES, ITEM_FEATURES, USER_FEATURES
from shift_assets.contracts.models import MODEL_PREDICTIONS
from shift_assets.contracts.outcomes import (
    ALERT_OUTCOMES,
    CHURN_CALIBRATION,
    EXPERIMENT_REPORT,
    RECOMMENDATION_OUTCOMES,
)
from shift_assets.contracts.quality import QUALITY_VERDICTS
from shift_assets.contracts.recommendations import AD_SLOTS, CAMPAIGN_AUDIENCES, RECOMMENDATIONS
from shift_assets.contracts.shift import (
    ALERT_CLUSTERS,
    ALERT_KINDS,
    ALERT_STATUSES,
    INTEREST_MOVES,
    OPEN_ALERTS,
    SEGMENT_EVENTS,
    SEGMENT_SHIFTS,
    SEVERITIES,
    SHIFT_ALERTS,
    SHIFT_SIGNALS,
)
from shift_assets.contracts.table import Column, Table, count

_STRING, _INT, _FLOAT, _BOOL, _DAY = pa.string(), pa.int64(), pa.float64(), pa.bool_(), pa.date32()

BASE_COLUMNS: dict[str, tuple[str, ...]] = {
    table.name: tuple(table.schema.names)
    for table in (
        INTEREST_SERIES,
        USER_FEATURES,
        SHIFT_SIGNALS,
        SHIFT_ALERTS,
        OPEN_ALERTS,
        SEGMENT_SHIFTS,
        SEGMENT_EVENTS,
        ALERT_CLUSTERS,
        INTEREST_MOVES,
        RECOMMENDATIONS,
        CAMPAIGN_AUDIENCES,
        AD_SLOTS,
        MODEL_PREDICTIONS,
        CHURN_PREDICTIONS,
        ALERT_OUTCOMES,
        CHURN_CALIBRATION,
        RECOMMENDATION_OUTCOMES,
        EXPERIMENT_REPORT,
        QUALITY_VERDICTS,
    )
} | {
    "item_features": tuple(name for name in ITEM_FEATURES.schema.names if name != "embedding"),
    # Never the raw bytes: they hold raw user ids.
    "rejected_events": ("day", "segment", "reason"),
}
"""Lake tables that the warehouse holds, with the columns that marts or BI read."""

RECENT_TABLES = frozenset(
    {
        "open_alerts",
        "recommendations",
        "campaign_audiences",
        "ad_slots",
        "model_predictions",
        "churn_predictions",
        "user_features",
        "item_features",
    }
)
RECENT_DAYS = 35
"""Days of RECENT_TABLES that the warehouse holds: they have a row per user or item and day whether or not anything
happens, and would soon be most of every published file. Their history is in the lake."""

COUNTED_TABLES = ("clean_events", "interest_state")
"""Lake tables of which the warehouse only knows the rows per partition."""

LOADED_PARTITIONS = Table(
    "loaded_partitions",
    description="What the warehouse has loaded",
    grain="one partition of a lake table, as the warehouse last saw it",
    key=("table_name", "day", "segment"),
    consumer="the incremental load of `warehouse`",
    own_columns=(
        Column("table_name", _STRING, "Lake table"),
        Column("digest", _STRING, "Content digest of the partition"),
        Column("rows", _INT, "Rows of the partition", unit="count", minimum=0),
    ),
)


def _number(name: str, meaning: str, unit: str | None = None) -> Column:
    return Column(name, _FLOAT, meaning, unit=unit, nullable=True)


def _like(table: Table, *names: str) -> tuple[Column, ...]:
    return tuple(table.column(name) for name in names)


_QUANTILES = tuple(
    _number(f"{signal}_{quantile}", f"{meaning} of {signal} over the users with signals")
    for signal in ("change_rate", "interest_gap", "distribution_distance")
    for quantile, meaning in (("p10", "10 % quantile"), ("p50", "Median"), ("p90", "90 % quantile"))
)

SHIFT_OVERVIEW = Table(
    "shift_overview",
    description="Users and alerts of a day, counted",
    grain="one day of one segment",
    key=("day", "segment"),
    consumer="`bi_activation.duckdb` (analysts), `bi_public.duckdb`",
    own_columns=(
        count("users_known", "Users with an interest state at the end of the day"),
        count("users_active", "Users with an event that day"),
        count("users_watched", "Users with shift signals that day"),
        *(count(f"alerts_{status}", f"Alerts that {status} that day") for status in ALERT_STATUSES),
        *(count(f"alerts_{kind}", f"Alerts of kind {kind}, opened or continued") for kind in ALERT_KINDS),
        *(
            count(f"alerts_{severity}", f"Alerts of severity {severity}, opened or continued")
            for severity in SEVERITIES
        ),
        *_QUANTILES,
        _number("churn_probability_mean", "Mean churn probability of the users with signals", "share 0..1"),
    ),
)

ALERTS = Table(
    "alerts",
    description="Alerts with their categories as text and their outcome",
    grain="one alert on one day of its episode",
    key=("day", "alert_id"),
    consumer="`bi_activation.duckdb` (marketers)",
    own_columns=(
        *_like(SHIFT_ALERTS, "alert_id", "user_id", "status", "kind", "severity", "magnitude"),
        *_like(SHIFT_ALERTS, "confidence", "p_value", "q_value", "onset_day"),
        Column("top_rising", _STRING, "Category that gained most share", nullable=True),
        Column("top_falling", _STRING, "Category that lost most share", nullable=True),
        Column("rising_text", _STRING, "Categories that gained share, as `name before % → after %`, largest first"),
        Column("falling_text", _STRING, "Categories that lost share, as `name before % → after %`, largest first"),
        *_like(SHIFT_ALERTS, "platform_share", "explanation", "detector", "model_version"),
        Column(
            "confirmed",
            _BOOL,
            "Whether the events of the horizon confirm the alert; null before its end or with too few events",
            nullable=True,
        ),
        _number(
            "log_likelihood_gain",
            "Mean log-likelihood under the recent profile minus that under the reference profile",
            "nats per event",
        ),
        *_like(SHIFT_ALERTS, "magnitude_quantile", "first_onset_day"),
    ),
)

OPEN_ALERT_LIST = Table(
    "open_alert_list",
    description="Users with an open alert, whether they came that day or not, with the alert's last news",
    grain=f"one user with an open alert at the end of a day, of the last {RECENT_DAYS} days",
    key=("day", "user_id"),
    consumer="`bi_activation.duckdb` (marketers)",
    own_columns=(
        *_like(OPEN_ALERTS, "user_id", "alert_id", "kind", "onset_day", "opened_day"),
        count("days_open", "Days since the alert opened"),
        *_like(OPEN_ALERTS, "confidence"),
        Column("rising_text", _STRING, "Categories that gained share, as `name before % → after %`, largest first"),
        Column("falling_text", _STRING, "Categories that lost share, as `name before % → after %`, largest first"),
        *_like(OPEN_ALERTS, "churn_alert_id", "first_onset_day"),
        Column("news_day", _DAY, "Last day on which the alert opened or continued", nullable=True),
        Column("severity", _STRING, "Severity on that day", nullable=True, allowed=SEVERITIES),
        Column("explanation", _STRING, "The alert in one sentence, as of that day", nullable=True),
    ),
)

RECOMMENDATION_LIST = Table(
    "recommendation_list",
    description="Recommendations with the attributes of their items",
    grain=f"one rank of one user's recommendations, of the last {RECENT_DAYS} days",
    key=("day", "user_id", "rank"),
    consumer="`bi_activation.duckdb` (shop front, mail campaigns)",
    own_columns=(
        *_like(RECOMMENDATIONS, "user_id", "rank", "item_id"),
        Column("category", _STRING, "Interest category of the item", nullable=True),
        _number("price", "Median price of the item in the look-back window", "shop currency"),
        _number("popularity", "Distinct users of the item in the last 7 days", "users"),
        *_like(RECOMMENDATIONS, "score", "source", "reason", "alert_id"),
        Column(
            "alert_kind",
            _STRING,
            "Kind of the alert that caused the recommendation",
            nullable=True,
            allowed=ALERT_KINDS,
        ),
        *_like(RECOMMENDATIONS, "policy", "propensity"),
    ),
)

SEGMENT_TRENDS = Table(
    "segment_trends",
    description="Interest of a segment in each category, summed over its users",
    grain="one category of one segment on one day",
    key=("day", "segment", "category"),
    consumer="`bi_activation.duckdb` (category managers, campaign planning), `bi_public.duckdb`",
    own_columns=(
        Column("category", _STRING, "Interest category"),
        count("users", "Users with an event in the category that day"),
        Column("score", _FLOAT, "Sum of the users' interest scores", minimum=0.0),
        _number("interest_share", "Share of the segment's score of the day; null when that is 0", "share 0..1"),
        Column("amount", _FLOAT, "Sum of quantity x price of purchases, less that of returns", unit="shop currency"),
    ),
)

DATA_QUALITY = Table(
    "data_quality",
    description="Rows delivered, accepted and rejected, and expectations met",
    grain="one day of one segment",
    key=("day", "segment"),
    consumer="`bi_activation.duckdb` (operators), `bi_public.duckdb`",
    own_columns=(
        count("rows_delivered", "Rows delivered: clean and rejected"),
        count("rows_clean", "Rows accepted as events"),
        count("rows_rejected", "Rows rejected with a reason"),
        _number("rejected_share", "Rejected over delivered; null when nothing was delivered", "share 0..1"),
        count("expectations_passed", "Expectations that the day's tables meet"),
        count("expectations_failed", "Expectations that they fail"),
        count("errors", "Failed expectations that close the gate for readers of the table"),
    ),
)

REJECTED_REASONS = Table(
    "rejected_reasons",
    description="Rejected rows counted by reason",
    grain="one reason on one day of one segment",
    key=("day", "segment", "reason"),
    consumer="`bi_activation.duckdb` (operators, the supplier of the data)",
    own_columns=(
        *_like(REJECTED_EVENTS, "reason"),
        count("rows_rejected", "Rows rejected for this reason"),
        Column("share", _FLOAT, "Share of the rows delivered", unit="share 0..1", minimum=0, maximum=1),
    ),
)

OUTCOMES = Table(
    "outcomes",
    description="Alerts confirmed by what followed, counted",
    grain="one day of one segment: the alerts whose horizon ended that day",
    key=("day", "segment"),
    consumer="`bi_activation.duckdb` (analysts), `bi_public.duckdb`",
    own_columns=(
        count("alerts_judged", "Shifts with enough events in the horizon"),
        count("alerts_confirmed", "Shifts that the events of the horizon confirm"),
        _number("confirmed_share", "Confirmed over evaluated alerts; null where none is evaluated", "share 0..1"),
        _number(
            "log_likelihood_gain_mean",
            "Mean log-likelihood under the recent profile minus that under the reference profile",
            "nats per event",
        ),
        count("churn_warnings_evaluated", "Churn warnings that opened 28 days before"),
        count("churn_warnings_confirmed", "Those whose user did not come since"),
    ),
)

MARTS: dict[str, Table] = {
    table.name: table
    for table in (
        SHIFT_OVERVIEW,
        ALERTS,
        OPEN_ALERT_LIST,
        RECOMMENDATION_LIST,
        SEGMENT_TRENDS,
        DATA_QUALITY,
        REJECTED_REASONS,
        OUTCOMES,
    )
}
"""Marts by name, in the order in which they are computed."""

_SUPPRESSED = Column(
    "suppressed", _BOOL, "True: the values are withheld, because this cell or a related one has too few users"
)
SHIFT_CLASSES = ("no_shift", *(kind for kind in ALERT_KINDS if kind != "churn_risk"))

PUBLIC_SHIFT_OVERVIEW = Table(
    "shift_overview",
    description="Active users and the medians of their change indicators",
    grain="one day of one segment",
    key=("day", "segment"),
    consumer="`bi_public.duckdb` (everybody)",
    own_columns=(
        count("users_active", "Users with an event that day", nullable=True),
        _number("change_rate_median", "Median change rate, rounded to 0.01"),
        _number("interest_gap_median", "Median interest gap, rounded to 0.01"),
        _number("distribution_distance_median", "Median distance of distributions, rounded to 0.01"),
        _SUPPRESSED,
        count("users_churn_risk", "Users with a churn alert, active or not; null when too few", nullable=True),
        count(
            "users_with_shift_alert",
            "Users with an open shift alert, active or not, rounded down to a multiple of the fewest users shown; null "
            f"when too few, and before the last {RECENT_DAYS} days",
            nullable=True,
        ),
    ),
)

PUBLIC_SHIFT_KINDS = Table(
    "shift_kinds",
    description="Active users counted by the kind of their open alert",
    grain="one class of the active users of one segment on one day; classes without users have no row",
    key=("day", "segment", "kind"),
    consumer="`bi_public.duckdb` (everybody)",
    own_columns=(
        Column("kind", _STRING, "Kind of the user's most severe open alert, or no_shift", allowed=SHIFT_CLASSES),
        count("users", "Active users of the class; with the other classes they sum to users_active", nullable=True),
        _SUPPRESSED,
    ),
)

PUBLIC_SEGMENT_TRENDS = Table(
    "segment_trends",
    description="Interest of a segment in each category",
    grain="one category of one segment on one day; categories without users have no row",
    key=("day", "segment", "category"),
    consumer="`bi_public.duckdb` (everybody)",
    own_columns=(
        Column("category", _STRING, "Interest category"),
        count("users", "Users with an event in the category that day", nullable=True),
        _number("interest_share", "Share of the segment's score of the day", "share 0..1"),
        _SUPPRESSED,
    ),
)

PUBLIC_SEGMENT_SHIFTS = Table(
    "segment_shifts",
    description="Change of each category's share in a segment",
    grain="one category of one segment on one day",
    key=("day", "segment", "category"),
    consumer="`bi_public.duckdb` (everybody)",
    own_columns=(
        Column("category", _STRING, "Interest category"),
        count("users", "Users with interest in the category in the recent window", nullable=True),
        _number("share_before", "Share of the segment's interest in the reference window", "share 0..1"),
        _number("share_after", "Share of the segment's interest in the recent window", "share 0..1"),
        _number("z_score", "Change divided by its day-to-day standard error", "standard errors"),
        Column("direction", _STRING, "Direction of the change", nullable=True, allowed=("rising", "falling", "steady")),
        _SUPPRESSED,
    ),
)

PUBLIC_INTEREST_MOVES = Table(
    "interest_moves",
    description="Users who moved from one category to another",
    grain="one pair of categories between which users of one segment moved in the 28 days; rare moves have no row",
    key=("day", "segment", "from_category", "to_category"),
    consumer="`bi_public.duckdb` (everybody)",
    own_columns=(
        Column("from_category", _STRING, "Category whose share fell in the users' alerts"),
        Column("to_category", _STRING, "Category whose share rose"),
        count("users", "Users who moved from the one to the other"),
        _number(
            "share_of_leavers",
            "Their share of the users who left the first; null unless both groups are large enough",
            "share 0..1",
        ),
        _number(
            "lift",
            "That share divided by the share of all users with an alert who moved to the second; null where that "
            "share is",
            "ratio",
        ),
    ),
)

PUBLIC_OUTCOMES = Table(
    "outcomes",
    description="Share of users whose alert was confirmed by what followed",
    grain="one day of one segment: the alerts whose horizon ended that day",
    key=("day", "segment"),
    consumer="`bi_public.duckdb` (everybody)",
    own_columns=(
        count("users_judged", "Users with an evaluated alert", nullable=True),
        _number(
            "confirmed_share",
            "Share of them with a confirmed alert; null unless both groups are large enough",
            "share 0..1",
        ),
        _SUPPRESSED,
    ),
)

PUBLIC_RECOMMENDATION_QUALITY = Table(
    "recommendation_quality",
    description="Ranking metrics of the recommendations, by policy",
    grain="one policy on one day of one segment: the recommendations whose horizon ended that day",
    key=("day", "segment", "policy"),
    consumer="`bi_public.duckdb` (everybody)",
    own_columns=(
        *_like(RECOMMENDATION_OUTCOMES, "policy", "horizon_days", "k"),
        count("users", "Users with recommendations and an event in the horizon", nullable=True),
        *_like(RECOMMENDATION_OUTCOMES, "recall_at_k", "ndcg_at_k", "coverage", "novelty"),
        _number(
            "click_rate",
            "Share of users who interacted with a recommended item; null unless both groups are large enough",
            "share 0..1",
        ),
        _number(
            "purchase_rate", "Share of users who bought one; null unless both groups are large enough", "share 0..1"
        ),
        _SUPPRESSED,
    ),
)

PUBLIC_DATA_QUALITY = Table(
    "data_quality",
    description="Rows delivered, accepted and rejected",
    grain="one day of one segment",
    key=("day", "segment"),
    consumer="`bi_public.duckdb` (everybody)",
    own_columns=(
        count("rows_delivered", "Rows delivered: clean and rejected", nullable=True),
        count("rows_clean", "Rows accepted as events", nullable=True),
        count("rows_rejected", "Rows rejected with a reason", nullable=True),
        _SUPPRESSED,
    ),
)

PUBLIC: dict[str, Table] = {
    table.name: table
    for table in (
        PUBLIC_SHIFT_OVERVIEW,
        PUBLIC_SHIFT_KINDS,
        PUBLIC_SEGMENT_TRENDS,
        PUBLIC_SEGMENT_SHIFTS,
        PUBLIC_INTEREST_MOVES,
        PUBLIC_OUTCOMES,
        PUBLIC_RECOMMENDATION_QUALITY,
        PUBLIC_DATA_QUALITY,
    )
}
"""Aggregates in which no cell of fewer than `public.minimum_users` users is shown, or follows from another."""


@dataclass(frozen=True)
class Unpartitioned(Table):
    """A table without day and segment of its own."""

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        return self.own_columns


GENERATION = Unpartitioned(
    "_generation",
    description="Which publication the file is, and what each of its tables holds",
    grain="one table of the file",
    key=("table_name",),
    consumer="`shift-assets doctor`, BI tools that open `bi_public.duckdb` or `bi_activation.duckdb`",
    own_columns=(
        Column("generation", _INT, "Number of the publication, rising by one", minimum=1),
        Column("as_of_day", pa.date32(), "Last day that the warehouse holds; null while it is empty", nullable=True),
        Column("table_name", _STRING, "Table of this file"),
        Column("rows", _INT, "Rows of the table", unit="count", minimum=0),
        Column("digest", _STRING, "Order-independent digest of its rows"),
        Column("code_version", _STRING, "Version of shift_assets that published it"),
    ),
)
