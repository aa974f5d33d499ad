"""Laws of partition keys, ranges and mappings, as Dagster itself resolves them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shift_assets.contracts.partition import SEGMENT_PATTERN, Partition, days_between
from shift_assets.defs import partitions as keys
from shift_assets.workspace.workspace import Workspace
from shift_assets_tests.workspaces import FIRST_DAY, SOURCE, new_workspace

COUNTRIES = """\
segments:
  by: column
  table: events
  column: country
  values: {uk: [United Kingdom], europe: [France, Germany]}
  other: rest
"""

some_partitions = st.builds(
    Partition, st.dates(date(2000, 1, 1), date(2999, 12, 31)), st.from_regex(SEGMENT_PATTERN, fullmatch=True)
)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return new_workspace(tmp_path_factory.mktemp("closed"), days=40)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


def definition(workspace: Workspace) -> dg.MultiPartitionsDefinition:
    return keys.day_segment_partitions(workspace.settings, workspace.source)


@given(some_partitions)
def test_a_key_names_the_partition_it_was_built_from(partition: Partition) -> None:
    """Building a key and parsing it gives the partition again, time first."""
    key = keys.key_of(partition)
    assert keys.parse_key(str(key)) == partition
    assert str(key) == f"{partition.day.isoformat()}|{partition.segment}"


NO_KEYS = """\
2026-01-31/2026-01-31|/|uk/2026-01-31|uk|x/uk|2026-01-31/20260131|uk/2026-W05-6|uk/2026-02-30|uk/2026-1-31|uk/
2026-01-31|UK/2026-01-31|uk\n/ 2026-01-31|uk/2026-01-31|..
"""


@pytest.mark.parametrize("key", NO_KEYS.split("/"))
def test_anything_else_is_no_key(key: str) -> None:
    """A key that Dagster would not build is refused, never guessed at."""
    with pytest.raises(ValueError, match=r"key|day|month"):
        keys.parse_key(key)


@given(st.data())
def test_range_tags_ask_for_the_spanned_rectangle(workspace: Workspace, data: st.DataObject) -> None:
    """Dagster resolves the tags to every day between, times every segment between, and to nothing else."""
    segments = list(workspace.source.segment_keys)
    every = [Partition(FIRST_DAY + timedelta(days=n), s) for n in range(40) for s in segments]
    requested = data.draw(st.lists(st.sampled_from(every), min_size=1, max_size=6))
    tags = keys.range_tags(requested, segments)
    start, end = (tags[f"dagster/asset_partition_range_{side}"] for side in ("start", "end"))
    found = {
        keys.parse_key(key)
        for key in definition(workspace).get_partition_keys_in_range(dg.PartitionKeyRange(start, end))
    }
    days = days_between(min(p.day for p in requested), max(p.day for p in requested))
    order = [segments.index(p.segment) for p in requested]
    assert found == {Partition(day, s) for day in days for s in segments[min(order) : max(order) + 1]}


def test_segments_of_a_range_follow_their_declaration(tmp_path: Path) -> None:
    """A range over all segments holds all of them, though their names do not sort as they are declared."""
    source = SOURCE[: SOURCE.index("segments:")] + COUNTRIES
    workspace = new_workspace(tmp_path, source=source)
    segments = workspace.source.segment_keys
    assert segments == ("uk", "europe", "rest")
    tags = keys.range_tags([Partition(FIRST_DAY, s) for s in reversed(segments)], segments)
    span = dg.PartitionKeyRange(*(tags[f"dagster/asset_partition_range_{side}"] for side in ("start", "end")))
    assert len(definition(workspace).get_partition_keys_in_range(span)) == 3


def test_range_tags_say_days_and_segments_to_a_reader(tmp_path: Path) -> None:
    """The list of runs shows what a run computes: its days, and every segment between the asked ones."""
    workspace = new_workspace(tmp_path, source=SOURCE[: SOURCE.index("segments:")] + COUNTRIES)
    requested = [Partition(FIRST_DAY + timedelta(days=2), "rest"), Partition(FIRST_DAY, "uk")]
    tags = keys.range_tags(requested, workspace.source.segment_keys)
    assert (tags["shift/days"], tags["shift/segments"]) == ("2026-03-01..2026-03-03", "uk, europe, rest")


def upstream(workspace: Workspace, mapping: dg.PartitionMapping, day: date, instance: dg.DagsterInstance) -> list[str]:
    """Keys that `mapping` gives for the partition of `day` in shard-0."""
    partitions = definition(workspace)
    requested = partitions.empty_subset().with_partition_keys([str(keys.key_of(Partition(day, "shard-0")))])
    return sorted(
        mapping.get_upstream_mapped_partitions_result_for_partitions(
            requested, partitions, partitions
        ).partitions_subset.get_partition_keys()
    )


def expected(*days: int) -> list[str]:
    return [f"{FIRST_DAY + timedelta(days=n)}|shard-0" for n in days]


def test_mappings_name_the_days_they_say(workspace: Workspace, instance: dg.DagsterInstance) -> None:
    """On the eleventh day: the window, the days before it, and the one day before."""
    day = FIRST_DAY + timedelta(days=10)
    assert upstream(workspace, keys.window(4), day, instance) == expected(7, 8, 9, 10)
    assert upstream(workspace, keys.window_before(4), day, instance) == expected(6, 7, 8, 9)
    assert upstream(workspace, keys.days_ago(4), day, instance) == expected(6)
    assert upstream(workspace, keys.window_between(5, 3), day, instance) == expected(5, 6, 7)


def test_the_beginning_of_the_calendar_cuts_a_window(workspace: Workspace, instance: dg.DagsterInstance) -> None:
    """The first day has itself in its window, and no yesterday; that is no error."""
    assert upstream(workspace, keys.window(28), FIRST_DAY, instance) == expected(0)
    assert upstream(workspace, keys.window_before(28), FIRST_DAY, instance) == []
    assert upstream(workspace, keys.days_ago(1), FIRST_DAY, instance) == []
    assert upstream(workspace, keys.window(28), FIRST_DAY + timedelta(days=2), instance) == expected(0, 1, 2)


def test_every_partition_depends_on_the_first_day_of_the_frozen_model(workspace: Workspace) -> None:
    """The category model is served from one partition, whatever day and segment asks."""
    days = keys.day_partitions(workspace.settings, workspace.source)
    requested = definition(workspace).subset_with_all_partitions()
    found = keys.first_day_only(workspace.settings).get_upstream_mapped_partitions_result_for_partitions(
        requested, definition(workspace), days
    )
    assert list(found.partitions_subset.get_partition_keys()) == [FIRST_DAY.isoformat()]


def test_a_closed_calendar_ends_with_its_last_day(workspace: Workspace) -> None:
    """First and last day of the settings are the first and last partition."""
    days = keys.day_partitions(workspace.settings, workspace.source)
    assert days.get_first_partition_key() == FIRST_DAY.isoformat()
    assert days.get_last_partition_key() == (FIRST_DAY + timedelta(days=39)).isoformat()
    assert len(definition(workspace).get_partition_keys()) == 80


def test_an_open_calendar_grows_at_the_shops_midnight(tmp_path: Path) -> None:
    """A day has its partition when it is over in the shop's zone, not in UTC."""
    workspace = new_workspace(tmp_path, days=None)
    days = keys.day_partitions(workspace.settings, workspace.source)
    assert days.timezone == "Asia/Shanghai"
    midnight = datetime(2026, 3, 9, 16, tzinfo=UTC)
    for now, last in ((midnight - timedelta(minutes=1), "2026-03-08"), (midnight, "2026-03-09")):
        with dg.partition_loading_context(effective_dt=now):
            assert days.get_last_partition_key() == last


def test_days_between_is_a_closed_range() -> None:
    """Both ends belong to it; a single day is one."""
    assert days_between(FIRST_DAY, FIRST_DAY) == [FIRST_DAY]
    assert len(days_between(FIRST_DAY, FIRST_DAY + timedelta(days=3))) == 4
