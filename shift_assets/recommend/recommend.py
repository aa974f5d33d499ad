"""The lists of a day: sources fitted on the window, blended, and made into a list by each user's policy."""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from shift_assets import contracts
from shift_assets.policies.assignment import EXPLORING, Arm, Assignment, uniforms
from shift_assets.policies.bandits import deal
from shift_assets.policies.exploration import SOURCE, emerging, gain_matrix, trust, value_draws
from shift_assets.recommend.changes import Change, changes, daily_shares_since
from shift_assets.recommend.known import Known, inputs_of, sources_of
from shift_assets.recommend.lists import BY_LOT, Lists, Lot, make_lists
from shift_assets.recommend.mixing import Mixer, fit_sources, leaning
from shift_assets.recommend.reasons import Language, reason
from shift_assets.recommend.rules import excluded_pairs, in_catalogue
from shift_assets.recommend.treatment import Treatment
from shift_assets.recommend.window import Window, blocks_of
from shift_assets.settings import Settings
from shift_assets.shift.episodes import opened_day


def recommend(known: Known, day: date, segment: str, settings: Settings) -> pa.Table:
    """One list of at most `recommendations.k` items for every user active within `active_within_days`.

    Each user is dealt to an arm of the experiment, whose policy makes the list. Rows keep the contract of
    `recommendations`, sorted by its key; the order of the rows given does not matter.
    """
    # One thread: sums in another order would be other bytes.
    with threadpool_limits(limits=1, user_api="blas"):
        return _recommended(known, day, segment, settings)


def _recommended(known: Known, day: date, segment: str, settings: Settings) -> pa.Table:
    wanted = settings.recommendations
    window = Window.of(known.events, day, wanted)
    sources = sources_of(known, settings)
    inputs = inputs_of(known, window, settings, sources)
    fitted = fit_sources(inputs, sources)
    allowed = np.flatnonzero(in_catalogue(window, wanted.catalogue_days))
    if not fitted or not len(window.listed) or not len(allowed):
        return contracts.RECOMMENDATIONS.empty()
    mixer = Mixer(fitted, known.blend, wanted, window, allowed, excluded_pairs(window, wanted))
    listed = [window.sequences.users[user] for user in window.listed]
    dealt = deal(listed, segment, day, alerts=known.alerts, outcomes=known.outcomes, settings=settings.experiments)
    treatment = Treatment.of(
        window, known.alerts, known.gate, dealt, settings=settings.reaction, rising_weight=wanted.rising_weight
    )
    ranked = leaning(mixer.on, window, treatment.reaction)
    lot = _lot(known, window, treatment, dealt, day=day, settings=settings)
    places = np.arange(len(window.listed))
    blocks = [
        make_lists(
            ranked,
            window.listed[part],
            window=window,
            allowed=allowed,
            treatment=treatment,
            vectors=inputs.content.vectors if inputs.content else None,
            lot=None if lot is None else Lot(lot.gains[part], lot.values, lot.chances[part]),
            settings=wanted,
        )
        for part in blocks_of(places, len(allowed))
    ]
    lists = Lists(*(np.concatenate(parts) for parts in zip(*blocks, strict=True)))
    told = changes(window, treatment.reaction, treatment.adjusts)
    return _table(
        window,
        lists,
        mixer.names,
        treatment=treatment,
        dealt=dealt,
        told=told,
        segment=segment,
        language=settings.alerts.language,
    )


def _lot(
    known: Known, window: Window, treatment: Treatment, dealt: Assignment, *, day: date, settings: Settings
) -> Lot | None:
    """The lots of the listed users, held for those of an exploring arm; None where there are none."""
    slots = settings.experiments.exploration_slots
    exploring = np.array([Arm.of(name).policy == EXPLORING for name in dealt.arms])[dealt.arm]
    if not slots or not exploring.any():
        return None
    categories = window.vocabulary.categories
    listed = [window.sequences.users[user] for user in window.listed]
    own = gain_matrix([treatment.alarms[n].gains if n in treatment.alarms else {} for n in listed], categories)
    opened = {name: opened_day(name, alarm.alert_id, alarm.onset_day, day) for name, alarm in treatment.alarms.items()}
    since = daily_shares_since(window, [opened.get(name) for name in listed])
    trusted = trust(known.alerts, listed, categories, since)
    gains = emerging(own, trusted, known.segment_shifts, categories) * exploring[:, None]
    values = value_draws(known.outcomes, day, categories, settings.experiments, settings.seed)
    chances = uniforms(listed, f"{settings.experiments.name}/{day.isoformat()}/slots", slots)
    return Lot(gains, values, chances)


def _table(
    window: Window,
    lists: Lists,
    names: tuple[str, ...],
    *,
    treatment: Treatment,
    dealt: Assignment,
    told: dict[int, Change],
    segment: str,
    language: Language,
) -> pa.Table:
    rows, places = np.nonzero(lists.items >= 0)
    items, sources, rising = lists.items[rows, places], lists.sources[rows, places], lists.rising[rows, places]
    listed = [window.sequences.users[user] for user in window.listed]
    source_names = [SOURCE if source == BY_LOT else names[source] for source in sources.tolist()]
    categories = [
        window.vocabulary.categories[code - 1] if code else None
        for code in window.vocabulary.item_categories[items + 1].tolist()
    ]
    phrases = [
        reason(source, category, is_rising=is_rising, change=told.get(int(window.listed[row])), language=language)
        for source, category, is_rising, row in zip(
            source_names, categories, rising.tolist(), rows.tolist(), strict=True
        )
    ]
    alert_ids = [treatment.alarms[name].alert_id if name in treatment.alarms else None for name in listed]
    policies = pa.array(dealt.names, pa.string())
    table = pa.table(
        {
            "day": pa.repeat(pa.scalar(window.day, pa.date32()), len(rows)),
            "segment": pa.repeat(segment, len(rows)),
            "user_id": pa.array(listed, pa.string()).take(pa.array(rows)),
            "rank": pa.array(places + 1),
            "item_id": pa.array(window.vocabulary.items, pa.string()).take(pa.array(items)),
            "score": pa.array(lists.scores[rows, places]),
            "source": pa.array(source_names, pa.string()),
            "reason": pa.array(phrases, pa.string()),
            "alert_id": pa.array(alert_ids, pa.string()).take(pa.array(np.where(rising, rows, 0), mask=~rising)),
            "policy": policies.take(pa.array(rows)),
            "propensity": pa.array(lists.propensities[rows, places]),
            "policy_propensity": pa.array(dealt.propensities).take(pa.array(rows)),
        }
    )
    return contracts.RECOMMENDATIONS.conform(table)
