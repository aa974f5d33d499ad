"""Laws of the automation conditions, tick by tick, on the real graph and a real instance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.asset_daemon_cursor import AssetDaemonCursor

from shift_assets.churn.bg_nbd import HORIZON_DAYS
from shift_assets.contracts.partition import Partition
from shift_assets.definitions import build_definitions
from shift_assets.defs.automation.jobs import DAILY
from shift_assets.defs.partitions import key_of, range_tags
from shift_assets.workspace.home import open_workspace
from shift_assets_tests.workspaces import FIRST_DAY, new_workspace

pytestmark = pytest.mark.slow

DAYS = 14
SEGMENTS = ("shard-0", "shard-1")
LOOK_BACK, HORIZON = 5, 7


def day(number: int) -> date:
    """Day `number` of the calendar, from 1."""
    return FIRST_DAY + timedelta(days=number - 1)


class Graph:
    """The installation's graph, all of it materialised on `materialised` days, and the ticks of its conditions."""

    def __init__(self, home: Path, instance: dg.DagsterInstance) -> None:
        new_workspace(home, days=DAYS)
        with (home / "settings.yaml").open("a") as settings:
            settings.write(f"features: {{look_back_days: {LOOK_BACK}}}\noutcomes: {{horizon_days: {HORIZON}}}\n")
        workspace = open_workspace(home)
        self.instance = instance
        self.definitions = build_definitions(workspace)
        self.keys = [key for asset in self.definitions.assets or [] for key in asset.keys]  # type: ignore[union-attr]
        self.cursor: AssetDaemonCursor | None = None
        instance.report_runless_asset_event(dg.AssetMaterialization("category_model", partition=day(1).isoformat()))

    def materialise(
        self, asset: str, days: Iterable[int], version: str = "first", segments: Iterable[str] = SEGMENTS
    ) -> None:
        for number in days:
            for segment in segments:
                key = key_of(Partition(day(number), segment))
                tags = {f"dagster/partition/{name}": value for name, value in key.keys_by_dimension.items()}
                tags |= {"dagster/data_version": version, "dagster/data_version_is_user_provided": "true"}
                self.instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=key, tags=tags))

    def materialise_all(self, days: Iterable[int]) -> None:
        wanted = list(days)
        for key in self.keys:
            if key.to_user_string() != "category_model":
                self.materialise(key.to_user_string(), wanted)

    def tick(self) -> dict[str, set[tuple[int, str]]]:
        """What one tick asks for: (day number, segment) by asset."""
        result = dg.evaluate_automation_conditions(
            defs=self.definitions, instance=self.instance, cursor=self.cursor, asset_selection=dg.AssetSelection.all()
        )
        self.cursor = result.cursor
        requested = {}
        for key in self.keys:
            found = result.get_requested_partitions(key)
            if found:
                keys = (str(it).split("|") for it in found)
                requested[key.to_user_string()] = {((date.fromisoformat(d) - FIRST_DAY).days + 1, s) for d, s in keys}
        return requested


@pytest.fixture
def graph(tmp_path: Path) -> Iterator[Graph]:
    with dg.DagsterInstance.ephemeral() as instance:
        made = Graph(tmp_path, instance)
        made.materialise_all(range(1, DAYS + 1))
        assert made.tick() == {}
        yield made


def days_of(requested: set[tuple[int, str]]) -> set[int]:
    return {number for number, _ in requested}


def test_a_changed_older_partition_asks_exactly_for_its_dependants(graph: Graph) -> None:
    """Corrected events of day 5: its series, the features whose window holds it, in that segment, and no other day."""
    graph.materialise("clean_events", [5], "second", ["shard-0"])
    requested = graph.tick()
    assert requested["interest_series"] == {(5, "shard-0")}
    assert requested["item_features"] == {(number, "shard-0") for number in range(5, 5 + LOOK_BACK)}
    assert requested["user_features"] == {(number, "shard-0") for number in range(5, 5 + LOOK_BACK)}
    assert requested.keys() <= {"interest_series", "item_features", "user_features", "warehouse", "bi_files"}
    assert all({segment for _, segment in found} == {"shard-0"} for found in requested.values())


def test_the_same_content_asks_for_nothing(graph: Graph) -> None:
    """Events computed again to the same rows stop right there."""
    graph.materialise("clean_events", [5], "first")
    assert [graph.tick() for _ in range(2)] == [{}, {}]


def test_what_was_requested_is_not_requested_again(graph: Graph) -> None:
    """The tick after the one that asked is quiet, whether the run ended or not."""
    graph.materialise("clean_events", [5], "second", ["shard-0"])
    assert graph.tick()
    assert graph.tick() == {}


