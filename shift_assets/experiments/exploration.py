"""Exploration: the last ranks of an exploring slate are drawn at random among interests that may be emerging.

Emerging are the categories that rose in a user's alert, weighted by the posterior that the alert is true (`trust`), and
those that rise in the user's segment. The candidates of a user are distributed over the slots, best first, so that the
slots are drawn independently and the probability of every item at its rank is exact:

- with `KEEP_PROBABILITY` the item of the unexplored slate, so that this slate is among the possible ones;
- with `UNIFORM_PROBABILITY` a candidate of the slot, uniformly;
- else the candidate that is best under one posterior draw of the success rate of each category (Thompson sampling):
  its probability is the share of the draws under which it is best.

A false alert is corrected by the days after it: those that look like the old profile take the posterior below a half,
and the risen categories are no longer explored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float64, Int64

from shift_assets.arrays import BoolArray, Float64Array, Int64Array
from shift_assets.settings.root import ExperimentSettings
from shift_assets.shift.alerts.ranked_alerts import open_by_magnitude

EXPLORATION_GENERATOR = "exploration"
"""`source`, in `recommendations`, of an item that exploration put on its rank; one that stayed has its own."""
KEEP_PROBABILITY = 0.2
UNIFORM_PROBABILITY = 0.2
SEGMENT_GAIN = 0.5
"""Gain of the category that rises most in the segment, relative to the one that rose most in the user's alert."""
MAXIMUM_CANDIDATES = 6
"""Emerging categories that a slot is drawn from, at most."""
POSTERIOR_DRAWS = 64
"""Posterior draws of the success rates of one day."""
SMOOTHING = 0.01
"""Added to shares before their logarithm is taken: no single day rules out an interest."""
TRUST_THRESHOLD = 0.5


class ExplorationInputs(NamedTuple):
    """What exploration draws from.

    Attributes:
        gains: Weight of what may be emerging, 0 for users who do not explore, [user, category].
        values: Posterior draws of the success rate, [draw, category].
        random_draws: Uniform in (0, 1), [user, slot].
    """

    gains: Float64[Float64Array, "user category"]
    values: Float64[Float64Array, "draw category"]
    random_draws: Float64[Float64Array, "user slot"]

    def of_users(self, users: Int64Array) -> ExplorationInputs:
        """The part of these users, given by their index."""
        return ExplorationInputs(self.gains[users], self.values, self.random_draws[users])


class Explored(NamedTuple):
    """Explored slates.

    Attributes:
        items: Item, [user, rank].
        propensities: Probability of the item at its rank, [user, rank].
        drawn: Whether the rank was drawn, also where the item stayed, [user, rank].
    """

    items: Int64[Int64Array, "user rank"]
    propensities: Float64[Float64Array, "user rank"]
    drawn: Bool[BoolArray, "user rank"]


def trust(
    alerts: pa.Table,
    users: Sequence[str],
    categories: Sequence[str],
    since: Float64[Float64Array, "user category"],
) -> Float64[Float64Array, " user"]:
    """Posterior probability [user] that the user's open alert is true; 0 without an open alert.

    The prior is the confidence of the alert, a half without one. The log-likelihood ratio of a day is its category
    shares times log(share after / share before); categories that the alert does not list share the remainder.

    Args:
        alerts: Rows of `shift_alerts` of the day; of several open alerts of a user the one of largest magnitude counts.
        users: Pseudonyms.
        categories: Names of the categories.
        since: Sum of the daily category shares on active days after the alert opened, [user, category].
    """
    position, column = {user: at for at, user in enumerate(users)}, {name: at for at, name in enumerate(categories)}
    found = np.zeros(len(users))
    for row in open_by_magnitude(alerts).select(["user_id", "confidence", "rising", "falling"]).to_pylist():
        moved = [change for change in (*row["rising"], *row["falling"]) if change["category"] in column]
        if row["user_id"] not in position or not moved:
            continue
        before = np.array([change["share_before"] for change in moved])
        after = np.array([change["share_after"] for change in moved])
        remainder = np.log((max(1 - after.sum(), 0) + SMOOTHING) / (max(1 - before.sum(), 0) + SMOOTHING))
        gain = np.full(len(categories), remainder)
        gain[[column[change["category"]] for change in moved]] = np.log((after + SMOOTHING) / (before + SMOOTHING))
        prior = np.clip(0.5 if row["confidence"] is None else row["confidence"], 0.01, 0.99)
        own = position[row["user_id"]]
        log_odds = np.log(prior / (1 - prior)) + since[own] @ gain
        found[own] = 1 / (1 + np.exp(-log_odds))
    return found


