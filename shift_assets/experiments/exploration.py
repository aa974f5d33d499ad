"""The places of an exploring list that are drawn by lot, among the interests that may be emerging.

Emerging are the categories that rose in a user's alarm, weighed by how far the days since bear the alarm out
(`trust`), and those that rise in the user's segment. The candidates of a user are dealt over the slots, best first,
so that no slot's lot depends on another's and the odds of every item at its place are exact:

- with `KEEP_PROBABILITY` the list keeps the item that it had there, so that lists made without lot are among the
possible ones;
- with `UNIFORM_PROBABILITY` any candidate of the slot, all alike;
- else the candidate that is best under one posterior draw of what places of each category earned so far (Thompson
  sampling): its odds are the share of the draws under which it is.

A false alarm heals: days that look like the old profile take the trust below a half, and the risen categories are no
longer explored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.arrays import BoolArray, Float64Array, Int64Array
from shift_assets.settings.root import ExperimentSettings

EXPLORATION_GENERATOR = "exploration"
"""Candidate source, in `recommendations`, of an item that a lot put into a list; a kept one keeps its own."""
KEEP_PROBABILITY = 0.2
UNIFORM_PROBABILITY = 0.2
SEGMENT_GAIN = 0.5
"""Gain of the category that rises most in the segment, over that of the one that rose most in the user's alarm."""
MAXIMUM_CANDIDATES = 6
"""Emerging categories that a slot draws among, at most."""
POSTERIOR_DRAWS = 64
"""Posterior draws behind the lots of one day."""
SMOOTHING = 0.01
"""Added to shares before their logarithm is taken: no single day proves a taste impossible."""
TRUST_THRESHOLD = 0.5


class Explored(NamedTuple):
    """Lists with their places drawn, [user, place]: items, odds of standing there, and whether a lot was held.

    A drawn place that kept its item has its odds below 1, too.
    """

    items: Int64Array
    propensities: Float64Array
    drawn: BoolArray


def trust(alerts: pa.Table, users: Sequence[str], categories: Sequence[str], since: Float64Array) -> Float64Array:
    """Posterior [user] that the new profile of the user's open alarm holds; 0 without an open alarm.

    `alerts` holds `shift_alerts` of the day; of several open alarms of a user the largest is judged. `since[user,
    category]` sums the shares of the user's active days after the alarm opened. A day speaks with the logarithm of
    share after over share before; categories that the alarm does not list share what it leaves. The confidence of the
    alarm is the prior odds: an alarm without one starts at even odds.
    """
    position, column = {user: at for at, user in enumerate(users)}, {name: at for at, name in enumerate(categories)}
    found = np.zeros(len(users))
    rows = alerts.select(["user_id", "alert_id", "status", "magnitude", "confidence", "rising", "falling"]).to_pylist()
    for row in sorted(rows, key=lambda alert: (alert["magnitude"], alert["alert_id"])):
        moved = [change for change in (*row["rising"], *row["falling"]) if change["category"] in column]
        if row["status"] == "closed" or row["user_id"] not in position or not moved:
            continue
        before = np.array([change["share_before"] for change in moved])
        after = np.array([change["share_after"] for change in moved])
        rest = np.log((max(1 - after.sum(), 0) + SMOOTHING) / (max(1 - before.sum(), 0) + SMOOTHING))
        gain = np.full(len(categories), rest)
        gain[[column[change["category"]] for change in moved]] = np.log((after + SMOOTHING) / (before + SMOOTHING))
        prior = np.clip(0.5 if row["confidence"] is None else row["confidence"], 0.01, 0.99)
        own = position[row["user_id"]]
        log_odds = np.log(prior / (1 - prior)) + since[own] @ gain
        found[own] = 1 / (1 + np.exp(-log_odds))
    return found


def emerging(
    alert_gains: Float64Array, trusted: Float64Array, segment_shifts: pa.Table, categories: Sequence[str]
) -> Float64Array:
    """Gain [user, category], 0..1, of what may be emerging.

    `alert_gains[user, category]` is the gained share of the user's alarm over its largest, 0 where nothing rose;
    `trusted[user]` the posterior of `trust`: below a half the user's own risen categories are left alone.
    `segment_shifts` holds the rows of the user's segment and day.
    """
    own = alert_gains * np.where(trusted >= TRUST_THRESHOLD, trusted, 0.0)[:, None]
    rising = segment_shifts.filter(pc.field("direction") == "rising")
    gained = {
        row["category"]: row["share_after"] - row["share_before"]
        for row in rising.select(["category", "share_before", "share_after"]).to_pylist()
    }
    largest = max(gained.values(), default=0.0)
    shared = np.array([gained.get(name, 0.0) / largest if largest > 0 else 0.0 for name in categories])
    return np.maximum(own, SEGMENT_GAIN * shared)


