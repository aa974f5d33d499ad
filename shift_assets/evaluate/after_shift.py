"""What lists are worth in the days after a shift, with and without reaction to it.

Nobody publishes this, so it is defined here, on histories that go on as another user's (`recommend.joined`). All
that is learnt is frozen on the days before the border, in which the other was a user like any. Two ways of serving:

- `live`: before every event, from all events before it.
- `nightly`: for a whole day, from all events of the days before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shift_assets.arrays import Float64Array, Int64Array
from shift_assets.contracts.day import day_number
from shift_assets.evaluate.ranking_tasks import LIST_LENGTH, NDCG_K, RankingTask, hits_at_k, top_k_items
from shift_assets.evaluate.temporal_split import SHARE_OF_DAYS, NothingToEvaluate, busy_days
from shift_assets.experiments.assignment import RECENCY_REWEIGHTED, SHIFT_ADJUSTED, UNADJUSTED
from shift_assets.models.data.sequences import RETURN
from shift_assets.models.metrics import ndcg_at_k, recall_at_k
from shift_assets.outcomes.estimates import Estimate, ratio_estimate, resamples
from shift_assets.recommend.candidates.registry import fit_generators
from shift_assets.recommend.context import RecommendationContext, generator_inputs, used_generators
from shift_assets.recommend.ranking.ranker import BlendedRanker
from shift_assets.recommend.shift_adaptation.adaptation import Adaptation
from shift_assets.recommend.shift_adaptation.shift_classifier import EventShares, ShiftClassifier, fit_shift_classifier
from shift_assets.recommend.shift_adaptation.spliced_histories import SplicedHistories, splice_histories
from shift_assets.recommend.window import Window
from shift_assets.settings.root import ReactionSettings, Settings

LIVE, NIGHTLY = "live", "nightly"
KNOWN_START = "known_start"
"""The shift and its day given away: what a perfect detector would make of the same reaction."""
EVENT_STRETCHES = ((0, 5), (5, 15), (15, 30))
DAY_STRETCHES = ((0, 3), (3, 7), (7, 14))
RECOVERY_LEVEL = 0.9
"""Part of its own level from which a user's lists count as recovered."""
RECOVERY_EVENTS = 5
BORDERS = 4
MINIMUM_DAYS = 4
MAXIMUM_PAIRS = 150


class EvaluationPoints(NamedTuple):
    """Moments at which a list is judged: `task` with one history per look, and where it stands after the border.

    `case[look]` is the user of the cases, `events[look]` the number of its events since the border before the look,
    `days[look]` the days since the border.
    """

    task: RankingTask
    case: Int64Array
    events: Int64Array
    days: Int64Array


def looks(cases: SplicedHistories, serving: str, log: Window) -> EvaluationPoints:
    """Every judged moment of the cases: of each user the first events, or days, that the windows cover."""
    sequences, owners = cases.window.sequences, cases.window.owners
    first = cases.first_event
    if serving == LIVE:
        _, events = cases.prediction_points(EVENT_STRETCHES[-1][1])
        ends = events
    else:
        since = sequences.days - day_number(cases.border)
        events = np.flatnonzero((since >= 0) & (since < DAY_STRETCHES[-1][1]) & (sequences.behaviors != RETURN))
        visits = cases.window.visits
        ends = np.flatnonzero(np.diff(visits, prepend=-1))[visits[events]]
    prediction_points, look = np.unique(ends, return_inverse=True)
    user = owners[prediction_points]
    pairs = np.unique(np.stack([look, sequences.items[events] - 1]), axis=1)
    task = RankingTask(
        window=cases.window.prefixes(user, prediction_points),
        allowed=np.arange(cases.window.item_count),
        owners=pairs[0],
        items=pairs[1],
        log=log,
    )
    return EvaluationPoints(
        task, user, prediction_points - first[user], sequences.days[prediction_points] - day_number(cases.border)
    )


class PolicyScores(NamedTuple):
    """What the lists of one policy were worth at every look of one border's cases."""

    border: date
    serving: str
    policy: str
    shifted: npt.NDArray[np.bool_]
    pair: Int64Array
    events: Int64Array
    days: Int64Array
    recall: Float64Array
    ndcg: Float64Array


