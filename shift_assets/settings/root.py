"""The one settings object of an installation: `settings.yaml` in its home, overridden by `SHIFT_*` variables.

Nested keys are set by environment with two underscores: `SHIFT_MODEL__DEVICE=cpu`.
"""

from __future__ import annotations

import difflib
import os
import re
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from shift_assets.settings.config_file import ConfigError, LineNumbers, describe, read_yaml

DEFAULT_HOME = Path(".shift")
PREFIX = "SHIFT_"
POLICIES = ("unadjusted", "recency_reweighted", "shift_adjusted", "exploring")
"""What may make a list: no reaction; recent days alone count; pulled to what rises; that, and places drawn by lot."""
_ARM = re.compile(rf"(?:{'|'.join(POLICIES)})|shift_adjusted@(?:0(?:\.[0-9]+)?|1(?:\.0+)?)")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CalendarSettings(_Section):
    """Days that the installation covers."""

    first_day: date | None = Field(None, description="First partition day; the first `land` or `run` sets it")
    last_day: date | None = Field(
        None, description="Last partition day, moved on by what is landed or run; null: grows with the clock"
    )

    @model_validator(mode="after")
    def _ordered(self) -> CalendarSettings:
        if self.first_day and self.last_day and self.last_day < self.first_day:
            raise ValueError(f"last_day {self.last_day} lies before first_day {self.first_day}")
        return self


class BotSettings(_Section):
    """A user above either limit is a bot: all its events of that minute, or day, are rejected."""

    events_per_minute: int = Field(300, ge=1)
    events_per_day: int = Field(20_000, ge=1)


class InterestSettings(_Section):
    """How a day's events become interest scores."""

    score: Literal["weighted", "click_through", "conversion", "amount"] = "weighted"
    weights: dict[str, float] = Field(
        default={"view": 1, "click": 1, "favorite": 2, "cart": 3, "purchase": 4, "return": -4, "review": 1},
        description="Points per event; a rating counts its stars less 3",
    )

    @model_validator(mode="after")
    def _known_behaviors(self) -> InterestSettings:
        from shift_assets.contracts.cleaning import BEHAVIORS

        unknown = sorted(set(self.weights) - set(BEHAVIORS))
        if unknown:
            raise ValueError(f"weights for unknown behaviours {unknown}; known: {', '.join(BEHAVIORS)}")
        return self


class FeatureSettings(_Section):
    look_back_days: int = Field(28, ge=1, description="Calendar days of interest series that features read")
    embedding_dimensions: int = Field(32, ge=2)


class StateSettings(_Section):
    """The state that a user carries from day to day."""

    recent_active_days: int = Field(7, ge=1, description="Recent window, in the user's active days")
    reference_active_days: int = Field(28, ge=1, description="Reference window before it, in active days")
    keep_days: int = Field(
        35,
        ge=7,
        description="Daily state snapshots kept before the newest; with fewer than 28 no churn warning is judged",
    )


class SignalSettings(_Section):
    smoothing: float = Field(0.5, gt=0, description="Pseudo-count per category in the distribution distance")
    ewma_half_life_active_days: float | None = Field(None, gt=0, description="Smooth the indicators; null: off")
    minimum_active_days: int = Field(6, ge=2, description="Users with fewer active days get no indicator")


class EvidenceSettings(_Section):
    """The e-value and the posterior of a shift; `shift.evidence` says what they are."""

    starts: int = Field(12, ge=4, le=32, description="Possible starts of a new regime: the last scored days of a user")
    posterior_window: int = Field(8, ge=2, description="A regime as young as so many scored days counts as a shift")
    hazard: float = Field(0.001, gt=0, lt=0.5, description="Prior probability per scored day that a regime begins")
    half_life_active_days: float = Field(46, gt=0, description="Scored days after which a day's weight has halved")
    prior_days: float = Field(3.0, gt=0, description="Weight of the segment's mix in a user's profile, in days")
    null_learning: float = Field(
        0.5, ge=0, le=1, description="How far the days since a possible start count for the old profile: 1 in full"
    )
    day_cap: float = Field(3.0, gt=1, description="Most that one day may multiply the evidence by")
    minimum_days_before: int = Field(4, ge=1, description="Scored days that must lie before a start")
    least_share: float = Field(
        0.002, ge=0, lt=1, description="Categories below this share of the segment's profiles are watched as one"
    )
    platform_prior_users: float = Field(20.0, gt=0, description="Active users whose weight holds the day's tilt at one")
    promotion_guard: float = Field(
        0.0, ge=0, description="Evidence of a day counts less by so much per unit of the segment's own move; 0: off"
    )
    promotion_guard_from: float = Field(0.1, ge=0, le=1, description="Total variation above which the guard works")

    @property
    def decay(self) -> float:
        """Weight of a day after one more scored day."""
        return float(2.0 ** (-1.0 / self.half_life_active_days))


