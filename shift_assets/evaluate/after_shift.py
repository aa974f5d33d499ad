"""Recommendation quality in the days after a shift, with and without adaptation to it (recall@20, NDCG@10).

There is no published protocol, so this one is defined here: histories of users are continued by another user's
events from a splice day on (`models.data.spliced_histories`). Everything is trained on the days before the splice
day, on which the donor is a user like any other. Recommendations are served in two ways:

- `live`: before every event, from all events before it;
- `nightly`: for a whole day, from all events of the days before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float64, Int64

from shift_assets.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from shift_assets.contracts.day import date_of
from shift_assets.evaluate.ranking_tasks import NDCG_K, SLATE_LENGTH, RankingTask, hits_at_k, top_k_items
from shift_assets.evaluate.temporal_split import SHARE_OF_DAYS, NothingToEvaluate, busy_days
from shift_assets.experiments.assignment import RECENCY_REWEIGHTED, SHIFT_ADJUSTED, UNADJUSTED
from shift_assets.models.data.sequences import RETURN
from shift_assets.models.data.spliced_histories import SplicedHistories
from shift_assets.models.metrics import ndcg_at_k, recall_at_k
from shift_assets.outcomes.estimates import Estimate, ratio_estimate, resamples
from shift_assets.recommend.candidates.registry import fit_generators
from shift_assets.recommend.context import RecommendationContext, generator_inputs, used_generators
from shift_assets.recommend.ranking.ranker import BlendedRanker
from shift_assets.recommend.shift_adaptation.adaptation import NEWEST_EVENTS, Adaptation
from shift_assets.recommend.shift_adaptation.shift_classifier import EventShares, ShiftClassifier, fit_shift_classifier
from shift_assets.recommend.shift_adaptation.spliced_histories import splice_window
from shift_assets.recommend.window import Window
from shift_assets.settings.root import AdaptationSettings, Settings

logger = logging.getLogger(__name__)

LIVE, NIGHTLY = "live", "nightly"
KNOWN_START = "known_start"
"""Policy that is given the shift and its first day: the bound that a perfect detector would reach."""
EVENT_STRETCHES = ((0, 5), (5, 15), (15, 30))
DAY_STRETCHES = ((0, 3), (3, 7), (7, 14))
RECOVERY_LEVEL = 0.9
"""Share of a user's own recall from which the recommendations count as recovered."""
RECOVERY_EVENTS = 5
SPLICE_DAYS = 4
MINIMUM_DAYS = 4
MAXIMUM_PAIRS = 150


class Stretch(NamedTuple):
    """Evaluation points from `first` to before `last`, in events or days since the splice day."""

    users: Literal["shifted", "stable"]
    unit: Literal["events", "days"]
    first: int
    last: int


STRETCHES = (
    *(Stretch("shifted", "events", *bounds) for bounds in (*EVENT_STRETCHES, (0, EVENT_STRETCHES[1][1]))),
    *(Stretch("shifted", "days", *bounds) for bounds in DAY_STRETCHES),
    Stretch("stable", "days", 0, DAY_STRETCHES[-1][1]),
)
"""Stretches that are reported; of the stable users, who continue as themselves, all points together."""


class EvaluationPoints(NamedTuple):
    """Points at which recommendations are evaluated: `task` holds one history per point.

    Attributes:
        task: Histories, and what their users took next.
        history: The spliced history [point].
        events: Events [point] of the history from the splice day to before the point.
        days: Days [point] since the splice day.
    """

    task: RankingTask
    history: Int64[Int64Array, " point"]
    events: Int64[Int64Array, " point"]
    days: Int64[Int64Array, " point"]


