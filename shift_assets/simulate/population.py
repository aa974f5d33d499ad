"""The users: their attributes, interests, and the change planted in each.

Users are divided into blocks of `users_per_file`. A block depends on the settings and its number only, so any worker
can build any block at any time, and memory does not grow with the number of users.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shift_assets.arrays import Float32Array, Float64Array, Int64Array
from shift_assets.simulate.simulation import Simulation
from shift_assets.simulate.world import World, generator, promotion_days

KINDS = ("none", "abrupt", "partial", "gradual", "seasonal_return", "surge", "fade", "churn", "gift", "volume")
MUST_ALERT = frozenset({"abrupt", "partial", "gradual", "seasonal_return", "surge", "fade", "churn"})
PROMOTION, NEW_SEASON = "promotion", "new_season"

NEVER = np.iinfo(np.int32).max
_CODE = {kind: code for code, kind in enumerate(KINDS)}
_TIER_SHARES = (0.4, 0.4, 0.2)
_TIER_VISITS = -np.log1p(-np.array([0.10, 0.35, 0.80]))  # visits a day that give these shares of active days
_CONCENTRATION = 3.0
_PARTIAL_SHARE = 0.6
_GIFT_EVENTS = (8, 30)

LABELS = pa.schema(
    [
        pa.field("user_id", pa.string()),  # raw id; null: all users
        pa.field("kind", pa.string(), nullable=False),
        pa.field("start_day", pa.date32(), nullable=False),
        pa.field("end_day", pa.date32(), nullable=False),  # last day of the change, or of a temporary state
        pa.field("from_categories", pa.list_(pa.string()), nullable=False),  # losing most share first
        pa.field("to_categories", pa.list_(pa.string()), nullable=False),  # gaining most share first
        pa.field("must_alarm", pa.bool_(), nullable=False),
        pa.field("total_variation", pa.float64(), nullable=False),  # planned profile before to after, 0..1
    ]
)


@dataclass(frozen=True)
class Block:
    """The users of one block; axes are [user] or [user, category], days are indices from the first day."""

    first_user: int
    country: Int64Array
    age: Int64Array
    gender: Int64Array
    visits: Float64Array  # mean visits on a plain day
    joins: NDArray[np.int32]
    leaves: NDArray[np.int32]  # first day without visits
    response: Float64Array  # exponent on promotions
    kind: NDArray[np.int8]
    starts: NDArray[np.int32]  # first changed day
    ends: NDArray[np.int32]  # last day of a passing change, else NEVER
    ramp_days: NDArray[np.int32]
    ceiling: Float64Array  # share of the new profile when the change is complete
    volume: Float64Array  # factor on events when the change is complete
    profile: Float32Array
    new_row: Int64Array  # row of `new_profile`, -1 where the profile stays
    new_profile: Float32Array  # [changed user, category]
    gift_category: Int64Array  # -1: none
    gift_events: Int64Array  # on each of its two days

    @cached_property
    def by_country(self) -> Int64Array:
        """Users, sorted by country."""
        return np.argsort(self.country, kind="stable")

    @cached_property
    def compatriots(self) -> tuple[Int64Array, Int64Array, Int64Array]:
        """First index in `by_country` and number of users of every user's country, and the user's index in it."""
        sizes = np.bincount(self.country)
        first = (np.cumsum(sizes) - sizes)[self.country]
        position = np.empty(len(self.country), np.int64)
        position[self.by_country] = np.arange(len(position))
        return first, sizes[self.country], position - first

    def change(self, users: Int64Array, day: int) -> Float64Array:
        """Completed part, 0..1, of the planted change of `users` on a day."""
        done = np.clip((day - self.starts[users] + 1) / self.ramp_days[users], 0.0, 1.0)
        return np.where(day <= self.ends[users], done, 0.0)


def build_block(simulation: Simulation, world: World, number: int) -> Block:
    """Build block `number` of the population."""
    random = generator(simulation, 1, number)
    first = number * simulation.users_per_file
    n = min(simulation.users_per_file, simulation.users - first)
    country = random.choice(len(world.country_weight), n, p=world.country_weight)
    profile = _dirichlet(random, _CONCENTRATION * world.segment_mix[country])
    kind = _plant(simulation, random, n)
    starts = np.where(kind > 0, _starts(simulation, random, n), NEVER).astype(np.int32)
    joins = np.where(
        (kind == 0) & (random.random(n) < simulation.late_joiners),
        random.integers(0, max(1, simulation.days * 6 // 10), n),
        0,
    ).astype(np.int32)
    lasting = np.full(n, NEVER, np.int64)
    lasting[kind == _CODE["seasonal_return"]] = simulation.excursion_days
    lasting[kind == _CODE["surge"]] = simulation.surge_days
    new_row, new_profile, volume = _new_profiles(random, kind, profile, world.segment_mix[country])
    is_gift = kind == _CODE["gift"]
    rare = np.argsort(profile, axis=1)[:, : max(1, simulation.categories // 2)]
    foreign = rare[np.arange(n), random.integers(0, rare.shape[1], n)]
    is_volume = kind == _CODE["volume"]
    volume[is_volume] = random.choice([2.5, 0.4], int(is_volume.sum()))
    return Block(
        first_user=first,
        country=country,
        age=random.integers(18, 75, n),
        gender=random.integers(0, 3, n),
        visits=random.choice(_TIER_VISITS, n, p=_TIER_SHARES),
        joins=joins,
        leaves=np.where(kind == _CODE["churn"], starts, NEVER).astype(np.int32),
        response=random.gamma(4.0, 0.25, n),
        kind=kind,
        starts=starts,
        ends=np.minimum(starts.astype(np.int64) + lasting - 1, NEVER).astype(np.int32),
        ramp_days=np.where(kind == _CODE["gradual"], simulation.gradual_days, 1).astype(np.int32),
        ceiling=np.where(kind == _CODE["partial"], _PARTIAL_SHARE, 1.0),
        volume=volume,
        profile=profile,
        new_row=new_row,
        new_profile=new_profile,
        gift_category=np.where(is_gift, foreign, -1),
        gift_events=random.integers(*_GIFT_EVENTS, n),
    )


def user_ids(simulation: Simulation, block: Block) -> list[str]:
    """Raw ids of the block's users."""
    width = max(7, len(str(simulation.users - 1)))
    return [f"u{user:0{width}d}" for user in range(block.first_user, block.first_user + len(block.kind))]