def value_draws(
    outcomes: pa.Table, day: date, categories: Sequence[str], settings: ExperimentSettings, seed: int
) -> Float64Array:
    """Draws [draw, category] of the chance that a place of the category is met, under its Beta posterior.

    `outcomes` holds `recommendation_outcomes` of the segments that may learn from each other; rows of `day` and later
    are ignored, older ones fade with the half-life of the settings. The prior is the rate of all drawn places, worth
    one place, so that a category without a past is worth trying.
    """
    shown, met = dict.fromkeys(categories, 0.0), dict.fromkeys(categories, 0.0)
    rows = outcomes.select(["day", "segment", "policy", "horizon_days", "explored"]).to_pylist()
    for row in sorted(rows, key=lambda found: (found["day"], found["segment"], found["policy"])):
        fading = 0.5 ** (((day - row["day"]).days - 1) / settings.half_life_days) / row["horizon_days"]
        for part in row["explored"] if row["day"] < day else []:
            if part["category"] in shown:
                shown[part["category"]] += fading * part["shown"]
                met[part["category"]] += fading * part["met"]
    rate = (sum(met.values()) + 1) / (sum(shown.values()) + 2)
    successes = np.array([met[name] + rate for name in categories])
    failures = np.array([shown[name] - met[name] + 1 - rate for name in categories])
    return np.random.default_rng(seed).beta(successes, failures, size=(POSTERIOR_DRAWS, len(categories)))


def best_by_category(
    scores: Float64Array, item_categories: Int64Array, slates: Int64Array, wanted: BoolArray
) -> Int64Array:
    """Item [user, category] of the highest positive score that is not in the user's list; -1 where none is.


    `scores[user, item]`, `item_categories[item]`, `slates[user, position]` with -1 where a list is shorter; only
    pairs in
    `wanted[user, category]` are looked for.
    """
    free = scores.copy()
    rows, positions = np.nonzero(slates >= 0)
    free[rows, slates[rows, positions]] = 0
    best = np.full(wanted.shape, -1, dtype=np.int64)
    for category in np.flatnonzero(wanted.any(axis=0)).tolist():
        items, users = np.flatnonzero(item_categories == category), np.flatnonzero(wanted[:, category])
        if len(items):
            own = free[np.ix_(users, items)]
            best[users, category] = np.where(own.max(axis=1) > 0, items[own.argmax(axis=1)], -1)
    return best


def explore(
    slates: Int64Array, candidates: Int64Array, gains: Float64Array, values: Float64Array, random_draws: Float64Array
) -> Explored:
    """`slates[user, position]` with its last places drawn by lot, as many as `random_draws[user, slot]` has columns.

    `candidates[user, category]` is the item that would stand for a category, -1 for none, never one of the list;
    `gains[user, category]` and `values[draw, category]` weigh them; `random_draws` are uniform in (0, 1). A list of
    fewer items than slots is drawn in all its places; a slot without a candidate keeps its item with certainty.
    """
    items, propensities = slates.copy(), np.ones(slates.shape)
    drawn = np.zeros(slates.shape, dtype=bool)
    slots = random_draws.shape[1]
    expected_value = np.where(candidates >= 0, gains * values.mean(axis=0), 0.0)
    ranked = np.argsort(-expected_value, axis=1, kind="stable")
    for slot in range(slots):
        position = (slates >= 0).sum(axis=1) - slots + slot
        choices = ranked[:, slot::slots][:, :MAXIMUM_CANDIDATES]  # [user, choice], categories
        available = np.take_along_axis(expected_value, choices, axis=1) > 0
        explored_users = np.flatnonzero((position >= 0) & available.any(axis=1))
        if not len(explored_users):
            continue
        probabilities = _slot_probabilities(
            available[explored_users], choices[explored_users], gains[explored_users], values
        )
        taken = (
            np.cumsum(probabilities, axis=1)
            < random_draws[explored_users, slot, None] * probabilities.sum(axis=1, keepdims=True)
        ).sum(axis=1)
        taken = np.minimum(taken, probabilities.shape[1] - 1)
        at = position[explored_users]
        category = choices[explored_users, np.maximum(taken - 1, 0)]
        items[explored_users, at] = np.where(
            taken == 0, slates[explored_users, at], candidates[explored_users, category]
        )
        propensities[explored_users, at] = probabilities[np.arange(len(explored_users)), taken]
        drawn[explored_users, at] = True
    return Explored(items, propensities, drawn)


def _slot_probabilities(
    available: BoolArray, choices: Int64Array, gains: Float64Array, values: Float64Array
) -> Float64Array:
    """Odds [user, outcome] of a slot: outcome 0 keeps the list's item, outcome 1 + j takes choice j; they sum to 1."""
    weighed = np.take_along_axis(gains, choices, axis=1)[:, None, :] * values[:, choices].transpose(1, 0, 2)
    best = np.where(available[:, None, :], weighed, -1.0).argmax(axis=2)  # [user, draw]
    thompson = (best[:, :, None] == np.arange(choices.shape[1])).mean(axis=1)
    uniform = available / available.sum(axis=1, keepdims=True)
    return np.concatenate(
        [
            np.full((len(choices), 1), KEEP_PROBABILITY),
            (1 - KEEP_PROBABILITY) * ((1 - UNIFORM_PROBABILITY) * thompson + UNIFORM_PROBABILITY * uniform),
        ],
        axis=1,
    )


def gain_matrix(gains: Sequence[Mapping[str, float]], categories: Sequence[str]) -> Float64Array:
    """Gains [user, category] of one mapping per user; categories that are not asked for are left out."""
    return np.array([[own.get(name, 0.0) for name in categories] for own in gains]).reshape(len(gains), len(categories))