def score_policies(
    cases: SplicedHistories, mixer: BlendedRanker, gate: ShiftClassifier, reaction: ReactionSettings
) -> Iterator[PolicyScores]:
    """Every policy, served live and nightly, at every look; nan for a look whose labels no list could hold."""
    for serving in (LIVE, NIGHTLY):
        found = looks(cases, serving, mixer.log)
        window = found.task.window
        shift_log_odds, since = gate.log_odds(window, EventShares.of(mixer.log))
        shifted = cases.shifted[found.case]
        true_start = np.full(len(shift_log_odds), day_number(cases.border))
        certain = np.where(shifted & (found.events > 0), 1.0, 0.0).astype(np.float32)
        reactions = {
            UNADJUSTED: None,
            RECENCY_REWEIGHTED: Adaptation.to_newest(window, reaction.newest_events),
            SHIFT_ADJUSTED: Adaptation.of(shift_log_odds, since, window.today, reaction),
            KNOWN_START: Adaptation(certain, true_start),
        }
        for policy, adaptation in reactions.items():
            recall, ndcg = _metrics_of(mixer, found, adaptation)
            yield PolicyScores(
                cases.border, serving, policy, shifted, cases.pair[found.case], found.events, found.days, recall, ndcg
            )


def _metrics_of(
    mixer: BlendedRanker, found: EvaluationPoints, reaction: Adaptation | None
) -> tuple[Float64Array, Float64Array]:
    """recall@20 and NDCG@10 [look]."""
    task = found.task
    ranker = replace(mixer, histories=task.window, adaptation=reaction)

    def scorer(users: Int64Array) -> npt.NDArray[np.float32]:
        return ranker.score(users).scores

    users = task.users
    hits, relevant = hits_at_k(top_k_items(scorer, task, users, LIST_LENGTH), task, users)
    values = np.full((2, len(found.case)), np.nan)
    values[0, users], values[1, users] = recall_at_k(hits, relevant), ndcg_at_k(hits[:, :NDCG_K], relevant)
    return values[0], values[1]