class CalibrationSettings(_Section):
    """The log without order, from which p-values are read; `shift.calibration` says how."""

    users: int = Field(500, ge=50, description="Shuffled histories of a segment and day")
    days_kept: int = Field(4, ge=1, description="Last days of each shuffled history that enter the sample")


class AlertSettings(_Section):
    """When an alarm opens, how it is told, when it closes."""

    detector: Literal["evidence", "threshold"] = Field(
        "evidence", description="evidence: the e-value M; threshold: lines on the classic indicators, for comparison"
    )
    rule: Literal["patience", "discovery"] = Field(
        "patience", description="What opens an alarm of the evidence: M at the patience, or the q-value at q"
    )
    patience_active_days: float = Field(
        10.0, gt=1, description="A: a user who does not change raises at most one false alarm in so many active days"
    )
    false_discovery_rate: float = Field(
        0.1, gt=0, lt=1, description="q: share of false alarms among the discoveries of four weeks"
    )

    change_rate: float = Field(2.0, gt=0, description="threshold: line for |log2(1 + change rate)|; 2: 4 times, or 1/4")
    interest_gap: float = Field(0.20, gt=0, le=1, description="threshold: line for the largest change of a share")
    distribution_distance: float = Field(
        0.50, gt=0, le=1, description="threshold: line for the Jensen-Shannon distance"
    )
    minimum_active_days: int = Field(12, ge=2, description="threshold: users with fewer raise no alarm")
    per_segment: dict[str, dict[Literal["change_rate", "interest_gap", "distribution_distance"], float]] = Field(
        default_factory=dict, description="threshold: lines of one segment, instead of the ones above"
    )
    close_below: float = Field(0.8, gt=0, le=1, description="threshold: an episode closes below this part of its line")
    close_after_days: int = Field(28, ge=1, description="An episode not renewed for so many days closes")
    return_share: float = Field(
        0.5, gt=0, le=1, description="A return: the old taste held this part of what the risen categories hold now"
    )
    severity_magnitude: tuple[float, float] = Field(
        (0.55, 0.70), description="Magnitude from which a shift of interest is medium, and from which it is high"
    )
    severity_doublings: tuple[float, float] = Field(
        (2.5, 3.5),
        description="threshold: |log2(1 + change rate)| from which a surge or fade is medium, and high",
    )
    language: Literal["en", "zh"] = "en"


class ChurnSettings(_Section):
    """Warnings that a user will not come back; churn is no visit in the following 28 days."""

    line: float = Field(0.8, gt=0, lt=1, description="A warning opens when the churn probability rises to this")
    close_below: float = Field(0.6, gt=0, lt=1, description="It closes at a visit, or below this probability")
    minimum_active_days: int = Field(4, ge=2, description="Users with fewer visit days get no warning")
    severity_visits: tuple[float, float] = Field(
        (1.0, 4.0), description="Visits in 28 days, by the user's rhythm, whose loss is medium, and high"
    )
    fit_users: int = Field(2_000, ge=30, description="Users of a segment that its parameters are fitted on")

    @model_validator(mode="after")
    def _hysteresis(self) -> ChurnSettings:
        if self.close_below > self.line:
            raise ValueError(f"close_below {self.close_below} lies above the line {self.line}")
        return self


