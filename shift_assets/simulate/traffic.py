"""The events of one block of users on one day: visits, sessions with a focus, and a funnel from view to purchase."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shift_assets.arrays import Float32Array, Float64Array, Int64Array
from shift_assets.simulate.population import Block, build_block
from shift_assets.simulate.simulation import Simulation
from shift_assets.simulate.world import World, activity, demand_factor, generator, platform_tilt

_EXTRA_SESSIONS = 0.5
_BURST_SHAPE = 1.5
_DEEPER = 0.35
"""Probability that the next event is one step further down the funnel on the same item."""
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

    user: Int64Array  # index in the block
    item: Int64Array  # index in the catalogue
    action: Int64Array  # index in ACTIONS
    milliseconds: Int64Array  # since local midnight

    def __len__(self) -> int:
        return len(self.user)


@dataclass(frozen=True)
class TrafficCalibration:
    """Factors that give the log the number of events asked for."""

    visit_factor: float
    events_per_session: float


def calibrate(simulation: Simulation, world: World) -> TrafficCalibration:
    """Calibrate the log to `simulation.target_events`, exact in expectation on at most 8,000 users."""
    sample = build_block(
        simulation.model_copy(update={"users_per_file": min(simulation.users_per_file, 8_000)}), world, 0
    )
    users = np.arange(len(sample.kind))
    gifts = float(sample.gift_events[(sample.gift_category >= 0) & (sample.starts < simulation.days)].sum()) * 2
    target = max(simulation.target_events * len(users) / simulation.users - gifts, 1.0)

    def sessions(visit_factor: float) -> float:
        """Expected sessions, weighted by the factor on their users' events."""
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
    """Simulate the events of a block on one day.

    Args:
        simulation: The log.
        world: Its catalogue and demand.
        block: The users.
        calibration: Factors on visits and events.
        day: Index of the day.
        day_milliseconds: Length of the day, 23 to 25 hours.
        random: Random stream of the block and day.
    """
    # 1. sessions [session], and their events [event]
    sessions = _draw_sessions(simulation, world, block, calibration, day=day, random=random)
    n = int(sessions.length.sum())
    session = np.repeat(np.arange(len(sessions.length)), sessions.length)
    position = np.arange(n) - sessions.begins[session]

    # 2. events on the same item follow each other within a session
    deeper = (random.random(n) < _DEEPER) & (position > 0)
    head = np.maximum.accumulate(np.where(deeper, 0, np.arange(n)))  # first event on the same item
    depth = np.arange(n) - head

    # 3. category and item of each head, action of each event
    category = np.zeros(n, np.int64)
    heads = np.flatnonzero(~deeper)
    category[heads] = _categories(
        random,
        focus=simulation.session_focus,
        heads=heads,
        position=position[heads],
        session=session[heads],
        row=sessions.row,
        cumulative=_shares(simulation, world, block, sessions.active, day),
        head=head,
    )
    given = session >= len(sessions.row)
    category[given] = block.gift_category[sessions.user[session[given]]]
    item = np.zeros(n, np.int64)
    item[heads] = np.searchsorted(world.item_mass, category[heads] + random.random(len(heads)), side="right")
    item = np.minimum(item, len(world.item_mass) - 1)[head]
    action = _actions(random, depth)

    # 4. times
    milliseconds = _times(random, sessions, session, day_milliseconds)
    order = np.argsort(milliseconds, kind="stable")
    return Traffic(sessions.user[session][order], item[order], action[order], milliseconds[order])


@dataclass(frozen=True)
class _Sessions:
    """Sessions of a block and day: first those of the active users, then one for each gift."""

    active: Int64Array  # users with a visit
    row: Int64Array  # [session of a visit], index in `active`
    user: Int64Array  # [session]
    length: Int64Array  # [session], events

    @property
    def begins(self) -> Int64Array:
        """First event [session]."""
        return np.cumsum(self.length) - self.length


