"""The lists of a day: sources fitted on the window, blended, pulled for alerted users, cut to k places."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shift_assets import contracts
from shift_assets.models.ranking import best_columns
from shift_assets.models.sequences import Integers
from shift_assets.recommend.blend import blend, normalised, pull_to_rising
from shift_assets.recommend.reasons import Language, reason
from shift_assets.recommend.rules import excluded_pairs, in_catalogue
from shift_assets.recommend.source import Inputs, Scorer
from shift_assets.recommend.sources import SOURCES
from shift_assets.recommend.window import Floats, Window
from shift_assets.settings import RecommendationSettings

if TYPE_CHECKING:
    from shift_assets.models.scoring import InterestModel

UNADJUSTED, SHIFT_ADJUSTED = "unadjusted", "shift_adjusted"
PROPENSITY = 1.0
"""The policies here are deterministic: what stands in a list was shown there with certainty."""
BLOCK_VALUES = 2**21
"""Scores of a block of users held per source at once: 8 MiB."""


class Alarm(NamedTuple):
    """A user's open alarm: its id and the gained share of every rising category, over the largest (0..1)."""

    alert_id: str
    gains: dict[str, float]


class _Lists(NamedTuple):
    """The best places of a block of users, [user, place]; `source` indexes the sources, item -1 is no item.

    `adjusted[user]`: an alarm pulled the list.
    """

    items: Integers
    scores: Floats
    source: Integers
    rising: npt.NDArray[np.bool_]
    adjusted: npt.NDArray[np.bool_]


