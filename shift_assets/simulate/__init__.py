"""Logs with planted, labelled shifts of interest, and with what must not raise an alarm."""

from __future__ import annotations

from shift_assets.simulate.landing import FileCounts, SimulationError, Summary, simulate
from shift_assets.simulate.scenario import PlantedShares, Simulation
from shift_assets.simulate.scenarios import SCENARIOS, Scenario, scenario
from shift_assets.simulate.series import SimulatedSeries, simulated_series

__all__ = [
    "SCENARIOS",
    "FileCounts",
    "PlantedShares",
    "Scenario",
    "SimulatedSeries",
    "Simulation",
    "SimulationError",
    "Summary",
    "scenario",
    "simulate",
    "simulated_series",
]
