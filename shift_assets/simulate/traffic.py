"""The events of one block of users on one day: visits, sessions with a focus, and a funnel from view to purchase."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shift_assets.simulate.population import Block, build_block
from shift_assets.simulate.simulation import Simulation
from shift_assets.simulate.world import World, activity, demand_factor, generator, platform_tilt

_EXTRA_SESSIONS = 0.5
_BURST_SHAPE = 1.5
_DEEPER = 0.35
"""Probability that the next event goes one step deeper on the same item."""
_LONGEST_SESSION = 200
_MEAN_GAP_SECONDS = 40.0
_HOURS = np.array([2, 1, 1, 1, 1, 2, 3, 5, 7, 9, 10, 10, 11, 10, 10, 9, 9, 10, 12, 15, 17, 16, 11, 5], dtype=float)
"""Relative number of sessions that begin in each local hour."""

ACTIONS: tuple[tuple[str, int], ...] = (
    ("view", 0),
    ("click", 0),
    ("favorite", 0),
    ("cart", 0),
    *(("purchase", quantity) for quantity in (1, 2, 3)),
    ("return", 1),
    *(("rating", stars) for stars in (1, 2, 3, 4, 5)),
    *(("review", stars) for stars in (1, 2, 3, 4, 5)),
)
"""(behaviour, its number: quantity of a purchase or return, stars of a rating or review)."""
_PURCHASE, _RETURN, _RATING, _REVIEW = 4, 7, 8, 13


@dataclass(frozen=True)
class Traffic:
    """Events of one block and day, ordered by time; axes [event]."""

    user: NDArray[np.int64]  # index in the block
    item: NDArray[np.int64]  # index in the catalogue
    action: NDArray[np.int64]  # index in ACTIONS
    milliseconds: NDArray[np.int64]  # since local midnight

    def __len__(self) -> int:
        return len(self.user)


@dataclass(frozen=True)
class TrafficCalibration:
    """Two numbers that make the log as large as asked for."""

    visit_factor: float
    events_per_session: float


def calibrate(simulation: Simulation, world: World) -> TrafficCalibration:
    """The calibration for `simulation.target_events`, exact in expectation on at most 8,000 users."""
    sample = build_block(
        simulation.model_copy(update={"users_per_file": min(simulation.users_per_file, 8_000)}), world, 0
    )
    users = np.arange(len(sample.kind))
    gifts = float(sample.gift_events[(sample.gift_category >= 0) & (sample.starts < simulation.days)].sum()) * 2
    target = max(simulation.target_events * len(users) / simulation.users - gifts, 1.0)

    def sessions(visit_factor: float) -> float:
        """Expected sessions, weighted with the events that each of them brings."""
        total = 0.0
        for day in range(simulation.days):
            day_activity = activity(simulation, world, day)
            factor = 1 + (sample.volume - 1) * sample.change(users, day)
            total += float(
                (_visit_probability(sample, users, day, day_activity * visit_factor) * factor).sum()
                * _sessions(day_activity)
            )
        return total

    at_plain = sessions(1.0)
    if target >= 2 * at_plain:
        return TrafficCalibration(1.0, target / at_plain)
    low, high = 0.0, 1.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if 2 * sessions(middle) < target else (low, middle)
    return TrafficCalibration(high, target / sessions(high))


def block_traffic(
    simulation: Simulation,
    world: World,
    block: Block,
    calibration: TrafficCalibration,
    *,
    day: int,
    day_milliseconds: int,
    random: np.random.Generator,
) -> Traffic:
    """The events of `block` on the day at index `day`, which lasts `day_milliseconds` (23 to 25 hours)."""
    users = np.arange(len(block.kind))
    day_activity = activity(simulation, world, day)
    gift = (block.gift_category >= 0) & (day >= block.starts) & (day <= block.starts + 1)
    active = users[
        random.random(len(users)) < _visit_probability(block, users, day, day_activity * calibration.visit_factor)
    ]
    gifts = users[gift]

    # 1. sessions [session]: those of the active users, then one more for each gift
    n_sessions = 1 + random.poisson(_sessions(day_activity) - 1, len(active))
    row = np.repeat(np.arange(len(active)), n_sessions)
    volume = (1 + (block.volume - 1) * block.change(users, day))[active]
    mean = np.maximum(calibration.events_per_session * volume - 1, 0.0)[row]
    length = 1 + random.poisson(random.standard_gamma(_BURST_SHAPE, len(row)) * mean / _BURST_SHAPE)
    length = np.concatenate([np.minimum(length, _LONGEST_SESSION), block.gift_events[gifts]])
    session_user = np.concatenate([active[row], gifts])
    begins = np.cumsum(length) - length

    # 2. events [event]: who follows whom within a session
    n = int(length.sum())
    session = np.repeat(np.arange(len(length)), length)
    position = np.arange(n) - begins[session]
    deeper = (random.random(n) < _DEEPER) & (position > 0)
    head = np.maximum.accumulate(np.where(deeper, 0, np.arange(n)))  # first event on the same item
    depth = np.arange(n) - head

    # 3. category and item of each head, action of each event
    cumulative = _shares(simulation, world, block, active, day)
    category = np.zeros(n, np.int64)
    heads = np.flatnonzero(~deeper)
    category[heads] = _categories(
        random,
        focus=simulation.session_focus,
        heads=heads,
        position=position[heads],
        session=session[heads],
        row=row,
        cumulative=cumulative,
        head=head,
    )
    given = session >= len(row)
    category[given] = block.gift_category[session_user[session[given]]]
    item = np.zeros(n, np.int64)
    item[heads] = np.searchsorted(world.item_mass, category[heads] + random.random(len(heads)), side="right")
    item = np.minimum(item, len(world.item_mass) - 1)[head]
    action = _actions(random, depth)

    # 4. times: gaps within a session; a session that would pass midnight begins earlier
    gap = 1 + (random.standard_exponential(n, dtype=np.float32) * _MEAN_GAP_SECONDS * 1000).astype(np.int64)
    elapsed = np.cumsum(gap)
    elapsed -= elapsed[begins][session] if n else 0
    span = elapsed[begins + length - 1] if n else elapsed
    start = _start_times(random, len(length), day_milliseconds)
    start = np.maximum(np.minimum(start, day_milliseconds - 1 - span), 0)
    milliseconds = np.minimum(start[session] + elapsed, day_milliseconds - 1)
    order = np.argsort(milliseconds, kind="stable")
    return Traffic(session_user[session][order], item[order], action[order], milliseconds[order])


def day_random(simulation: Simulation, day: int, block: int) -> np.random.Generator:
    """The random stream of one block and day."""
    return generator(simulation, 2, day, block)


def _sessions(day_activity: float) -> float:
    return 1 + _EXTRA_SESSIONS * day_activity


def _visit_probability(block: Block, users: NDArray[np.int64], day: int, factor: float) -> NDArray[np.float64]:
    present = (block.joins[users] <= day) & (day < block.leaves[users])
    return np.where(present, -np.expm1(-block.visits[users] * factor), 0.0)


def true_interests(
    simulation: Simulation, world: World, block: Block, users: NDArray[np.int64], day: int
) -> NDArray[np.float32]:
    """What `users` really like on the day at index `day`, [user, category], up to a factor per user."""
    shares = block.profile[users]
    if simulation.organic_drift:
        # Everybody slides slowly towards somebody else, which needs no state from day to day.
        other = block.profile[(users + 7919) % len(block.kind)]
        shares += np.float32(min(1.0, simulation.organic_drift * day)) * (other - shares)
    if simulation.wander:
        # A day's fresh profile is another compatriot's first one, so that a day needs no state of the day before.
        first, size, rank = (values[users] for values in block.compatriots)
        for past in range(1, day + 1):
            fresh = block.profile[block.by_country[first + (rank + 17 * past) % size]]
            shares += np.float32(simulation.wander) * (fresh - shares)
    row = block.new_row[users]
    moved = np.flatnonzero(row >= 0)
    weight = (block.ceiling[users[moved]] * block.change(users[moved], day)).astype(np.float32)[:, None]
    shares[moved] += weight * (block.new_profile[row[moved]] - shares[moved])
    shares *= demand_factor(simulation, world, day).astype(np.float32)
    tilt = platform_tilt(simulation, world, day)
    if tilt is not None:
        shares *= np.exp(np.outer(block.response[users], tilt)).astype(np.float32)
    return shares


def _shares(
    simulation: Simulation, world: World, block: Block, active: NDArray[np.int64], day: int
) -> NDArray[np.float32]:
    """Cumulative category shares [active user, category] on a day; the last column is 1."""
    shares = true_interests(simulation, world, block, active, day)
    np.cumsum(shares, axis=1, out=shares)
    shares /= shares[:, -1:]
    return shares


def _categories(
    random: np.random.Generator,
    *,
    focus: float,
    heads: NDArray[np.int64],
    position: NDArray[np.int64],
    session: NDArray[np.int64],
    row: NDArray[np.int64],
    cumulative: NDArray[np.float32],
    head: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Category [head]: each session has its own mix ~ Dirichlet(focus x the user's), drawn as a Polya urn.

    The event at position j copies an earlier event of its session with probability j / (j + focus), else it
    draws from the user's shares; that is the same law without a mix per session.
    """
    n = len(heads)
    copies = random.random(n) * (position + focus) < position
    copied = heads - 1 - (random.random(n) * position).astype(np.int64)
    rank = np.cumsum(np.bincount(heads, minlength=len(head))) - 1  # of a head among the heads, by event
    source = np.where(copies, rank[head[np.where(copies, copied, 0)]], np.arange(n)) if n else heads
    while True:
        further = source[source]
        if np.array_equal(further, source):
            break
        source = further
    category = np.zeros(n, np.int64)
    fresh = np.flatnonzero(~copies & (session < len(row)))
    draw = random.random(len(fresh), dtype=np.float32)
    category[fresh] = _inverse(cumulative, row[session[fresh]], draw)
    return category[source]