def recommend(
    events_window: pa.Table,
    day: date,
    segment: str,
    *,
    model: InterestModel | None,
    alerts_of_day: pa.Table,
    settings: RecommendationSettings,
    language: Language = "en",
) -> pa.Table:
    """One list of at most `settings.k` items for every user active within `settings.active_within_days`.

    `events_window` holds clean_events up to and with `day` (later and older rows are ignored), `alerts_of_day`
    the shift_alerts of the day: alarms opened or continued pull their users' lists to what rises. Without a
    model the other sources make the lists. Rows keep the contract of `recommendations`, sorted by its key; the
    order of the rows given does not matter.
    """
    window = Window.of(events_window, day, settings)
    inputs = Inputs(window, settings, model)
    weights = {
        name: weight
        for name, weight in settings.weights.items()
        if weight > 0 and (model is not None or not SOURCES[name].needs_model)
    }
    allowed = np.flatnonzero(in_catalogue(window, settings.catalogue_days))
    if not weights or not len(window.listed) or not len(allowed):
        return contracts.RECOMMENDATIONS.empty()
    alarms = open_alarms(alerts_of_day)
    total = sum(weights.values())
    scorers = [(SOURCES[name].fit(inputs)(window), weight / total) for name, weight in weights.items()]
    blocks = [
        _lists(window, users, allowed, scorers=scorers, alarms=alarms, settings=settings)
        for users in np.array_split(window.listed, -(-len(window.listed) * len(allowed) // BLOCK_VALUES))
    ]
    lists = _Lists(*(np.concatenate(parts) for parts in zip(*blocks, strict=True)))
    return _table(window, lists, list(weights), alarms=alarms, segment=segment, language=language)


def open_alarms(alerts: pa.Table) -> dict[str, Alarm]:
    """Per user the open alarm with something rising; of several the one of largest magnitude."""
    alarms: dict[str, Alarm] = {}
    rows = alerts.select(["user_id", "alert_id", "status", "magnitude", "rising"]).to_pylist()
    for row in sorted(rows, key=lambda r: (r["magnitude"], r["alert_id"])):
        gains = {c["category"]: c["share_after"] - c["share_before"] for c in row["rising"]}
        largest = max(gains.values(), default=0.0)
        if row["status"] != "closed" and largest > 0:
            alarms[row["user_id"]] = Alarm(row["alert_id"], {c: max(g, 0.0) / largest for c, g in gains.items()})
    return alarms


def _lists(
    window: Window,
    users: Integers,
    allowed: Integers,
    *,
    scorers: list[tuple[Scorer, float]],
    alarms: Mapping[str, Alarm],
    settings: RecommendationSettings,
) -> _Lists:
    """The lists of one block of `users`."""
    excluded = _excluded_in_block(window, users, allowed, settings)
    shares = []
    for scorer, weight in scorers:
        scores = scorer(users)[:, allowed]
        scores[excluded] = 0
        shares.append(weight * normalised(scores))
    blended = blend(shares)
    gains = _gains(window, users, allowed, alarms)
    adjusted = np.asarray(((gains > 0) & (blended > 0)).any(axis=1))
    alerted = np.flatnonzero(adjusted)
    blended[alerted] = pull_to_rising(blended[alerted], gains[alerted], settings.rising_weight)
    best, values = best_columns(blended, settings.k)
    contributions = np.stack([np.take_along_axis(share, best, axis=1) for share in shares])
    return _Lists(
        np.where(values > 0, allowed[best], -1),
        values,
        contributions.argmax(axis=0),
        np.take_along_axis(gains, best, axis=1) > 0,
        adjusted,
    )


def _excluded_in_block(
    window: Window, users: Integers, allowed: Integers, settings: RecommendationSettings
) -> tuple[Integers, Integers]:
    """Excluded pairs as rows of `users` and columns of `allowed`."""
    owners, items = excluded_pairs(window, settings)
    column = np.full(window.item_count, -1)
    column[allowed] = np.arange(len(allowed))
    row = np.full(len(window.sequences.users), -1)
    row[users] = np.arange(len(users))
    inside = (row[owners] >= 0) & (column[items] >= 0)
    return row[owners[inside]], column[items[inside]]


def _gains(window: Window, users: Integers, allowed: Integers, alarms: Mapping[str, Alarm]) -> Floats:
    """Gain [user, item] in 0..1 of the item's category for users with an open alarm; 0 for the others."""
    place = {category: code for code, category in enumerate(window.vocabulary.categories, start=1)}
    by_category = np.zeros((len(users), len(place) + 1), dtype=np.float32)
    for row, user in enumerate(users):
        alarm = alarms.get(window.sequences.users[user])
        for category, gain in alarm.gains.items() if alarm else ():
            by_category[row, place.get(category, 0)] = gain
    by_category[:, 0] = 0
    return np.asarray(by_category[:, window.vocabulary.item_categories[allowed + 1]])


def _table(
    window: Window,
    lists: _Lists,
    names: list[str],
    *,
    alarms: Mapping[str, Alarm],
    segment: str,
    language: Language,
) -> pa.Table:
    rows, places = np.nonzero(lists.items >= 0)
    items, sources, rising = lists.items[rows, places], lists.source[rows, places], lists.rising[rows, places]
    listed = [window.sequences.users[user] for user in window.listed]
    categories = window.vocabulary.item_categories[items + 1]
    phrase_keys = np.where(rising, categories, 0) * len(names) + sources
    distinct, phrase = np.unique(phrase_keys, return_inverse=True)
    phrases = [
        reason(
            names[key % len(names)],
            window.vocabulary.categories[key // len(names) - 1] if key >= len(names) else None,
            language,
        )
        for key in distinct.tolist()
    ]
    alert_ids = pa.array([alarms[user].alert_id if user in alarms else None for user in listed], pa.string())
    policies = pa.array(np.where(lists.adjusted, SHIFT_ADJUSTED, UNADJUSTED), pa.string())
    table = pa.table(
        {
            "day": pa.repeat(pa.scalar(window.day, pa.date32()), len(rows)),
            "segment": pa.repeat(segment, len(rows)),
            "user_id": pa.array(listed, pa.string()).take(pa.array(rows)),
            "rank": pa.array(places + 1),
            "item_id": pa.array(window.vocabulary.items, pa.string()).take(pa.array(items)),
            "score": pa.array(lists.scores[rows, places]),
            "source": pa.array(names, pa.string()).take(pa.array(sources)),
            "reason": pa.array(phrases, pa.string()).take(pa.array(phrase)),
            "alert_id": alert_ids.take(pa.array(np.where(rising, rows, 0), mask=~rising)),
            "policy": policies.take(pa.array(rows)),
            "propensity": pa.repeat(PROPENSITY, len(rows)),
        }
    )
    return contracts.RECOMMENDATIONS.conform(table)
