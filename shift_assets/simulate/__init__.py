"""Logs with planted, labelled shifts of interest, and with what must not raise an alarm."""

from __future__ import annotations

from shift_assets.simulate.landing import FileCounts, SimulationError, Summary, simulate
from shift_assets.simulate.scenario import PlantedShares, Simulation

__all__ = ["FileCounts", "PlantedShares", "Simulation", "SimulationError", "Summary", "simulate"]