class ForecastSettings(_Section):
    """Forecasts, a week ahead, of the share that each category has of a user's interest."""

    model: Literal["linear", "forest", "lstm", "four_week_mean", "last_week"] = Field(
        "linear", description="Member of the family that makes the daily forecasts"
    )
    refit_weekday: int = Field(6, ge=0, le=6, description="Weekday of the weekly refit and report; 0: Monday")
    history_weeks: int = Field(12, ge=5, description="Weeks before the forecast week that features are made of")
    training_weeks: int = Field(8, ge=5, description="Weeks learned from; the newest only sizes the band")
    ewma_half_life_weeks: float | None = Field(2, gt=0, description="Half-life of the smoothed share; null: left out")
    coverage: float = Field(0.9, gt=0, lt=1, description="Share of the users' weeks that the bands shall hold")
    least_share: float = Field(0.01, ge=0, lt=1, description="Forecasts below this share are not stored")
    maximum_rows: int = Field(20_000, ge=1, description="User-category weeks that the daily model learns from")
    quality_rows: int = Field(12_000, ge=1, description="The same for the weekly evaluation")
    folds: int = Field(3, ge=2, le=6, description="Newest weeks on which members are compared, each out of time")

    @property
    def window_days(self) -> int:
        """Days that the forecasts of a day read: the weeks up to the last refit, which may lie six days back."""
        return 7 * (self.history_weeks + self.training_weeks) + 6

    @model_validator(mode="after")
    def _weeks_left_to_learn_from(self) -> ForecastSettings:
        if self.folds > self.training_weeks - 2:
            raise ValueError(f"folds {self.folds} leave no two of {self.training_weeks} training_weeks to learn from")
        return self


class MoveSettings(_Section):
    """Clusters of alarmed users, and rules over the categories that fell and rose for them."""

    clusters: int = Field(8, ge=2, le=50, description="Most clusters that k-means is tried with")
    minimum_users: int = Field(5, ge=2, description="Users whom a rule must be true of")
    minimum_confidence: float = Field(0.2, ge=0, le=1, description="Confidence below which a rule is not told")
    spark_users: int = Field(
        200_000,
        ge=0,
        description="Alarmed users of one run, all segments, from which Spark mines rules, where it is the engine",
    )


class SelfCheckSettings(_Section):
    """The weekly judgement of the detectors, on histories spliced of the log's own users; it also teaches one."""

    weekday: int = Field(6, ge=0, le=6, description="Weekday of the check; 0: Monday")
    window_days: int = Field(180, ge=28, description="Days of interest series that it reads")
    active_days: int = Field(8, ge=3, le=16, description="Active days that a user needs before a splice and after it")
    minimum_users: int = Field(30, ge=12, description="Users with so many days, below which nothing is judged")
    maximum_users: int = Field(120, ge=12, description="Users who are spliced, drawn at random: the bound on its time")
    starts: tuple[Annotated[int, Field(ge=4, le=32)], ...] = Field(
        (8, 12, 20), min_length=1, description="Values of evidence.starts that it may choose"
    )
    posterior_windows: tuple[Annotated[int, Field(ge=2)], ...] = Field(
        (5, 8, 12), min_length=1, description="Values of evidence.posterior_window that it may choose"
    )
    bootstrap_samples: int = Field(100, ge=20, description="Draws of users behind every interval")


