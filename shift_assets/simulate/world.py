"""The world of a simulated log: catalogue, demand of each country, seasons and promotion days."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shift_assets.arrays import Float64Array, Int64Array
from shift_assets.simulate.catalogue_words import ADJECTIVES, category_names, category_words
from shift_assets.simulate.simulation import Simulation

_ZIPF_EXPONENT = 1.05
_WEEKDAYS = (0.95, 0.90, 0.92, 0.98, 1.08, 1.20, 1.05)
"""Activity from Monday to Sunday."""


def generator(simulation: Simulation, *path: int) -> np.random.Generator:
    """The random stream at `path` below the seed; streams of different paths are independent."""
    return np.random.default_rng(np.random.SeedSequence(simulation.seed, spawn_key=path))


@dataclass(frozen=True)
class World:
    """Catalogue and demand, common to all users.

    Items are sorted by category; `item_mass` is the cumulative sum of their weights, 1 per category, so that an item of
    category `k` is drawn by a search for `k + u` with u uniform in [0, 1).
    """

    categories: list[str]
    item_category: NDArray[np.int32]  # [item]
    item_mass: Float64Array  # [item]
    item_price: Float64Array  # [item], currency
    item_title: list[str]
    segment_mix: Float64Array  # [country, category], shares
    country_weight: Float64Array  # [country], shares
    season_phase: Float64Array  # [category], 0..1
    trend: Float64Array  # [category], log demand gained over the whole log
    promotion_tilt: dict[int, Float64Array]  # day index: log demand multiplier [category]
    new_season: Float64Array  # [category], log demand multiplier from the new season on


def build_world(simulation: Simulation) -> World:
    """Build the world of `simulation`, which depends on its settings only."""
    random = generator(simulation, 0)
    count, items = simulation.categories, simulation.items
    item_category = np.sort(np.concatenate([np.arange(count), random.integers(0, count, items - count)])).astype(
        np.int32
    )
    starts = np.searchsorted(item_category, np.arange(count + 1))
    weight = np.empty(items)
    for category in range(count):
        low, high = starts[category], starts[category + 1]
        zipf = 1.0 / np.arange(1, high - low + 1) ** _ZIPF_EXPONENT
        weight[low:high] = random.permutation(zipf / zipf.sum())
    level = random.lognormal(3.0, 0.7, count)
    price = np.round(level[item_category] * random.lognormal(0, 0.5, items) + 0.5, 2)
    demand = random.dirichlet(np.full(count, 4.0))
    n_countries = len(simulation.countries)
    segment_mix = np.stack([random.dirichlet(20.0 * count / 10 * demand + 0.1) for _ in range(n_countries)])
    return World(
        categories=category_names(count),
        item_category=item_category,
        item_mass=_mass_by_category(weight, starts),
        item_price=price,
        item_title=_titles(item_category, random),
        segment_mix=segment_mix,
        country_weight=random.dirichlet(np.full(n_countries, 8.0)),
        season_phase=random.random(count),
        trend=random.normal(0, simulation.trend_strength, count),
        promotion_tilt=_promotions(simulation, random),
        new_season=generator(simulation, 3).normal(0, 1, count),
    )


def activity(simulation: Simulation, world: World, day_index: int) -> float:
    """Factor on all users' visits on a day: by weekday, doubled by a promotion."""
    weekday = (simulation.first_day + timedelta(days=day_index)).weekday()
    return _WEEKDAYS[weekday] * (2.0 if day_index in world.promotion_tilt else 1.0)


def demand_factor(simulation: Simulation, world: World, day_index: int) -> Float64Array:
    """Factor [category] on all users' shares on a day: season and slow trend, without the promotion."""
    season = np.sin(2 * np.pi * (day_index / simulation.season_days + world.season_phase))
    factor: Float64Array = np.exp(simulation.season_strength * season + world.trend * day_index / simulation.days)
    return factor


def platform_tilt(simulation: Simulation, world: World, day_index: int) -> Float64Array | None:
    """Log demand multiplier [category] of a promotion or new season, scaled by each user's response; else None."""
    tilt = world.promotion_tilt.get(day_index)
    if simulation.new_season is None or day_index < (simulation.new_season - simulation.first_day).days:
        return tilt
    return world.new_season if tilt is None else world.new_season + tilt


def promotion_days(simulation: Simulation, world: World) -> list[date]:
    return [simulation.first_day + timedelta(days=index) for index in sorted(world.promotion_tilt)]


def item_ids(count: int) -> list[str]:
    width = max(5, len(str(count - 1)))
    return [f"i{index:0{width}d}" for index in range(count)]


def items_table(world: World) -> pa.Table:
    """The items file: item_id, category, price, title."""
    return pa.table(
        {
            "item_id": item_ids(len(world.item_category)),
            "category": pa.array([world.categories[k] for k in world.item_category]),
            "price": world.item_price,
            "title": world.item_title,
        }
    )


def _mass_by_category(weight: Float64Array, starts: Int64Array) -> Float64Array:
    mass = np.empty_like(weight)
    for category in range(len(starts) - 1):
        low, high = starts[category], starts[category + 1]
        mass[low:high] = category + np.cumsum(weight[low:high])
        mass[high - 1] = category + 1  # rounding must not leak a draw into the next category
    return mass


def _titles(item_category: NDArray[np.int32], random: np.random.Generator) -> list[str]:
    words = [category_words(index) for index in range(int(item_category[-1]) + 1)]
    adjective = random.integers(0, len(ADJECTIVES), len(item_category))
    first, step = random.integers(0, 8, len(item_category)), random.integers(1, 8, len(item_category))
    return [
        f"{ADJECTIVES[a]} {words[k][f]} with {words[k][(f + s) % 8]}"
        for k, a, f, s in zip(item_category.tolist(), adjective.tolist(), first.tolist(), step.tolist(), strict=True)
    ]


def _promotions(simulation: Simulation, random: np.random.Generator) -> dict[int, Float64Array]:
    """On each promotion day the demand for a random half of the categories changes by a factor exp(N(0, 1))."""
    if simulation.promotion_dates:
        days = sorted({(day - simulation.first_day).days for day in simulation.promotion_dates})
    else:
        days = sorted(random.choice(simulation.days, simulation.promotion_count, replace=False).tolist())
    count = simulation.categories
    return {day: random.normal(0, 1, count) * (random.permutation(count) < (count + 1) // 2) for day in days}