def _draw_sessions(
    simulation: Simulation,
    world: World,
    block: Block,
    calibration: TrafficCalibration,
    *,
    day: int,
    random: np.random.Generator,
) -> _Sessions:
    users = np.arange(len(block.kind))
    day_activity = activity(simulation, world, day)
    gift = (block.gift_category >= 0) & (day >= block.starts) & (day <= block.starts + 1)
    active = users[
        random.random(len(users)) < _visit_probability(block, users, day, day_activity * calibration.visit_factor)
    ]
    n_sessions = 1 + random.poisson(_sessions(day_activity) - 1, len(active))
    row = np.repeat(np.arange(len(active)), n_sessions)
    volume = (1 + (block.volume - 1) * block.change(users, day))[active]
    mean = np.maximum(calibration.events_per_session * volume - 1, 0.0)[row]
    length = 1 + random.poisson(random.standard_gamma(_BURST_SHAPE, len(row)) * mean / _BURST_SHAPE)
    length = np.concatenate([np.minimum(length, _LONGEST_SESSION), block.gift_events[users[gift]]])
    return _Sessions(active, row, np.concatenate([active[row], users[gift]]), length)


def _times(random: np.random.Generator, sessions: _Sessions, session: Int64Array, day_milliseconds: int) -> Int64Array:
    """Milliseconds [event] since midnight; a session that would pass midnight begins earlier."""
    n, begins = len(session), sessions.begins
    gap = 1 + (random.standard_exponential(n, dtype=np.float32) * _MEAN_GAP_SECONDS * 1000).astype(np.int64)
    elapsed = np.cumsum(gap)
    elapsed -= elapsed[begins][session] if n else 0
    span = elapsed[begins + sessions.length - 1] if n else elapsed
    start = _start_times(random, len(sessions.length), day_milliseconds)
    start = np.maximum(np.minimum(start, day_milliseconds - 1 - span), 0)
    milliseconds: Int64Array = np.minimum(start[session] + elapsed, day_milliseconds - 1)
    return milliseconds


def day_random(simulation: Simulation, day: int, block: int) -> np.random.Generator:
    """The random stream of one block and day."""
    return generator(simulation, 2, day, block)


def _sessions(day_activity: float) -> float:
    return 1 + _EXTRA_SESSIONS * day_activity


def _visit_probability(block: Block, users: Int64Array, day: int, factor: float) -> Float64Array:
    present = (block.joins[users] <= day) & (day < block.leaves[users])
    return np.where(present, -np.expm1(-block.visits[users] * factor), 0.0)


def true_interests(simulation: Simulation, world: World, block: Block, users: Int64Array, day: int) -> Float32Array:
    """True interests [user, category] of `users` on the day at index `day`, up to a factor per user."""
    shares = block.profile[users]
    if simulation.organic_drift:
        # Every user drifts slowly towards another one, which needs no state from day to day.
        other = block.profile[(users + 7919) % len(block.kind)]
        shares += np.float32(min(1.0, simulation.organic_drift * day)) * (other - shares)
    if simulation.wander:
        # The new profile of a day is the initial one of a user of the same country, which needs no state either.
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


def _shares(simulation: Simulation, world: World, block: Block, active: Int64Array, day: int) -> Float32Array:
    """Cumulative category shares [active user, category] on a day; the last column is 1."""
    shares = true_interests(simulation, world, block, active, day)
    np.cumsum(shares, axis=1, out=shares)
    shares /= shares[:, -1:]
    return shares


def _categories(
    random: np.random.Generator,
    *,
    focus: float,
    heads: Int64Array,
    position: Int64Array,
    session: Int64Array,
    row: Int64Array,
    cumulative: Float32Array,
    head: Int64Array,
) -> Int64Array:
    """Category [head]: each session has its own mix ~ Dirichlet(focus x the user's), drawn as a Polya urn.

    The event at position j copies an earlier event of its session with probability j / (j + focus), and otherwise draws
    from the user's shares; this gives the same distribution without a mix per session.
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


def _inverse(cumulative: Float32Array, row: Int64Array, draw: Float32Array) -> Int64Array:
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


def _actions(random: np.random.Generator, depth: Int64Array) -> Int64Array:
    """Action by depth: view, click, favourite or cart, purchase, return or rating or review; then views again."""
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


def _start_times(random: np.random.Generator, n: int, day_milliseconds: int) -> Int64Array:
    cumulative = np.cumsum(_HOURS) / _HOURS.sum()
    hour = np.searchsorted(cumulative, random.random(n))
    start: Int64Array = ((hour + random.random(n)) * (day_milliseconds / 24)).astype(np.int64)
    return start
