"""A day's recommendations: fitted generators, blended, and turned into slates by each user's policy."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import date

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from shift_assets.arrays import BoolArray, Int64Array
from shift_assets.contracts.recommendations import RECOMMENDATIONS
from shift_assets.experiments.assignment import EXPLORING, Arm, Assignment, uniforms
from shift_assets.experiments.bandits import assign_arms
from shift_assets.experiments.exploration import (
    EXPLORATION_GENERATOR,
    ExplorationInputs,
    emerging,
    gain_matrix,
    trust,
    value_draws,
)
from shift_assets.recommend.candidates.base import Language
from shift_assets.recommend.candidates.registry import fit_generators
from shift_assets.recommend.context import RecommendationContext, generator_inputs, used_generators
from shift_assets.recommend.exclusions import excluded_pairs, in_catalogue
from shift_assets.recommend.ranking.ranker import BlendedRanker
from shift_assets.recommend.reasons import reason
from shift_assets.recommend.shift_adaptation.interest_changes import (
    InterestChange,
    daily_shares_since,
    interest_changes,
)
from shift_assets.recommend.shift_adaptation.user_policies import UserPolicies
from shift_assets.recommend.slates import EXPLORED, Slates, make_slates
from shift_assets.recommend.window import Window
from shift_assets.settings.root import Settings
from shift_assets.shift.alerts.lifecycle import opened_day

_log = logging.getLogger(__name__)


def recommend(context: RecommendationContext, day: date, segment: str, settings: Settings) -> pa.Table:
    """Recommend at most `recommendations.k` items to every user active within `active_within_days`.

    Each user is assigned to an arm of the experiment, whose policy makes the slate.

    Args:
        context: Facts of the day; the order of its rows does not matter.
        day: Last day that is known.
        segment: Segment of the events.
        settings: Settings of the installation.

    Returns:
        Rows of `recommendations`, sorted by its key.
    """
    started = time.perf_counter()
    # One thread: the order of sums decides the last bits.
    with threadpool_limits(limits=1, user_api="blas"):
        rows = _recommend(context, day, segment, settings)
    _log.info("recommendations of %s on %s: %d rows in %.1f s", segment, day, len(rows), time.perf_counter() - started)
    return rows


def _recommend(context: RecommendationContext, day: date, segment: str, settings: Settings) -> pa.Table:
    wanted = settings.recommendations
    window = Window.of(context.events, day, wanted)
    names = used_generators(context, settings)
    inputs = generator_inputs(context, window, settings, names)
    fitted = fit_generators(inputs, names)
    allowed = np.flatnonzero(in_catalogue(window, wanted.catalogue_days))
    if not fitted or not len(window.target_users) or not len(allowed):
        return RECOMMENDATIONS.empty()
    assignment = assign_arms(
        window.target_user_ids,
        segment,
        day,
        alerts=context.alerts,
        outcomes=context.outcomes,
        settings=settings.experiments,
    )
    policies = UserPolicies.of(
        window,
        context.alerts,
        context.shift_classifier,
        assignment,
        settings=settings.adaptation,
        rising_weight=settings.adaptation.rising_weight,
    )
    ranker = BlendedRanker(
        fitted,
        context.blend,
        wanted,
        log=window,
        histories=window,
        allowed=allowed,
        excluded=excluded_pairs(window, wanted),
        adaptation=policies.adaptation,
    )
    slates = make_slates(
        ranker,
        policies,
        vectors=inputs.content.vectors if inputs.content else None,
        exploration=_exploration(context, window, policies, assignment, settings),
    )
    return _table(
        window, slates, ranker.names, policies, assignment, segment=segment, language=settings.alerts.language
    )


def _exploration(
    context: RecommendationContext,
    window: Window,
    policies: UserPolicies,
    assignment: Assignment,
    settings: Settings,
) -> ExplorationInputs | None:
    """What exploration draws from, for the target users of an exploring arm; None where there are none."""
    experiment = settings.experiments
    exploring = np.array([Arm.of(name).policy == EXPLORING for name in assignment.arms])[assignment.arm]
    if not experiment.exploration_slots or not exploring.any():
        return None
    users, categories, alerts = window.target_user_ids, window.vocabulary.categories, policies.open_alerts
    opened = [
        opened_day(user, alerts[user].alert_id, alerts[user].onset_day, window.day) if user in alerts else None
        for user in users
    ]
    trusted = trust(context.alerts, users, categories, daily_shares_since(window, opened))
    own = gain_matrix([alerts[user].gains if user in alerts else {} for user in users], categories)
    return ExplorationInputs(
        emerging(own, trusted, context.segment_shifts, categories) * exploring[:, None],
        value_draws(context.outcomes, window.day, categories, experiment, settings.seed),
        uniforms(users, f"{experiment.name}/{window.day.isoformat()}/slots", experiment.exploration_slots),
    )


def _table(
    window: Window,
    slates: Slates,
    names: Sequence[str],
    policies: UserPolicies,
    assignment: Assignment,
    *,
    segment: str,
    language: Language,
) -> pa.Table:
    """The slates as rows of `recommendations`; `names` are those that their generators index."""
    rows, positions = np.nonzero(slates.items >= 0)
    items, rising = slates.items[rows, positions], slates.rising[rows, positions]
    generators = [
        EXPLORATION_GENERATOR if generator == EXPLORED else names[generator]
        for generator in slates.generators[rows, positions].tolist()
    ]
    users, row = window.target_user_ids, pa.array(rows)
    alert_ids = [policies.open_alerts[user].alert_id if user in policies.open_alerts else None for user in users]
    change_of = interest_changes(window, policies.adaptation, policies.adjusts)
    changes = [change_of.get(user) for user in window.target_users[rows].tolist()]
    table = pa.table(
        {
            "day": pa.repeat(pa.scalar(window.day, pa.date32()), len(rows)),
            "segment": pa.repeat(segment, len(rows)),
            "user_id": pa.array(users, pa.string()).take(row),
            "rank": pa.array(positions + 1),
            "item_id": pa.array(window.vocabulary.items, pa.string()).take(pa.array(items)),
            "score": pa.array(slates.scores[rows, positions]),
            "source": pa.array(generators, pa.string()),
            "reason": pa.array(_reasons(window, items, generators, rising, changes, language=language), pa.string()),
            "alert_id": pa.array(alert_ids, pa.string()).take(pa.array(np.where(rising, rows, 0), mask=~rising)),
            "policy": pa.array(assignment.names, pa.string()).take(row),
            "propensity": pa.array(slates.propensities[rows, positions]),
            "policy_propensity": pa.array(assignment.propensities).take(row),
        }
    )
    return RECOMMENDATIONS.conform(table)


def _reasons(
    window: Window,
    items: Int64Array,
    generators: Sequence[str],
    rising: BoolArray,
    changes: Sequence[InterestChange | None],
    *,
    language: Language,
) -> list[str]:
    """The phrase [recommended item] for a person."""
    codes = window.vocabulary.item_categories[items + 1].tolist()
    categories = [window.vocabulary.categories[code - 1] if code else None for code in codes]
    return [
        reason(generator, category, is_rising=is_rising, change=change, language=language)
        for generator, category, is_rising, change in zip(generators, categories, rising.tolist(), changes, strict=True)
    ]
