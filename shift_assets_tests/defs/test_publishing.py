"""Laws of publishing: what Dagster knows of each partition, after single and after range runs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from shift_assets.contracts.interest import INTEREST_SERIES
from shift_assets.contracts.partition import Partition
from shift_assets.contracts.shift import SEGMENT_SHIFTS
from shift_assets.defs import partitions as keys
from shift_assets.defs.publishing import by_partition, shape_of, version
from shift_assets.defs.table_asset import TableAsset, build_asset, chunks_of_days
from shift_assets.storage.lake import EMPTY_DIGEST
from shift_assets.workspace.workspace import Workspace
from shift_assets_tests.lakes import rows_of
from shift_assets_tests.workspaces import FIRST_DAY, new_workspace

TABLE = INTEREST_SERIES
DAYS = [FIRST_DAY + timedelta(days=n) for n in range(4)]
SEGMENTS = ("shard-0", "shard-1")
EMPTY = Partition(DAYS[1], "shard-1")


class Shop:
    """An installation with one asset of a table, whose rows a test may change."""

    def __init__(self, home: Path, instance: dg.DagsterInstance) -> None:
        self.workspace = new_workspace(home)
        self.instance = instance
        self.seeds: dict[Partition, int] = {}
        self.chunk_days = 62
        self.calls: list[list[Partition]] = []

    def compute(self, _: Workspace, partitions: list[Partition]) -> pa.Table:
        self.calls.append(partitions)
        parts = [rows_of(TABLE, p, 5 + p.day.day, seed=self.seeds.get(p, 0)) for p in partitions if p != EMPTY]
        return pa.concat_tables([TABLE.empty(), *parts])

    def run(self, first: date, last: date, *, single: bool = False) -> dg.ExecuteInProcessResult:
        """A range run over both segments, or a run of the one partition (`first`, shard-0)."""
        asset = build_asset(
            TableAsset(
                table=TABLE,
                group="test",
                deps=[],
                compute=self.compute,
                metrics=lambda rows: {"users": float(len(rows["user_id"].unique()))},
                plot=lambda _workspace, _rows: b"png",
                chunk_days=self.chunk_days,
            ),
            keys.day_segment_partitions(self.workspace.settings, self.workspace.source),
            self.workspace.settings,
        )
        corners = [Partition(day, segment) for day in (first, last) for segment in SEGMENTS]
        tags = None if single else keys.range_tags(corners, SEGMENTS)
        return dg.materialize(
            [asset],
            instance=self.instance,
            resources={"workspace": self.workspace},
            partition_key=str(keys.key_of(Partition(first, SEGMENTS[0]))) if single else None,
            tags=tags,
        )

    def events(self) -> dict[Partition, list[dg.EventLogEntry]]:
        """Materialisation events by partition, oldest first."""
        found: dict[Partition, list[dg.EventLogEntry]] = {}
        records = self.instance.fetch_materializations(dg.AssetKey(TABLE.name), limit=1000).records
        for record in sorted(records, key=lambda record: record.storage_id):
            found.setdefault(keys.parse_key(str(record.partition_key)), []).append(record.event_log_entry)
        return found


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Shop(tmp_path, instance)


def tags_of(event: dg.EventLogEntry) -> dict[str, str]:
    materialization = event.asset_materialization
    assert materialization is not None
    return dict(materialization.tags or {})


def test_each_partition_of_a_range_run_has_one_event_with_its_own_version(shop: Shop) -> None:
    """One event per partition, carrying that partition's digest, dimensions, code version and rows; no event more."""
    assert shop.run(DAYS[0], DAYS[3]).success
    existing = shop.workspace.lake.published(TABLE)
    events = shop.events()
    assert events.keys() == {Partition(day, segment) for day in DAYS for segment in SEGMENTS}
    for partition, (event,) in events.items():
        tags = tags_of(event)
        assert tags["dagster/data_version"] == existing[partition].digest
        assert tags["dagster/data_version_is_user_provided"] == "true"
        assert tags["dagster/partition/day"] == partition.day.isoformat()
        assert tags["dagster/partition/segment"] == partition.segment
        assert tags["dagster/code_version"] == version(shop.compute, shop.workspace.settings, [], shape_of(TABLE))
        materialization = event.asset_materialization
        assert materialization is not None
        assert materialization.metadata["dagster/row_count"].value == existing[partition].rows
    versions = {tags_of(event)["dagster/data_version"] for (event,) in events.values()}
    assert len(versions) == len(events)


def test_a_run_of_one_partition_says_the_same(shop: Shop) -> None:
    """A single-partition run leaves exactly one event, as a range run would: the canary of the private key."""
    assert shop.run(DAYS[0], DAYS[0], single=True).success
    single = shop.events()
    assert list(single) == [Partition(DAYS[0], SEGMENTS[0])]
    shop.run(DAYS[0], DAYS[0])
    first, second = shop.events()[Partition(DAYS[0], SEGMENTS[0])]
    assert tags_of(first) == tags_of(second)