def evaluation_points(histories: SplicedHistories, window: Window, serving: str, log: Window) -> EvaluationPoints:
    """The points of every history within the first events, or days, that the stretches cover.

    Args:
        histories: Spliced and unspliced histories.
        window: The window that holds them.
        serving: LIVE or NIGHTLY.
        log: What is known at the splice day.
    """
    sequences, owners = histories.sequences, histories.owners
    days_since = sequences.days - histories.splice_days[owners]
    if serving == LIVE:
        _, events = histories.first_events(EVENT_STRETCHES[-1][1])
        ends = events
    else:
        events = np.flatnonzero(
            (days_since >= 0) & (days_since < DAY_STRETCHES[-1][1]) & (sequences.behaviors != RETURN)
        )
        ends = np.flatnonzero(np.diff(window.visits, prepend=-1))[window.visits[events]]
    first_of_point, point = np.unique(ends, return_inverse=True)
    history = owners[first_of_point]
    pairs = np.unique(np.stack([point, sequences.items[events] - 1]), axis=1)
    task = RankingTask(
        window=window.prefixes(history, first_of_point),
        allowed=np.arange(window.item_count),
        owners=pairs[0],
        items=pairs[1],
        log=log,
    )
    events_since = first_of_point - histories.first_event[history]
    return EvaluationPoints(task, history, events_since, days_since[first_of_point])


class PolicyScores(NamedTuple):
    """Metrics of one policy at every evaluation point of one splice day; nan where no label was reachable."""

    splice_day: date
    serving: str
    policy: str
    shifted: Bool[BoolArray, " point"]
    pair: Int64[Int64Array, " point"]
    events: Int64[Int64Array, " point"]
    days: Int64[Int64Array, " point"]
    recall: Float64[Float64Array, " point"]
    ndcg: Float64[Float64Array, " point"]


def score_policies(
    histories: SplicedHistories,
    window: Window,
    ranker: BlendedRanker,
    shift_classifier: ShiftClassifier,
    settings: AdaptationSettings,
) -> Iterator[PolicyScores]:
    """Score every policy, served live and nightly, at every evaluation point of the histories."""
    splice_day = int(histories.splice_days[0])
    for serving in (LIVE, NIGHTLY):
        points = evaluation_points(histories, window, serving, ranker.log)
        log_odds, since = shift_classifier.log_odds(points.task.window, EventShares.of(ranker.log))
        shifted = histories.spliced[points.history]
        certain = np.where(shifted & (points.events > 0), 1.0, 0.0).astype(np.float32)
        adaptations = {
            UNADJUSTED: None,
            RECENCY_REWEIGHTED: Adaptation.to_newest(points.task.window, NEWEST_EVENTS),
            SHIFT_ADJUSTED: Adaptation.of(log_odds, since, points.task.window.today, settings),
            KNOWN_START: Adaptation(certain, np.full(len(log_odds), splice_day)),
        }
        for policy, adaptation in adaptations.items():
            recall, ndcg = _metrics(ranker, points, adaptation)
            yield PolicyScores(
                splice_day=date_of(splice_day),
                serving=serving,
                policy=policy,
                shifted=shifted,
                pair=histories.pair[points.history],
                events=points.events,
                days=points.days,
                recall=recall,
                ndcg=ndcg,
            )


def _metrics(
    ranker: BlendedRanker, points: EvaluationPoints, adaptation: Adaptation | None
) -> tuple[Float64[Float64Array, " point"], Float64[Float64Array, " point"]]:
    """recall@20 and NDCG@10 [point]."""
    task = points.task
    ranker = replace(ranker, histories=task.window, adaptation=adaptation)

    def scorer(users: Int64Array) -> Float32Array:
        return ranker.score(users).scores

    users = task.users
    hits, relevant = hits_at_k(top_k_items(scorer, task, users, SLATE_LENGTH), task, users)
    recall, ndcg = np.full(len(points.history), np.nan), np.full(len(points.history), np.nan)
    recall[users], ndcg[users] = recall_at_k(hits, relevant), ndcg_at_k(hits[:, :NDCG_K], relevant)
    return recall, ndcg


class StretchMetrics(NamedTuple):
    """Metrics of a policy over one stretch.

    `recall_at_20` and `ndcg_at_10` are means over `looks` evaluation points. The gains are relative to the unadjusted
    policy at the same points (0.1: 10 % more), with 95 % intervals from a bootstrap over pairs of users.
    """

    serving: str
    policy: str
    users: str
    unit: str
    first: int
    last: int
    looks: int
    recall_at_20: float
    ndcg_at_10: float
    recall_gain: Estimate | None
    ndcg_gain: Estimate | None