class ModelSettings(_Section):
    """The torch next-item model."""

    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, …")
    window_days: int = Field(90, ge=2, description="Days of events to train on, ending the day before")
    objective: Literal["next_days", "next_event"] = Field(
        "next_days", description="The end of a day foretells later days, or every event foretells the next one"
    )
    repeats: bool = Field(True, description="Raise items that the user took before, as far as the model learns to")
    item_start: Literal["random", "transitions"] = Field(
        "transitions", description="Item vectors before training: drawn, or factorised from what follows what"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Numbers in the large products of training; auto: bfloat16 where the processor has it"
    )
    architecture: Literal["transformer", "gru", "lstm", "autoencoder"] = Field(
        "transformer", description="What reads a history; autoencoder: the mean of its events, some left out"
    )
    dimensions: int = Field(48, ge=4)
    layers: int = Field(1, ge=1, le=8)
    heads: int = Field(2, ge=1)
    dropout: float = Field(0.3, ge=0, lt=1)
    maximum_length: int = Field(50, ge=2, description="Newest events of a user that the model sees")
    learning_rate: float = Field(1e-3, gt=0)
    batch_size: int = Field(128, ge=1)
    loss: Literal["auto", "full", "chunked", "sampled", "gbce"] = Field(
        "auto",
        description="Softmax over all items, at once or in chunks of bounded memory; over sampled ones; or binary "
        "cross-entropy calibrated for sampling. auto: chunked, on large catalogues sampled",
    )
    negatives: int = Field(256, ge=1, description="Sampled negatives per step, shared by all its points")
    negative_sampling: Literal["uniform", "mixed"] = Field(
        "uniform", description="Negatives drawn from all items alike; mixed: half of them by their share of events"
    )
    gbce_calibration: float = Field(0.75, ge=0, le=1, description="gbce: 0 plain, 1 calibrated as the softmax")
    full_softmax_items: int = Field(20_000, ge=0, description="Catalogues up to this size train on all items")
    cropped_share: float = Field(
        0.0, ge=0, le=1, description="Share of histories per step that lose a random beginning"
    )
    hidden_share: float = Field(0.0, ge=0, lt=1, description="Share of events per step whose item is hidden")
    item_dropout: float = Field(
        0.0, ge=0, lt=1, description="Share of items per step that are known by their attributes alone"
    )
    target_span: int = Field(50, ge=1, description="next_days: so many next events on later days are foretold")
    patience: int = Field(3, ge=0, description="Looks at the validation days without gain before training stops")
    validation_days: int = Field(7, ge=1, description="Last days of the window, for early stopping; at most a third")
    maximum_steps: int = Field(80, ge=1, description="next_days: steps of a training from nothing, the time's bound")
    maximum_epochs: int = Field(30, ge=1, description="next_event: passes over the log of a training from nothing")
    warm_learning_rate: float = Field(5e-4, gt=0, description="The same where yesterday's model is continued")
    warm_steps: int = Field(6, ge=1, description="Steps of a training that continues yesterday's model")
    retrain_days: int = Field(
        28, ge=1, description="On every so-manieth day training starts anew instead of from the served model"
    )
    look_every: int = Field(10, ge=1, description="Steps between looks at the validation days")
    threads: int = Field(
        1,
        ge=1,
        description="CPU threads of one training, evaluation or prediction; more than one slows parallel partitions",
    )
    distributed: bool = Field(False, description="Share each step among the processes that torchrun started")

    @model_validator(mode="after")
    def _heads_divide(self) -> ModelSettings:
        if self.dimensions % self.heads:
            raise ValueError(f"dimensions {self.dimensions} is no multiple of heads {self.heads}")
        return self


class TaskSettings(_Section):
    """What the next-item model also foretells of a user: categories, a purchase, a return, a shift."""

    weights: dict[Literal["category", "purchase", "churn", "shift"], float] = Field(
        default={"category": 0.3, "purchase": 0.3, "churn": 0.1, "shift": 0.1},
        description="Weight of each task's loss; the next item has 1. Empty: only the next item is learned",
    )
    weighting: Literal["fixed", "uncertainty"] = Field(
        "fixed", description="uncertainty: each weight is also divided by a variance that training finds"
    )
    stop_gradient: tuple[Literal["category", "purchase", "churn", "shift"], ...] = Field(
        ("purchase", "shift"), description="Tasks that read the encoder without teaching it: these cost the next item"
    )
    steps: int = Field(30, ge=0, description="Steps that the heads take alone once the encoder stands")
    warm_steps: int = Field(10, ge=0, description="The same where yesterday's model is continued")
    horizon_days: int = Field(7, ge=1, description="Days ahead that categories and a purchase are foretold for")
    shift_active_days: int = Field(
        3, ge=1, description="Active days on each side of a splice; the first so many after it count as shifted"
    )
    batch_size: int = Field(32, ge=1, description="Chunks of history per step for the tasks, beside the item's own")
    learning_rate: float = Field(1e-2, gt=0, description="Of the heads; the encoder keeps that of the model")


GeneratorName = Literal[
    "interest_model",
    "repeats",
    "item_neighbours",
    "transitions",
    "users_alike",
    "factorisation",
    "autoencoder",
    "baskets",
    "content",
    "reviews",
    "popularity",
]


