"""Scenarios for the evaluation of shift detectors: a base, and variations that stress them.

Called by benchmarks only; kept for a public benchmark of detectors.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any, Literal, get_args

from shift_assets.simulate.simulation import PlantedShares, Simulation

Scenario = Literal["base", "calm", "bursty", "drifting", "new_season", "few_shifts"]
SCENARIOS: tuple[Scenario, ...] = get_args(Scenario)

_FIRST_DAY = date(2026, 1, 1)
_NEW_SEASON = _FIRST_DAY + timedelta(days=95)


def scenario(name: Scenario, users: int = 8_000, seed: int = 1) -> Simulation:
    """The scenario `name`, 150 days long.

    15 % of the users shift from day 60 on: 35 % of them abruptly, 25 % partially, 25 % gradually and 15 % temporarily.
    Gifts (10 %), churn (5 %) and changed volume (5 %) are not shifts.

    - `base`: seven promotions, slow trends and seasons, 0.2 % of every profile replaced at random per day;
    - `calm`: no promotion, trend, season or drift;
    - `bursty`: a session is about one category, so that its events carry little more information than one event;
    - `drifting`: five times as much of every profile is replaced per day;
    - `new_season`: on one day the demand for every category changes permanently, and users respond differently;
    - `few_shifts`: 3 % of the users shift.
    """
    changed: dict[Scenario, dict[str, Any]] = {
        "base": {},
        "calm": {"promotions": 0, "trend_strength": 0.0, "season_strength": 0.0, "wander": 0.0},
        "bursty": {"session_focus": 1.0},
        "drifting": {"wander": 0.01},
        "new_season": {"new_season": _NEW_SEASON},
        "few_shifts": {"planted": _planted(0.03)},
    }
    settings: dict[str, Any] = {
        "users": users,
        "seed": seed,
        "days": 150,
        "first_day": _FIRST_DAY,
        "segments": {
            "uk": ("United Kingdom",),
            "germany": ("Germany",),
            "france": ("France",),
            "spain": ("Spain",),
        },
        "other_countries": ("Netherlands",),
        "promotions": 7,
        "organic_drift": 0.0,
        "wander": 0.002,
        "planted": _planted(0.15),
    }
    return Simulation(**(settings | changed[name]))


def _planted(shifting: float) -> PlantedShares:
    return PlantedShares(
        abrupt=0.35 * shifting,
        partial=0.25 * shifting,
        gradual=0.25 * shifting,
        seasonal_return=0.15 * shifting,
        surge=0.0,
        fade=0.0,
        gift=0.10,
        churn=0.05,
        volume=0.05,
    )
