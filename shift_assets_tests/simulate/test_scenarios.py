"""Laws of the scenarios and of the series that are made without files."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shift_assets.contracts.cleaning import BEHAVIORS
from shift_assets.contracts.interest import INTEREST_SERIES
from shift_assets.interest.series import interest_series
from shift_assets.settings.root import InterestSettings
from shift_assets.simulate.interest_series import simulated_series
from shift_assets.simulate.scenarios import SCENARIOS, scenario
from shift_assets.simulate.simulation import Simulation
from shift_assets.simulate.writer import simulate

COUNTS = [f"n_{behavior}" for behavior in BEHAVIORS]
SHORT = Simulation(users=400, days=30, categories=8, promotions=0, season_strength=0.0, organic_drift=0.0, seed=5)


def mix_of(series: pa.Table, first: int, last: int) -> pd.DataFrame:
    """Shares of events [user, category] on the days `first <= d <= last`."""
    frame = series.to_pandas()
    days = pd.to_datetime(frame.day) - pd.Timestamp(SHORT.first_day)
    frame = frame[days.dt.days.between(first, last)].assign(events=lambda f: f[COUNTS].sum(axis=1))
    table: pd.DataFrame = frame.pivot_table(
        index="user_id", columns="category", values="events", aggfunc="sum", fill_value=0
    )
    return table.div(table.sum(axis=1), axis=0)


def distance(one: pd.DataFrame, other: pd.DataFrame) -> float:
    """Mean total variation of the users in both."""
    return float((one - other).abs().sum(axis=1).div(2).loc[one.index.intersection(other.index)].mean())


def changed(**settings: object) -> Simulation:
    return Simulation.model_validate(SHORT.model_dump() | settings)


def test_the_series_in_memory_is_that_of_the_files(tmp_path: Path) -> None:
    simulation = changed(users=120, days=4, format="parquet", users_per_file=50)
    simulate(simulation, tmp_path, workers=1)
    users = pq.read_table(tmp_path / "landing" / "users" / "users.parquet")
    found = simulated_series(simulation)
    country = dict(zip(users["user_id"].to_pylist(), users["country"].to_pylist(), strict=True))
    key_of = {"United Kingdom": "uk", "Germany": "dach", "Austria": "dach", "France": "france"}
    assert found.segments == {user: key_of.get(name, "rest") for user, name in country.items()}
    days = []
    for number in range(simulation.days):
        day = simulation.first_day + timedelta(days=number)
        folder = tmp_path / "landing" / "events" / f"day={day}"
        events = pa.concat_tables(pq.read_table(file, partitioning=None) for file in sorted(folder.iterdir()))
        events = events.append_column("day", pa.array([day] * len(events), pa.date32()))
        events = events.append_column("segment", pa.array([found.segments[u] for u in events["user_id"].to_pylist()]))
        for name in ("quantity", "rating"):
            events = events.set_column(events.column_names.index(name), name, events[name].cast(pa.float64()))
        days.append(interest_series(events, InterestSettings()))
    assert found.series.schema == INTEREST_SERIES.schema
    assert found.series.equals(pa.concat_tables(days).combine_chunks())
    assert found.labels.equals(pq.read_table(tmp_path / "labels.parquet"))


def test_a_new_season_moves_everybody_for_good_and_is_labelled() -> None:
    simulation = changed(new_season=SHORT.first_day + timedelta(days=10))
    plain, moved = simulated_series(SHORT).series, simulated_series(simulation)
    assert distance(mix_of(plain, 0, 9), mix_of(moved.series, 0, 9)) == 0
    for first, last in ((10, 19), (20, 29)):
        assert distance(mix_of(plain, first, last), mix_of(moved.series, first, last)) > 0.2
    (label,) = [row for row in moved.labels.to_pylist() if row["kind"] == "new_season"]
    assert (label["start_day"], label["end_day"]) == (simulation.new_season, simulation.last_day)
    assert label["user_id"] is None and not label["must_alarm"]  # noqa: PT018


def test_focused_sessions_hold_fewer_categories() -> None:
    met = [
        simulated_series(changed(session_focus=focus))
        .series.group_by(["day", "user_id"])
        .aggregate([([], "count_all")])
        for focus in (1.0, 4.0, 40.0)
    ]
    means = [table["count_all"].to_pandas().mean() for table in met]
    assert means == sorted(means)
    assert means[0] < 0.8 * means[2]


def test_wandering_leads_further_from_day_to_day_and_leaves_the_segments_mix_alone() -> None:
    stationary, wandering = (simulated_series(changed(wander=share, days=50)).series for share in (0.0, 0.05))
    start = mix_of(stationary, 0, 9)
    gone = [distance(start, mix_of(wandering, first, first + 9)) for first in (0, 15, 30)]
    assert gone == sorted(gone)
    assert gone[2] > 1.2 * distance(start, mix_of(stationary, 30, 39))
    shift = mix_of(stationary, 30, 49).mean() - mix_of(wandering, 30, 49).mean()
    assert shift.abs().sum() / 2 < 0.05


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_plants_what_it_says_from_day_60_on(name: str) -> None:
    simulation = scenario(name, users=2_000, seed=3)  # type: ignore[arg-type]
    assert simulation == scenario(name, users=2_000, seed=3)  # type: ignore[arg-type]
    shifts = ["abrupt", "partial", "gradual", "seasonal_return"]
    planted = simulation.planted.model_dump()
    total = sum(planted[kind] for kind in shifts)
    assert total == pytest.approx(0.03 if name == "few_shifts" else 0.15)
    assert [planted[kind] / total for kind in shifts] == pytest.approx([0.35, 0.25, 0.25, 0.15])
    assert round(simulation.days * 0.4) >= 60  # the first day that a change can begin


@pytest.mark.parametrize("day", ["2025-12-31", "2026-02-01"])
def test_a_new_season_outside_the_log_is_refused(day: str) -> None:
    with pytest.raises(ValueError, match="new season"):
        changed(new_season=day)