class RecommendationSettings(_Section):
    k: int = Field(20, ge=1, description="Length of a list")
    look_back_days: int = Field(90, ge=1, description="Days of events behind collaborative filtering and profiles")
    active_within_days: int = Field(28, ge=1, description="Users active so recently get a list")
    similarity: Literal["cosine", "pearson"] = "cosine"
    shrinkage: float = Field(10.0, ge=0)
    neighbours: int = Field(100, ge=1, description="Neighbours, and followers, kept per item")
    alike_users: int = Field(50, ge=1, description="Users of similar taste looked at for each user")
    factors: int = Field(64, ge=1, description="Length of the vectors of matrix factorisation")
    ease_items: int = Field(
        8_000, ge=1, description="Items of the linear autoencoder, those of most users; 8,000 hold 256 MiB and take 9 s"
    )
    rule_baskets: int = Field(5, ge=1, description="Baskets that an association rule rests on, at least")
    ease_regularisation: float = Field(100.0, gt=0)
    half_life_days: float = Field(60, gt=0, description="Days after which an event counts half in a user's taste")
    item_vectors: Path | None = Field(
        None, description="Parquet of item_id and vector: what another model knows of the items; null: their texts"
    )
    signals: Path | None = Field(
        None, description="Parquet of day, user_id, weight, and text or category: interest seen elsewhere"
    )
    blend: Literal["learned", "fixed"] = Field(
        "learned", description="learned: fitted every week to what users took next; fixed: `weights` as they stand"
    )
    sources: tuple[GeneratorName, ...] = Field(
        (
            "interest_model",
            "repeats",
            "item_neighbours",
            "transitions",
            "factorisation",
            "content",
            "reviews",
            "popularity",
        ),
        description="Candidate sources of the learned blend. Left out, as they added next to nothing: baskets (most "
        "of the cost of a day), autoencoder (cost grows with the cube of the items), users_alike",
    )
    candidates: int = Field(100, ge=1, description="Items that each source puts forward for a user's learned blend")
    validation_days: int = Field(7, ge=1, description="Days whose events a learned blend is fitted to foretell")
    validation_rounds: int = Field(4, ge=1, description="Such spans, one after the other, that a learned blend sees")
    weights: dict[GeneratorName, float] = Field(
        default={
            "interest_model": 1.0,
            "repeats": 1.0,
            "item_neighbours": 0.5,
            "transitions": 0.25,
            "popularity": 0.1,
        },
        description="Weight of each candidate source in the fixed blend; 0 or absent: not used",
    )
    popularity_days: int = Field(7, ge=1)
    spark_users: int = Field(
        200_000, ge=0, description="Users of a segment from which Spark does the large sums, where it is the engine"
    )
    rising_weight: float = Field(0.5, ge=0, le=1, description="Pull towards the rising interest of an alerted user")
    diversity: float = Field(0.0, ge=0, le=1, description="How much a list avoids items alike; 0: not at all")
    calibration: float = Field(
        0.0, ge=0, le=1, description="How much a list keeps the user's mix of categories; 0: not"
    )
    fresh_places: int = Field(
        0, ge=0, description="Places of a list, its last ones, for items new to the shop, at least"
    )
    fresh_days: int = Field(14, ge=1, description="Days since an item was first met that make it new")
    exclude_bought_days: int = Field(
        1, ge=0, description="Nothing bought so recently, 1: that day; 0: allow. Wholesalers do buy again within days"
    )
    exclude_returned_days: int = Field(90, ge=0, description="Nothing returned so recently; 0: allow")
    catalogue_days: int = Field(28, ge=1, description="An item not met for so many days has left the catalogue")

    @model_validator(mode="after")
    def _weighed(self) -> RecommendationSettings:
        if self.diversity + self.calibration > 1:
            raise ValueError("diversity and calibration are shares of one weight: together at most 1")
        return self