class StretchMetrics(NamedTuple):
    """A policy over a stretch after the shift, `first` to before `last` in `unit`; stable users: all their looks.

    `recall_at_20` and `ndcg_at_10` are means over looks; the gains are relative to the unadjusted policy on the same
    looks, with 95 % intervals from resampled pairs of users.
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
    """The policies over every stretch, all borders together; one `PolicyScores` per border, serving and policy."""

    def gain(
        values: Float64Array, plain: Float64Array, pair: Int64Array, inside: npt.NDArray[np.bool_]
    ) -> Estimate | None:
        """Sum of `values` over that of `plain`, less one."""
        pairs, number = np.unique(pair[inside], return_inverse=True)
        total, before = (np.bincount(number, part[inside]).astype(np.float64) for part in (values, plain))
        found = ratio_estimate(total, before, resamples(len(pairs), samples, seed))
        return None if found is None else Estimate(found.value - 1, found.low - 1, found.high - 1)

    rows = []
    for serving in (LIVE, NIGHTLY):
        by_policy = {
            policy: _concatenated([one for one in policy_scores if (one.serving, one.policy) == (serving, policy)])
            for policy in dict.fromkeys(one.policy for one in policy_scores)
        }
        plain = by_policy[UNADJUSTED]
        for policy, found in by_policy.items():
            stretches = [
                *(
                    ("shifted", "events", stretch, found.events)
                    for stretch in (*EVENT_STRETCHES, (0, EVENT_STRETCHES[1][1]))
                ),
                *(("shifted", "days", stretch, found.days) for stretch in DAY_STRETCHES),
                ("stable", "days", (0, DAY_STRETCHES[-1][1]), found.days),
            ]
            for users, unit, (first, last), place in stretches:
                inside = (place >= first) & (place < last) & (found.shifted == (users == "shifted"))
                inside &= ~np.isnan(found.recall)
                if inside.any():
                    rows.append(
                        StretchMetrics(
                            *(serving, policy, users, unit, first, last, int(inside.sum())),
                            recall_at_20=float(found.recall[inside].mean()),
                            ndcg_at_10=float(found.ndcg[inside].mean()),
                            recall_gain=gain(found.recall, plain.recall, found.pair, inside),
                            ndcg_gain=gain(found.ndcg, plain.ndcg, found.pair, inside),
                        )
                    )
    return rows


class Report(NamedTuple):
    """Every policy over every stretch, the median events to recover by policy, and the borders it is from."""

    rows: list[StretchMetrics]
    events_to_recover: dict[str, float | None]
    borders: list[date]
    pairs: int


def report(events: pa.Table, settings: Settings, *, seed: int, on_progress: Callable[[str], None]) -> Report:
    """Judge the policies on the newest BORDERS stretches of one segment's `events`, oldest first.

    At each border the sources, the model and the gate are learnt anew from the days before.

    Raises NothingToJudge where no border has users and days enough.
    """
    from shift_assets.models.training.train import train

    wanted = settings.recommendations
    policy_scores: list[PolicyScores] = []
    pairs = 0
    for border in _borders(events["day"]):
        on_progress(f"histories that go on as another's from {border}")
        window = Window.of(events, border - timedelta(days=1), wanted)
        gate = fit_shift_classifier(events, window, wanted, seed)
        cases = splice_histories(
            events, window, days=DAY_STRETCHES[-1][1], minimum_days=MINIMUM_DAYS, maximum_pairs=MAXIMUM_PAIRS, seed=seed
        )
        if gate is None or cases is None:
            continue
        model = train(events, border, settings.model, seed=seed).model
        known = RecommendationContext(events, model=model)
        used = used_generators(known, settings)
        inputs = generator_inputs(known, window, settings, used)
        fitted = fit_generators(inputs, used)
        mixer = BlendedRanker(fitted, None, wanted, window, window, np.arange(window.item_count))
        policy_scores += score_policies(cases, mixer, gate, settings.reaction)
        pairs += len(cases.shifted) // 2
    if not policy_scores:
        raise NothingToEvaluate("no stretch of the log has users enough with days before and after it")
    policies = dict.fromkeys(one.policy for one in policy_scores)
    return Report(
        metrics_by_stretch(policy_scores, samples=settings.outcomes.bootstrap_samples, seed=seed),
        {policy: events_to_recover(policy_scores, policy) for policy in policies},
        sorted({one.border for one in policy_scores}),
        pairs,
    )


def _borders(days: pa.ChunkedArray) -> list[date]:
    """First days of the newest stretches of DAYS' length, a fourth of a short log each, with as much before."""
    busy = busy_days(days)
    span = timedelta(days=min(DAY_STRETCHES[-1][1], len(busy) // SHARE_OF_DAYS))
    end = busy[-1] + timedelta(days=1)
    borders = [end - span * number for number in range(BORDERS, 0, -1)] if span else []
    return [border for border in borders if border - span * 2 >= busy[0]]


def _concatenated(parts: Sequence[PolicyScores]) -> PolicyScores:
    """The parts as one; their pairs are told apart."""
    shift = np.concatenate(([0], np.cumsum([part.pair.max(initial=-1) + 1 for part in parts])))
    joined = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("shifted", "events", "days", "recall", "ndcg")
    }
    pair = np.concatenate([part.pair + start for part, start in zip(parts, shift, strict=False)])
    first = parts[0]
    return PolicyScores(border=first.border, serving=first.serving, policy=first.policy, pair=pair, **joined)


def events_to_recover(policy_scores: Sequence[PolicyScores], policy: str) -> float | None:
    """Median events until a shifted user's lists, served live, are worth LEVEL of what they were.

    What they were: the mean recall of the same user going on as itself, unadjusted; users without any are left out.
    Recovered is the first RUN events whose mean recall reaches it; who never does counts as not seen until the last
    event (Kaplan & Meier 1958). None where the median is beyond what was seen.
    """
    recovered: list[int] = []
    censored: list[int] = []
    live = {(one.border, one.policy): one for one in policy_scores if one.serving == LIVE}
    for border in dict.fromkeys(border for border, _ in live):
        plain, one = live[border, UNADJUSTED], live[border, policy]
        for pair in np.unique(one.pair):
            own = (plain.pair == pair) & ~plain.shifted & ~np.isnan(plain.recall)
            after = np.flatnonzero((one.pair == pair) & one.shifted & ~np.isnan(one.recall))
            if not own.any() or plain.recall[own].mean() == 0 or len(after) < RECOVERY_EVENTS:
                continue
            after = after[np.argsort(one.events[after])]
            runs = np.convolve(one.recall[after], np.full(RECOVERY_EVENTS, 1 / RECOVERY_EVENTS), mode="valid")
            reached = np.flatnonzero(runs >= RECOVERY_LEVEL * plain.recall[own].mean())
            if len(reached):
                recovered.append(int(one.events[after[reached[0] + RECOVERY_EVENTS - 1]]) + 1)
            else:
                censored.append(int(one.events[after[-1]]) + 1)
    if not recovered:
        return None
    from scipy.stats import CensoredData, ecdf

    survival = ecdf(CensoredData(uncensored=recovered, right=censored)).sf
    below = np.flatnonzero(survival.probabilities <= 0.5)
    return float(survival.quantiles[below[0]]) if len(below) else None