def _inverse(cumulative: NDArray[np.float32], row: NDArray[np.int64], draw: NDArray[np.float32]) -> NDArray[np.int64]:
    """First column of `cumulative[row]` above `draw`, by bisection over all draws at once."""
    low = np.zeros(len(draw), np.int64)
    width = cumulative.shape[1]
    high = np.full(len(draw), width - 1, np.int64)
    flat, base = cumulative.reshape(-1), row * width
    for _ in range(int(np.ceil(np.log2(width)))):
        middle = (low + high) >> 1
        above = flat[base + middle] > draw
        high = np.where(above, middle, high)
        low = np.where(above, low, np.minimum(middle + 1, high))
    return high


def _actions(random: np.random.Generator, depth: NDArray[np.int64]) -> NDArray[np.int64]:
    """view, click, favourite or cart, purchase, then a word on what was bought; deeper still is looking again."""
    action = np.zeros(len(depth), np.int64)
    action[depth == 1] = 1
    third = np.flatnonzero(depth == 2)
    action[third] = np.where(random.random(len(third)) < 0.4, 2, 3)
    bought = np.flatnonzero(depth == 3)
    action[bought] = _PURCHASE + np.minimum(random.geometric(0.75, len(bought)), 3) - 1
    after = np.flatnonzero(depth == 4)
    what, stars = random.random(len(after)), random.choice(5, len(after), p=[0.06, 0.06, 0.13, 0.30, 0.45])
    rated_or_reviewed = np.where(what < 0.75, _RATING, _REVIEW) + stars
    action[after] = np.where(what < 0.25, _RETURN, rated_or_reviewed)
    return action


def _start_times(random: np.random.Generator, n: int, day_milliseconds: int) -> NDArray[np.int64]:
    cumulative = np.cumsum(_HOURS) / _HOURS.sum()
    hour = np.searchsorted(cumulative, random.random(n))
    start: NDArray[np.int64] = ((hour + random.random(n)) * (day_milliseconds / 24)).astype(np.int64)
    return start