class ReactionSettings(_Section):
    """How far a list leans on what a user did since its interest may have shifted."""

    short_term_weight: float = Field(1.0, ge=0, le=1, description="Weight of the short-term interest at a sure shift")
    doubt: float = Field(
        2.0,
        ge=0,
        description="Nats held against a shift: they are rarer than in the histories that teach, half of them. Lists "
        "that are remade before every event bear 1",
    )
    half_life_days: float = Field(30, gt=0, description="Days from a shift's start after which the weight is half")
    newest_events: int = Field(10, ge=1, description="Events that the policy recency_reweighted looks back to")


class OutcomeSettings(_Section):
    horizon_days: int = Field(7, ge=1)
    minimum_events: int = Field(3, ge=1, description="Events in the horizon that a verdict needs")
    bootstrap_samples: int = Field(200, ge=20)
    minimum_effective_users: int = Field(
        100, ge=1, description="Users, in effect, below which an off-policy estimate is refused"
    )


class ExperimentSettings(_Section):
    """Which policy makes a user's list, and how the platform learns from what came of it.

    An arm is a policy's name, or `shift_adjusted@w`: with the weight w, 0..1, of the rising interests.
    """

    name: str = Field("lists", min_length=1, description="Another name deals the users out anew")
    shares: dict[str, float] = Field(
        default={"unadjusted": 0.1, "recency_reweighted": 0.05, "shift_adjusted": 0.8, "exploring": 0.05},
        min_length=1,
        description="Share of the users of each arm, where learning is fixed; they sum to 1",
    )
    learning: Literal["fixed", "thompson", "linucb"] = Field(
        "fixed", description="fixed: the shares; else what the days before taught, per segment and kind of shift"
    )
    reward: Literal["clicked", "purchased"] = Field("clicked", description="What an arm is praised for")
    half_life_days: float = Field(28, gt=0, description="Days after which an outcome counts half in what is learnt")
    minimum_share: float = Field(0.05, ge=0, lt=1, description="Least share of an arm, whatever is learnt")
    maximum_exploring_share: float = Field(0.2, ge=0, le=1, description="Most share of exploring, whatever is learnt")
    exploration_slots: int = Field(2, ge=0, description="Places at the end of an exploring list that are drawn by lot")
    period_days: int = Field(28, ge=1, description="Days of a period of the experiment report; then it begins anew")
    effect_scale: float = Field(
        0.03, gt=0, le=1, description="Difference of rates for which the sequential test is most sensitive"
    )

    @field_validator("shares")
    @classmethod
    def _known_arms(cls, shares: dict[str, float]) -> dict[str, float]:
        unknown = sorted(arm for arm in shares if not _ARM.fullmatch(arm))
        if unknown:
            raise ValueError(f"unknown arms {unknown}; an arm is one of {', '.join(POLICIES)}, or shift_adjusted@0.75")
        if min(shares.values()) <= 0:
            raise ValueError("an arm's share is positive; leave an arm out that nobody shall have")
        if abs(sum(shares.values()) - 1) > 1e-6:
            raise ValueError(f"the shares sum to {sum(shares.values()):g}, not to 1")
        return shares

    @model_validator(mode="after")
    def _bounds_fit(self) -> ExperimentSettings:
        if self.minimum_share * len(self.shares) > 1:
            raise ValueError(f"minimum_share {self.minimum_share} of {len(self.shares)} arms is more than everybody")
        if "exploring" in self.shares and self.minimum_share > self.maximum_exploring_share:
            raise ValueError(
                f"minimum_share {self.minimum_share} lies above maximum_exploring_share {self.maximum_exploring_share}"
            )
        if self.shares.get("exploring", 0.0) > self.maximum_exploring_share:
            raise ValueError(
                f"the share {self.shares['exploring']} of exploring lies above maximum_exploring_share "
                f"{self.maximum_exploring_share}"
            )
        return self


class PublicSettings(_Section):
    minimum_users: int = Field(10, ge=1, description="Cells of fewer users are suppressed in bi_public.duckdb")
    keep_generations: int = Field(2, ge=1)


class NotifySettings(_Section):
    webhook_url: str | None = None
    minimum_severity: Literal["low", "medium", "high"] = "medium"