def metrics_by_stretch(policy_scores: Sequence[PolicyScores], *, samples: int, seed: int) -> list[StretchMetrics]:
    """Metrics of all policies over every stretch, pooled over the splice days.

    Args:
        policy_scores: One per splice day, serving and policy.
        samples: Bootstrap samples of the intervals.
        seed: Seed of the bootstrap.
    """
    rows = []
    for serving in (LIVE, NIGHTLY):
        by_policy = {
            policy: _concatenate([one for one in policy_scores if (one.serving, one.policy) == (serving, policy)])
            for policy in dict.fromkeys(one.policy for one in policy_scores)
        }
        baseline = by_policy[UNADJUSTED]
        for policy, scores in by_policy.items():
            for stretch in STRETCHES:
                inside = _points_in(stretch, scores)
                if inside.any():
                    draws = _resampled_pairs(scores.pair[inside], samples, seed)
                    rows.append(
                        StretchMetrics(
                            *(serving, policy, *stretch, int(inside.sum())),
                            recall_at_20=float(scores.recall[inside].mean()),
                            ndcg_at_10=float(scores.ndcg[inside].mean()),
                            recall_gain=_gain(scores.recall[inside], baseline.recall[inside], *draws),
                            ndcg_gain=_gain(scores.ndcg[inside], baseline.ndcg[inside], *draws),
                        )
                    )
    return rows


def _points_in(stretch: Stretch, scores: PolicyScores) -> Bool[BoolArray, " point"]:
    """Points of the stretch that have a metric."""
    since = scores.events if stretch.unit == "events" else scores.days
    inside = (since >= stretch.first) & (since < stretch.last) & (scores.shifted == (stretch.users == "shifted"))
    return np.asarray(inside & ~np.isnan(scores.recall))


def _resampled_pairs(pair: Int64Array, samples: int, seed: int) -> tuple[Int64Array, Int64Array]:
    """Number [point] of the pair among those that occur, and how often each is drawn, [sample, pair]."""
    pairs, number = np.unique(pair, return_inverse=True)
    return number, resamples(len(pairs), samples, seed)


def _gain(values: Float64Array, baseline: Float64Array, pair: Int64Array, draws: Int64Array) -> Estimate | None:
    """Sum of `values` [point] over the sum of `baseline` [point], minus 1."""
    total, before = (np.bincount(pair, part).astype(np.float64) for part in (values, baseline))
    ratio = ratio_estimate(total, before, draws)
    return None if ratio is None else Estimate(ratio.value - 1, ratio.low - 1, ratio.high - 1)


class Report(NamedTuple):
    """Metrics of every policy and stretch, median events to recover by policy, and the splice days they are from."""

    rows: list[StretchMetrics]
    events_to_recover: dict[str, float | None]
    splice_days: list[date]
    pairs: int


def report(events: pa.Table, settings: Settings, *, seed: int, on_progress: Callable[[str], None]) -> Report:
    """Evaluate the policies on the newest SPLICE_DAYS stretches of one segment, oldest first.

    For each splice day the candidate generators, the model and the shift classifier are trained on the days before.

    Args:
        events: clean_events of the segment.
        settings: Settings of the home.
        seed: Seed of training, splices and bootstrap.
        on_progress: Called with a description of each phase.

    Raises:
        NothingToEvaluate: No splice day has enough users and days before and after it.
    """
    from shift_assets.models.training.train import train

    policy_scores: list[PolicyScores] = []
    pairs = 0
    for splice_day in _splice_days(events["day"]):
        on_progress(f"splicing histories at {splice_day}")
        window = Window.of(events, splice_day - timedelta(days=1), settings.recommendations)
        shift_classifier = fit_shift_classifier(events, window, settings.recommendations, seed)
        spliced = splice_window(
            events, window, days=DAY_STRETCHES[-1][1], minimum_days=MINIMUM_DAYS, maximum_pairs=MAXIMUM_PAIRS, seed=seed
        )
        if shift_classifier is None or spliced is None:
            continue
        context = RecommendationContext(events, model=train(events, splice_day, settings.model, seed=seed).model)
        used = used_generators(context, settings)
        inputs = generator_inputs(context, window, settings, used)
        fitted, everything = fit_generators(inputs, used), np.arange(window.item_count)
        ranker = BlendedRanker(fitted, None, settings.recommendations, window, window, everything)
        policy_scores += score_policies(*spliced, ranker, shift_classifier, settings.adaptation)
        pairs += len(spliced[0].pair) // 2
        logger.info("scored the policies on %d spliced histories at %s", len(spliced[0].pair), splice_day)
    if not policy_scores:
        raise NothingToEvaluate(
            f"no day of the log has two users with {MINIMUM_DAYS} active days before it and an event after it, and "
            "enough of them to fit the shift classifier; land more days"
        )
    policies = dict.fromkeys(one.policy for one in policy_scores)
    return Report(
        metrics_by_stretch(policy_scores, samples=settings.outcomes.bootstrap_samples, seed=seed),
        {policy: events_to_recover(policy_scores, policy) for policy in policies},
        sorted({one.splice_day for one in policy_scores}),
        pairs,
    )