def test_a_correction_ends_where_the_content_stays_the_same(graph: Graph) -> None:
    """A series recomputed to the same rows asks for no outcome, and nothing goes on to other days."""
    graph.materialise("clean_events", [5], "second", ["shard-0"])
    graph.tick()
    graph.materialise("interest_series", [5], "first", ["shard-0"])
    graph.materialise("item_features", range(5, 5 + LOOK_BACK), "first", ["shard-0"])
    graph.materialise("user_features", range(5, 5 + LOOK_BACK), "first", ["shard-0"])
    assert graph.tick() == {}


def test_a_changed_series_asks_for_the_outcomes_of_its_horizon_and_never_for_state(graph: Graph) -> None:
    """Outcomes read the series of 28 days, for churn; the state's chain is left to range runs, on every tick."""
    graph.materialise("interest_series", [5], "second", ["shard-0"])
    requested = graph.tick()
    assert days_of(requested["alert_outcomes"]) == set(range(5, DAYS + 1))
    assert DAYS < 5 + HORIZON_DAYS
    for _ in range(5):
        assert "interest_state" not in requested
        assert "shift_signals" not in requested
        requested = graph.tick()
    assert requested == {}


def test_nothing_crawls_from_day_to_day(graph: Graph) -> None:
    """A changed state asks for no state of the next day; a late state is a range run's work."""
    graph.materialise("interest_state", [5], "second")
    for _ in range(4):
        requested = graph.tick()
        assert requested.keys() <= {"warehouse", "bi_files"}


def test_a_partition_that_was_never_materialised_is_not_requested(tmp_path: Path) -> None:
    """History that was cleaned for the state alone stays without features, corrected or not."""
    with dg.DagsterInstance.ephemeral() as instance:
        graph = Graph(tmp_path, instance)
        for asset in ("clean_events", "rejected_events", "interest_series", "interest_state"):
            graph.materialise(asset, range(1, 10))
        assert graph.tick() == {}
        graph.materialise("clean_events", [5], "second")
        assert graph.tick() == {"interest_series": {(5, segment) for segment in SEGMENTS}}


def test_missing_inputs_hold_a_correction_back(tmp_path: Path) -> None:
    """Features whose window has a hole are not asked for until the hole is filled."""
    with dg.DagsterInstance.ephemeral() as instance:
        graph = Graph(tmp_path, instance)
        for asset in ("clean_events", "interest_series"):
            graph.materialise(asset, [number for number in range(1, 13) if number != 7])
        graph.materialise("user_features", range(1, 21))
        graph.tick()
        graph.materialise("interest_series", [5], "second")
        assert days_of(graph.tick()["user_features"]) == {5, 6}
        for asset in ("clean_events", "interest_series"):
            graph.materialise(asset, [7])
        assert days_of(graph.tick()["user_features"]) == set(range(7, 12))


def test_nothing_is_requested_while_a_range_run_is_computing_it(graph: Graph) -> None:
    """From the moment it is queued, the daily run's partitions are its own; its results ask for nothing more."""
    corners = [Partition(day(number), segment) for number in (12, 14) for segment in SEGMENTS]
    job = graph.definitions.resolve_job_def(DAILY)
    run = graph.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=range_tags(corners, SEGMENTS))
    assert graph.tick() == {}
    graph.materialise("clean_events", (12, 13, 14), "second")
    assert graph.tick() == {}
    for key in graph.keys:
        if key.to_user_string() not in {"category_model", "clean_events"}:
            graph.materialise(key.to_user_string(), (12, 13, 14), "second")
    assert graph.tick() == {}
    graph.instance.report_run_failed(run)
    assert [graph.tick() for _ in range(2)] == [{}, {}]


def test_what_a_range_run_left_over_is_requested_when_it_is_done(graph: Graph) -> None:
    """A late run over days 8 to 10 leaves the features of the days after them to the conditions, in one tick."""
    corners = [Partition(day(number), segment) for number in (8, 10) for segment in SEGMENTS]
    job = graph.definitions.resolve_job_def(DAILY)
    run = graph.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=range_tags(corners, SEGMENTS))
    for key in graph.keys:
        if key.to_user_string() != "category_model":
            graph.materialise(key.to_user_string(), (8, 9, 10), "second")
    graph.instance.report_run_failed(run)
    requested = graph.tick()
    after = set(range(11, 10 + LOOK_BACK))
    assert days_of(requested["user_features"]) == days_of(requested["item_features"]) == after
    assert "interest_series" not in requested
    assert "interest_state" not in requested


def test_the_conditions_ask_for_no_more_than_the_windows_hold(graph: Graph) -> None:
    """However often the oldest events change, each tick asks for a window of days of each asset, and none is lost."""
    for version in ("second", "third"):
        graph.materialise("clean_events", [1], version, ["shard-0"])
        requested = graph.tick()
        assert max(len(found) for found in requested.values()) == LOOK_BACK
        assert sum(len(found) for found in requested.values()) <= 5 * LOOK_BACK