class Settings(BaseSettings):
    """Everything that an operator of one installation may set."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
    )

    home: Path = DEFAULT_HOME
    lake: str | None = Field(None, description="Folder of the lake; null: `lake/` in the home")
    seed: int = Field(20260101, ge=0, lt=2**32)
    calendar: CalendarSettings = CalendarSettings()
    lateness_days: int = Field(3, ge=0, le=31, description="Days that an event may arrive late")
    engine: Literal["auto", "spark", "embedded"] = "auto"
    spark_remote: str = "local[*]"
    bots: BotSettings = BotSettings()
    interest: InterestSettings = InterestSettings()
    features: FeatureSettings = FeatureSettings()
    state: StateSettings = StateSettings()
    signals: SignalSettings = SignalSettings()
    evidence: EvidenceSettings = EvidenceSettings()
    calibration: CalibrationSettings = CalibrationSettings()
    alerts: AlertSettings = AlertSettings()
    churn: ChurnSettings = ChurnSettings()
    forecast: ForecastSettings = ForecastSettings()
    moves: MoveSettings = MoveSettings()
    self_check: SelfCheckSettings = SelfCheckSettings()
    model: ModelSettings = ModelSettings()
    tasks: TaskSettings = TaskSettings()
    recommendations: RecommendationSettings = RecommendationSettings()
    reaction: ReactionSettings = ReactionSettings()
    outcomes: OutcomeSettings = OutcomeSettings()
    experiments: ExperimentSettings = ExperimentSettings()
    public: PublicSettings = PublicSettings()
    notify: NotifySettings = NotifySettings()

    @model_validator(mode="after")
    def _possible(self) -> Settings:
        if self.lake is not None and "://" in self.lake:
            raise ValueError(f"lake {self.lake}: only folders are supported so far; name a mounted folder")
        held = self.state.recent_active_days + self.state.reference_active_days
        needed = max(self.signals.minimum_active_days, self.alerts.minimum_active_days)
        if needed > held:
            raise ValueError(
                f"minimum_active_days {needed} is more than the {held} active days that the state holds "
                "(state.recent_active_days + state.reference_active_days): no alarm could ever open"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the base class names the arguments
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings

    @property
    def landing(self) -> Path:
        return self.home / "landing"

    @property
    def lake_root(self) -> str:
        return self.lake or str(self.home / "lake")

    @property
    def bi(self) -> Path:
        return self.home / "bi"

    @property
    def models(self) -> Path:
        return self.home / "models"

    @property
    def privacy(self) -> Path:
        return self.home / "privacy"

    @property
    def evaluation(self) -> Path:
        """Scores of users that `evaluate` wrote; made again by calling it again."""
        return self.home / "evaluation"

    @property
    def staging(self) -> Path:
        """Run-unique folders of work in progress; safe to delete when nothing runs."""
        return self.home / "staging"

    @property
    def dagster_home(self) -> Path:
        return self.home / "dagster"


def load_settings(home: Path) -> Settings:
    """The settings of the installation at `home`; its `settings.yaml` may be absent.

    Raises ConfigError naming file, line, key and remedy.
    """
    home = home.resolve()
    path = home / "settings.yaml"
    content, lines = read_yaml(path) if path.exists() else ({}, LineNumbers(None))
    _refuse_misspelt_variables()
    try:
        settings = Settings(**{**content, "home": home})
    except ValidationError as error:
        raise ConfigError(describe(error, path, lines, Settings, _variable_of)) from error
    except SettingsError as error:
        raise ConfigError(f"environment: {error}; write a section's keys as SHIFT_SECTION__KEY=value") from error
    return settings.model_copy(update={"home": home})


def _variable_of(path: tuple[str | int, ...]) -> str | None:
    """The set variable that gives the key at `path` its value; variables win over the file."""
    for length in range(len(path), 0, -1):
        name = PREFIX + "__".join(str(part) for part in path[:length]).upper()
        if name in os.environ:
            return f"environment: {name}"
    return None


def _refuse_misspelt_variables() -> None:
    """A variable whose name is nearly a setting's would otherwise do nothing, silently."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for variable in sorted(os.environ):
        name = variable.partition("__")[0]
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.9)
        if variable.startswith(PREFIX) and name not in known and close:
            raise ConfigError(f"environment: {variable}: unknown; did you mean {close[0]}?")
