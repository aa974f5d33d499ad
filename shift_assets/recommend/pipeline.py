"""The lists of a day: sources fitted on the window, blended, and made into a list by each user's policy."""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from shift_assets.contracts.recommendations import RECOMMENDATIONS
from shift_assets.experiments.assignment import EXPLORING, Arm, Assignment, uniforms
from shift_assets.experiments.bandits import assign_arms
from shift_assets.experiments.exploration import EXPLORATION_GENERATOR, emerging, gain_matrix, trust, value_draws
from shift_assets.recommend.context import RecommendationContext, generator_inputs, used_generators
from shift_assets.recommend.exclusions import excluded_pairs, in_catalogue
from shift_assets.recommend.ranking.ranker import BlendedRanker, fit_generators
from shift_assets.recommend.reasons import Language, reason
from shift_assets.recommend.shift_adaptation.adapted_ranking import adapt_ranking
from shift_assets.recommend.shift_adaptation.interest_changes import (
    InterestChange,
    daily_shares_since,
    interest_changes,
)
from shift_assets.recommend.shift_adaptation.user_policies import UserPolicies
from shift_assets.recommend.slates import EXPLORED, ExplorationInputs, Slates, make_slates
from shift_assets.recommend.window import Window, blocks_of
from shift_assets.settings.root import Settings
from shift_assets.shift.alerts.lifecycle import opened_day


def recommend(context: RecommendationContext, day: date, segment: str, settings: Settings) -> pa.Table:
    """One list of at most `recommendations.k` items for every user active within `active_within_days`.

    Each user is dealt to an arm of the experiment, whose policy makes the list. Rows keep the contract of
    `recommendations`, sorted by its key; the order of the rows given does not matter.
    """
    # One thread: sums in another order would be other bytes.
    with threadpool_limits(limits=1, user_api="blas"):
        return _recommend(context, day, segment, settings)


def _recommend(context: RecommendationContext, day: date, segment: str, settings: Settings) -> pa.Table:
    wanted = settings.recommendations
    window = Window.of(context.events, day, wanted)
    sources = used_generators(context, settings)
    inputs = generator_inputs(context, window, settings, sources)
    fitted = fit_generators(inputs, sources)
    allowed = np.flatnonzero(in_catalogue(window, wanted.catalogue_days))
    if not fitted or not len(window.target_users) or not len(allowed):
        return RECOMMENDATIONS.empty()
    ranker = BlendedRanker(fitted, context.blend, wanted, window, allowed, excluded_pairs(window, wanted))
    user_ids = [window.sequences.users[user] for user in window.target_users]
    assignment = assign_arms(
        user_ids, segment, day, alerts=context.alerts, outcomes=context.outcomes, settings=settings.experiments
    )
    user_policies = UserPolicies.of(
        window,
        context.alerts,
        context.shift_classifier,
        assignment,
        settings=settings.reaction,
        rising_weight=wanted.rising_weight,
    )
    ranked = adapt_ranking(ranker.for_histories, window, user_policies.adaptation)
    exploration = _exploration_inputs(context, window, user_policies, assignment, day=day, settings=settings)
    positions = np.arange(len(window.target_users))
    blocks = [
        make_slates(
            ranked,
            window.target_users[part],
            window=window,
            allowed=allowed,
            user_policies=user_policies,
            vectors=inputs.content.vectors if inputs.content else None,
            exploration=None
            if exploration is None
            else ExplorationInputs(exploration.gains[part], exploration.values, exploration.random_draws[part]),
            settings=wanted,
        )
        for part in blocks_of(positions, len(allowed))
    ]
    slates = Slates(*(np.concatenate(parts) for parts in zip(*blocks, strict=True)))
    changes_by_user = interest_changes(window, user_policies.adaptation, user_policies.adjusts)
    return _table(
        window,
        slates,
        ranker.names,
        user_policies=user_policies,
        assignment=assignment,
        changes_by_user=changes_by_user,
        segment=segment,
        language=settings.alerts.language,
    )


def _exploration_inputs(
    context: RecommendationContext,
    window: Window,
    user_policies: UserPolicies,
    assignment: Assignment,
    *,
    day: date,
    settings: Settings,
) -> ExplorationInputs | None:
    """The lots of the listed users, held for those of an exploring arm; None where there are none."""
    slots = settings.experiments.exploration_slots
    exploring = np.array([Arm.of(name).policy == EXPLORING for name in assignment.arms])[assignment.arm]
    if not slots or not exploring.any():
        return None
    categories = window.vocabulary.categories
    user_ids = [window.sequences.users[user] for user in window.target_users]
    own = gain_matrix(
        [user_policies.open_alerts[n].gains if n in user_policies.open_alerts else {} for n in user_ids], categories
    )
    opened = {
        name: opened_day(name, alert.alert_id, alert.onset_day, day)
        for name, alert in user_policies.open_alerts.items()
    }
    since = daily_shares_since(window, [opened.get(name) for name in user_ids])
    trusted = trust(context.alerts, user_ids, categories, since)
    gains = emerging(own, trusted, context.segment_shifts, categories) * exploring[:, None]
    values = value_draws(context.outcomes, day, categories, settings.experiments, settings.seed)
    random_draws = uniforms(user_ids, f"{settings.experiments.name}/{day.isoformat()}/slots", slots)
    return ExplorationInputs(gains, values, random_draws)


def _table(
    window: Window,
    slates: Slates,
    names: tuple[str, ...],
    *,
    user_policies: UserPolicies,
    assignment: Assignment,
    changes_by_user: dict[int, InterestChange],
    segment: str,
    language: Language,
) -> pa.Table:
    rows, positions = np.nonzero(slates.items >= 0)
    items, sources, rising = (
        slates.items[rows, positions],
        slates.sources[rows, positions],
        slates.rising[rows, positions],
    )
    user_ids = [window.sequences.users[user] for user in window.target_users]
    source_names = [EXPLORATION_GENERATOR if source == EXPLORED else names[source] for source in sources.tolist()]
    categories = [
        window.vocabulary.categories[code - 1] if code else None
        for code in window.vocabulary.item_categories[items + 1].tolist()
    ]
    phrases = [
        reason(
            source,
            category,
            is_rising=is_rising,
            change=changes_by_user.get(int(window.target_users[row])),
            language=language,
        )
        for source, category, is_rising, row in zip(
            source_names, categories, rising.tolist(), rows.tolist(), strict=True
        )
    ]
    alert_ids = [
        user_policies.open_alerts[name].alert_id if name in user_policies.open_alerts else None for name in user_ids
    ]
    policies = pa.array(assignment.names, pa.string())
    table = pa.table(
        {
            "day": pa.repeat(pa.scalar(window.day, pa.date32()), len(rows)),
            "segment": pa.repeat(segment, len(rows)),
            "user_id": pa.array(user_ids, pa.string()).take(pa.array(rows)),
            "rank": pa.array(positions + 1),
            "item_id": pa.array(window.vocabulary.items, pa.string()).take(pa.array(items)),
            "score": pa.array(slates.scores[rows, positions]),
            "source": pa.array(source_names, pa.string()),
            "reason": pa.array(phrases, pa.string()),
            "alert_id": pa.array(alert_ids, pa.string()).take(pa.array(np.where(rising, rows, 0), mask=~rising)),
            "policy": policies.take(pa.array(rows)),
            "propensity": pa.array(slates.propensities[rows, positions]),
            "policy_propensity": pa.array(assignment.propensities).take(pa.array(rows)),
        }
    )
    return RECOMMENDATIONS.conform(table)