def test_the_steps_own_result_is_no_event_without_a_partition(shop: Shop) -> None:
    """The result that ends the step adds nothing: no event without a partition, no doubled count."""
    result = shop.run(DAYS[0], DAYS[1])
    found = [e for e in result.all_events if e.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION]
    assert len(found) == 4
    assert all(event.partition for event in found)
    assert not [e for e in result.all_events if e.event_type == dg.DagsterEventType.ASSET_OBSERVATION]
    assert shop.instance.get_materialized_partitions(dg.AssetKey(TABLE.name)) == {
        f"{day}|{segment}" for day in DAYS[:2] for segment in SEGMENTS
    }


def test_unchanged_content_keeps_its_data_version(shop: Shop) -> None:
    """Computed again, only the partition whose rows changed has another version."""
    shop.run(DAYS[0], DAYS[2])
    changed = Partition(DAYS[1], SEGMENTS[0])
    shop.seeds[changed] = 1
    shop.run(DAYS[0], DAYS[2])
    versions = {p: [tags_of(event)["dagster/data_version"] for event in found] for p, found in shop.events().items()}
    assert {p for p, (before, after) in versions.items() if before != after} == {changed}


def test_a_partition_without_rows_is_materialised_and_empty(shop: Shop) -> None:
    """Nothing happened on the day is a fact: the partition exists, with no rows and the version of no content."""
    shop.run(DAYS[1], DAYS[1])
    (event,) = shop.events()[EMPTY]
    assert tags_of(event)["dagster/data_version"] == EMPTY_DIGEST
    assert shop.workspace.lake.published(TABLE)[EMPTY].rows == 0


def test_preview_and_plot_are_on_the_newest_day_only(shop: Shop) -> None:
    """A long range run does not repeat its picture on every day; users in the preview are masked."""
    shop.run(DAYS[0], DAYS[3])
    for partition, (event,) in shop.events().items():
        assert event.asset_materialization is not None
        metadata = event.asset_materialization.metadata
        assert ("picture" in metadata) == (partition.day == DAYS[3])
        users_met = metadata["users"].value
        assert isinstance(users_met, float)
        assert users_met >= 0
        if "preview" in metadata:
            users = {row["user_id"] for row in shop.workspace.lake.read(TABLE, first_day=DAYS[3]).to_pylist()}
            assert not [user for user in users if user in str(metadata["preview"].value)]


def test_a_long_range_is_computed_in_chunks_of_days(shop: Shop) -> None:
    """Each chunk is computed and committed by itself; together they are the range, in order."""
    shop.chunk_days = 2
    shop.run(DAYS[0], DAYS[3])
    assert [sorted({p.day for p in call}) for call in shop.calls] == [DAYS[:2], DAYS[2:]]
    assert len(shop.events()) == 8


def test_a_failed_chunk_keeps_what_was_committed_before_it(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed or failing run had published stays, with its events; the rest has none."""
    shop.chunk_days = 2
    compute = shop.compute

    def failing(_: Workspace, partitions: list[Partition]) -> pa.Table:
        if partitions[0].day == DAYS[2]:
            raise dg.Failure("the third day is bad", allow_retries=False)
        return compute(shop.workspace, partitions)

    monkeypatch.setattr(shop, "compute", failing)
    with pytest.raises(dg.Failure):
        shop.run(DAYS[0], DAYS[3])
    assert {p.day for p in shop.events()} == set(DAYS[:2]) == {p.day for p in shop.workspace.lake.published(TABLE)}


def test_chunks_span_days_not_partitions() -> None:
    """However many segments, a chunk holds at most its days, and gaps in the days do not lengthen it."""
    requested = [Partition(day, segment) for day in (DAYS[0], DAYS[1], DAYS[3]) for segment in SEGMENTS]
    found = list(chunks_of_days(requested, 2))
    assert [sorted({p.day for p in chunk}) for chunk in found] == [[DAYS[0], DAYS[1]], [DAYS[3]]]
    assert [p for chunk in found for p in chunk] == requested


def test_rows_are_split_by_partition() -> None:
    """Every partition gets its own rows, whatever their order; one without rows gets an empty table."""
    requested = [Partition(day, segment) for day in DAYS[:2] for segment in SEGMENTS]
    rows = pa.concat_tables([rows_of(SEGMENT_SHIFTS, p, 3) for p in reversed(requested[:3])])
    found = by_partition(rows, requested)
    for partition in requested[:3]:
        assert set(found[partition]["day"].to_pylist()) == {partition.day}
        assert set(found[partition]["segment"].to_pylist()) == {partition.segment}
    assert found[requested[3]].num_rows == 0


def test_the_version_changes_with_code_settings_and_shape_only(shop: Shop) -> None:
    """The same function, settings and shape give the same version; another one of them another version."""
    settings = shop.workspace.settings
    other = settings.model_copy(update={"seed": 7})
    shape = shape_of(TABLE)
    assert version(shop.compute, settings, ["seed"], shape) == version(shop.compute, settings, ["seed"], shape)
    versions = {
        version(shop.compute, settings, ["seed"], shape),
        version(shop.compute, other, ["seed"], shape),
        version(shop.compute, settings, ["seed"], shape_of(SEGMENT_SHIFTS)),
        version(shop.events, settings, ["seed"], shape),
    }
    assert len(versions) == 4
    assert version(shop.compute, settings) == version(shop.compute, other)