def users_table(simulation: Simulation, block: Block) -> pa.Table:
    """The block's rows of the users file: user_id, country, age, gender."""
    return pa.table(
        {
            "user_id": user_ids(simulation, block),
            "country": pa.array(simulation.countries).take(pa.array(block.country)),
            "age": block.age,
            "gender": pa.array(["female", "male", "undisclosed"]).take(pa.array(block.gender)),
        }
    )


def labels_table(simulation: Simulation, world: World, block: Block) -> pa.Table:
    """Planted changes of the block's users, in the LABELS schema, including those that begin after the last day."""
    users = np.flatnonzero(block.kind > 0)
    kind, start = block.kind[users], block.starts[users].astype(np.int64)
    row, changed = block.new_row[users], block.new_row[users] >= 0
    gain = np.zeros((len(users), simulation.categories))
    gain[changed] = block.new_profile[row[changed]] - block.profile[users[changed]]
    gain *= block.ceiling[users, None]
    total_variation = np.abs(gain).sum(axis=1) / 2
    gain[kind == _CODE["churn"]] = -block.profile[users[kind == _CODE["churn"]]]
    gifts = np.flatnonzero(kind == _CODE["gift"])
    gain[gifts, block.gift_category[users[gifts]]] = 1.0
    end = np.where(block.ends[users] == NEVER, start + block.ramp_days[users] - 1, block.ends[users])
    end[gifts] = start[gifts] + 1
    first = np.datetime64(simulation.first_day)
    names, kinds = pa.array(world.categories), pa.array(KINDS)
    columns = {
        "user_id": pa.array(user_ids(simulation, block)).take(pa.array(users)),
        "kind": kinds.take(pa.array(kind)),
        "start_day": first + start,
        "end_day": first + end,
        "from_categories": _leading(-gain, names),
        "to_categories": _leading(gain, names),
        "must_alarm": np.isin(kind, [_CODE[name] for name in MUST_ALERT]),
        "total_variation": total_variation,
    }
    return pa.table(columns).cast(LABELS)