def _splice_days(days: pa.ChunkedArray) -> list[date]:
    """First days of the newest stretches as long as the longest one, or a quarter of a short log, oldest first.

    Each has at least as many days before it as the stretch is long.
    """
    busy = busy_days(days)
    span = timedelta(days=min(DAY_STRETCHES[-1][1], len(busy) // SHARE_OF_DAYS))
    end = busy[-1] + timedelta(days=1)
    splice_days = [end - span * number for number in range(SPLICE_DAYS, 0, -1)] if span else []
    return [day for day in splice_days if day - span * 2 >= busy[0]]


def _concatenate(parts: Sequence[PolicyScores]) -> PolicyScores:
    """The parts as one, with pair numbers that do not repeat between parts."""
    shift = np.concatenate(([0], np.cumsum([part.pair.max(initial=-1) + 1 for part in parts])))
    arrays = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("shifted", "events", "days", "recall", "ndcg")
    }
    pair = np.concatenate([part.pair + start for part, start in zip(parts, shift, strict=False)])
    first = parts[0]
    return PolicyScores(first.splice_day, first.serving, first.policy, pair=pair, **arrays)


def events_to_recover(policy_scores: Sequence[PolicyScores], policy: str) -> float | None:
    """Median number of events until a shifted user's live recommendations reach RECOVERY_LEVEL of the old recall.

    The old recall is the mean over the same user continued as itself, unadjusted; users with a recall of 0 are left
    out. Recovered are the first RECOVERY_EVENTS events in a row whose mean recall reaches the level. Users who do not
    recover are censored at their last event (Kaplan & Meier 1958). None where the median was not observed.
    """
    recovered: list[int] = []
    censored: list[int] = []
    live = {(one.splice_day, one.policy): one for one in policy_scores if one.serving == LIVE}
    for splice_day in dict.fromkeys(splice_day for splice_day, _ in live):
        baseline, scores = live[splice_day, UNADJUSTED], live[splice_day, policy]
        for pair in np.unique(scores.pair):
            own = (baseline.pair == pair) & ~baseline.shifted & ~np.isnan(baseline.recall)
            after = np.flatnonzero((scores.pair == pair) & scores.shifted & ~np.isnan(scores.recall))
            if not own.any() or baseline.recall[own].mean() == 0 or len(after) < RECOVERY_EVENTS:
                continue
            after = after[np.argsort(scores.events[after])]
            runs = np.convolve(scores.recall[after], np.full(RECOVERY_EVENTS, 1 / RECOVERY_EVENTS), mode="valid")
            reached = np.flatnonzero(runs >= RECOVERY_LEVEL * baseline.recall[own].mean())
            if len(reached):
                recovered.append(int(scores.events[after[reached[0] + RECOVERY_EVENTS - 1]]) + 1)
            else:
                censored.append(int(scores.events[after[-1]]) + 1)
    if not recovered:
        return None
    from scipy.stats import CensoredData, ecdf

    survival = ecdf(CensoredData(uncensored=recovered, right=censored)).sf
    below = np.flatnonzero(survival.probabilities <= 0.5)
    return float(survival.quantiles[below[0]]) if len(below) else None