def emerging(
    alert_gains: Float64[Float64Array, "user category"],
    trusted: Float64[Float64Array, " user"],
    segment_shifts: pa.Table,
    categories: Sequence[str],
) -> Float64[Float64Array, "user category"]:
    """Gain [user, category] in 0..1 of what may be emerging.

    Args:
        alert_gains: Gained share of the user's alert over its largest, 0 where nothing rose, [user, category].
        trusted: Posterior of `trust`; below TRUST_THRESHOLD the alert is ignored, [user].
        segment_shifts: Rows of `segment_shifts` of the users' segment and day.
        categories: Names of the categories.
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
) -> Float64[Float64Array, "draw category"]:
    """Draws [draw, category] of the success rate of an explored rank, from its Beta posterior.

    The prior is the rate of all explored ranks with the weight of one rank, so that a category without a past is worth
    trying.

    Args:
        outcomes: Rows of `recommendation_outcomes` of the segments that learn from each other; those of `day` and
            later are ignored, older ones discounted by the half-life of the settings.
        day: Day of the draws.
        categories: Names of the categories.
        settings: The experiment.
        seed: Seed of the draws.
    """
    shown, hits = dict.fromkeys(categories, 0.0), dict.fromkeys(categories, 0.0)
    rows = outcomes.select(["day", "segment", "policy", "horizon_days", "explored"]).to_pylist()
    for row in sorted(rows, key=lambda found: (found["day"], found["segment"], found["policy"])):
        discount = 0.5 ** (((day - row["day"]).days - 1) / settings.half_life_days) / row["horizon_days"]
        for part in row["explored"] if row["day"] < day else []:
            if part["category"] in shown:
                shown[part["category"]] += discount * part["shown"]
                hits[part["category"]] += discount * part["met"]
    rate = (sum(hits.values()) + 1) / (sum(shown.values()) + 2)
    successes = np.array([hits[name] + rate for name in categories])
    failures = np.array([shown[name] - hits[name] + 1 - rate for name in categories])
    return np.random.default_rng(seed).beta(successes, failures, size=(POSTERIOR_DRAWS, len(categories)))


def best_by_category(
    scores: Float64[Float64Array, "user item"],
    item_categories: Int64[Int64Array, " item"],
    slates: Int64[Int64Array, "user rank"],
    wanted: Bool[BoolArray, "user category"],
) -> Int64[Int64Array, "user category"]:
    """The item of the highest positive score outside the user's slate, [user, category]; -1 where there is none.

    Args:
        scores: [user, item].
        item_categories: Category of the item, [item].
        slates: Items, -1 where a slate is shorter, [user, rank].
        wanted: Pairs to fill, [user, category].
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
    slates: Int64[Int64Array, "user rank"],
    candidates: Int64[Int64Array, "user category"],
    gains: Float64[Float64Array, "user category"],
    values: Float64[Float64Array, "draw category"],
    random_draws: Float64[Float64Array, "user slot"],
) -> Explored:
    """Draw the last ranks of slates at random.

    A slate with fewer items than slots is drawn on all its ranks; a slot without a candidate keeps its item.

    Args:
        slates: Items, -1 where a slate is shorter, [user, rank].
        candidates: The item that represents a category, none of the slate's, -1 for none, [user, category].
        gains: Weight of what may be emerging, [user, category].
        values: Posterior draws of the success rate, [draw, category].
        random_draws: Uniform in (0, 1), [user, slot].
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
        outcome = _draw(probabilities, random_draws[explored_users, slot])
        at = explored_users, position[explored_users]
        category = choices[explored_users, np.maximum(outcome - 1, 0)]
        items[at] = np.where(outcome == 0, slates[at], candidates[explored_users, category])
        propensities[at] = probabilities[np.arange(len(explored_users)), outcome]
        drawn[at] = True
    return Explored(items, propensities, drawn)


def _draw(
    probabilities: Float64[Float64Array, "user outcome"], random_draws: Float64[Float64Array, " user"]
) -> Int64[Int64Array, " user"]:
    """Outcome [user] drawn with `probabilities[user, outcome]` by `random_draws[user]`."""
    scaled = random_draws[:, None] * probabilities.sum(axis=1, keepdims=True)
    outcome = (np.cumsum(probabilities, axis=1) < scaled).sum(axis=1)
    return np.asarray(np.minimum(outcome, probabilities.shape[1] - 1))


def _slot_probabilities(
    available: Bool[BoolArray, "user choice"],
    choices: Int64[Int64Array, "user choice"],
    gains: Float64[Float64Array, "user category"],
    values: Float64[Float64Array, "draw category"],
) -> Float64[Float64Array, "user outcome"]:
    """Probability [user, outcome] of a slot: outcome 0 keeps the item, outcome 1 + j takes choice j; they sum to 1."""
    weighted = np.take_along_axis(gains, choices, axis=1)[:, None, :] * values[:, choices].transpose(1, 0, 2)
    best = np.where(available[:, None, :], weighted, -1.0).argmax(axis=2)  # [user, draw]
    thompson = (best[:, :, None] == np.arange(choices.shape[1])).mean(axis=1)
    uniform = available / available.sum(axis=1, keepdims=True)
    return np.concatenate(
        [
            np.full((len(choices), 1), KEEP_PROBABILITY),
            (1 - KEEP_PROBABILITY) * ((1 - UNIFORM_PROBABILITY) * thompson + UNIFORM_PROBABILITY * uniform),
        ],
        axis=1,
    )


def gain_matrix(
    gains: Sequence[Mapping[str, float]], categories: Sequence[str]
) -> Float64[Float64Array, "user category"]:
    """Gains [user, category] of one mapping per user; other categories are ignored.

    Example:
        >>> gain_matrix([{"tea": 1.0, "toys": 0.5}, {}], ["tea", "lamps"]).tolist()
        [[1.0, 0.0], [0.0, 0.0]]
    """
    return np.array([[own.get(name, 0.0) for name in categories] for own in gains]).reshape(len(gains), len(categories))