def platform_labels(simulation: Simulation, world: World) -> pa.Table:
    """One row per promotion day and one for a new season, without a user: they affect all users, and are no shifts."""
    moves = [
        (PROMOTION, day, day, world.promotion_tilt[index])
        for day, index in zip(promotion_days(simulation, world), sorted(world.promotion_tilt), strict=True)
    ]
    if simulation.new_season:
        moves.append((NEW_SEASON, simulation.new_season, simulation.last_day, world.new_season))
    rows = []
    for kind, first, last, tilt in moves:
        order = np.argsort(tilt)
        rows.append(
            {
                "user_id": None,
                "kind": kind,
                "start_day": first,
                "end_day": last,
                "from_categories": [world.categories[k] for k in order[:3] if tilt[k] < 0],
                "to_categories": [world.categories[k] for k in order[::-1][:3] if tilt[k] > 0],
                "must_alarm": False,
                "total_variation": 0.0,
            }
        )
    return pa.Table.from_pylist(rows, schema=LABELS)


def _plant(simulation: Simulation, random: np.random.Generator, n: int) -> NDArray[np.int8]:
    """Kind [user]: numbers of users follow the shares exactly, up to a random rounding."""
    shares = simulation.planted.model_dump()
    edges = np.cumsum([shares[kind] for kind in KINDS[1:]])
    position = (random.permutation(n) + random.random()) / n
    code = np.searchsorted(edges, position, side="right") + 1
    return np.where(code < len(KINDS), code, 0).astype(np.int8)


def _starts(simulation: Simulation, random: np.random.Generator, n: int) -> Int64Array:
    """Changes begin between 40 % and 75 % of the days, so that there are enough days before and after them."""
    low = max(1, round(simulation.days * 0.40))
    return random.integers(low, max(low + 1, round(simulation.days * 0.75)), n)


def _dirichlet(random: np.random.Generator, alpha: Float64Array) -> Float32Array:
    # Gamma draws of small shape underflow; the floor keeps every share positive.
    weight = random.standard_gamma(alpha) + 1e-6
    shares: Float32Array = (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares


def _new_profiles(
    random: np.random.Generator, kind: NDArray[np.int8], profile: Float32Array, mix: Float64Array
) -> tuple[Int64Array, Float32Array, Float64Array]:
    """Row [user], profile [changed user, category] and factor on events [user] of completed changes."""
    n, count = profile.shape
    changed = np.flatnonzero((kind > 0) & (kind <= _CODE["fade"]))
    old = profile[changed].astype(np.float64)
    order = np.argsort(-old, axis=1)
    ranked = np.take_along_axis(old, order, axis=1)
    before = np.cumsum(ranked, axis=1) - ranked
    leading = np.zeros_like(old, dtype=bool)
    np.put_along_axis(leading, order, before < 0.6, axis=1)
    leading[leading.all(axis=1), -1] = False  # two categories: one has to be left
    kinds = kind[changed]
    # A replaced profile is a new draw without the categories that led before.
    fresh = np.where(leading, 0.0, _dirichlet(random, _CONCENTRATION * mix[changed]).astype(np.float64))
    new = fresh / fresh.sum(axis=1, keepdims=True)
    volume = np.ones(n)
    faded = kinds == _CODE["fade"]
    remaining = np.where(leading, 0.0, old)
    new[faded] = (remaining / remaining.sum(axis=1, keepdims=True))[faded]
    volume[changed[faded]] = np.maximum(remaining.sum(axis=1)[faded], 0.25)
    surged = np.flatnonzero(kinds == _CODE["surge"])
    category = order[surged, random.integers(count // 2, count, len(surged))]
    new[surged] = old[surged] / 2
    new[surged, category] += 0.5
    volume[changed[surged]] = 2.0
    rows = np.full(n, -1, np.int64)
    rows[changed] = np.arange(len(changed))
    return rows, new.astype(np.float32), volume


def _leading(gain: Float64Array, names: pa.Array) -> pa.ListArray:
    """Up to three categories [user] with the largest gain, largest first, above 2 % each."""
    order = np.argsort(-gain, axis=1)[:, :3]
    remaining = np.take_along_axis(gain, order, axis=1) > 0.02
    offsets = np.concatenate([[0], np.cumsum(remaining.sum(axis=1))]).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, names.take(pa.array(order[remaining])))
