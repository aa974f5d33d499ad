"""Laws of the landing sensor, tick by tick, on a real instance."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pyarrow as pa
import pytest

from shift_assets.contracts.cleaning import CLEAN_EVENTS, DELIVERIES
from shift_assets.contracts.partition import Partition, days_between
from shift_assets.definitions import build_definitions
from shift_assets.defs.automation import landing_changes, sensors
from shift_assets.defs.automation.jobs import CATEGORIES, DAILY, all_jobs
from shift_assets.defs.automation.landing_changes import LandingCursor
from shift_assets.defs.automation.sensors import landing_sensor
from shift_assets.ingest.categories.category_model import CategoryModel
from shift_assets.ingest.readers.source_files import list_landing
from shift_assets.workspace.home import FOLLOWED_GAP_DAYS, open_workspace
from shift_assets.workspace.workspace import Workspace
from shift_assets_tests.workspaces import FIRST_DAY, land_file, new_workspace

pytestmark = pytest.mark.slow

SEGMENTS = ("shard-0", "shard-1")


def day(number: int) -> date:
    """Day `number` of the calendar, from 1."""
    return FIRST_DAY + timedelta(days=number - 1)


@dataclass
class Ticks:
    """A sensor whose cursor goes from tick to tick."""

    workspace: Workspace
    instance: dg.DagsterInstance
    cursor: str | None = None
    keys: list[str] = field(default_factory=list)

    def __call__(self) -> list[dg.RunRequest]:
        requests = self.result().run_requests
        new = [request for request in requests or [] if request.run_key not in self.keys]
        self.keys += [str(request.run_key) for request in new]
        return new

    def result(self) -> dg.SensorResult:
        sensor = landing_sensor(self.workspace, all_jobs(self.workspace))
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursor)
        result: Any = sensor(context)
        if isinstance(result, dg.SkipReason):
            return dg.SensorResult(skip_reason=result)
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor
        return result

    def reason(self) -> str:
        skipped = self.result().skip_reason
        return skipped.skip_message or "" if isinstance(skipped, dg.SkipReason) else str(skipped)


def requested_days(request: dg.RunRequest) -> tuple[date, date]:
    """First and last day of the request's range."""
    start, end = (request.tags[f"dagster/asset_partition_range_{side}"] for side in ("start", "end"))
    assert (start[10:], end[10:]) == ("|" + SEGMENTS[0], "|" + SEGMENTS[1])
    return date.fromisoformat(start[:10]), date.fromisoformat(end[:10])


def materialise(instance: dg.DagsterInstance, asset: str, days: list[date]) -> None:
    """Reports `asset` as materialised on `days`, in both segments."""
    for it in days:
        for segment in SEGMENTS:
            key = dg.MultiPartitionKey({"day": it.isoformat(), "segment": segment})
            instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=key))


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        opened.report_runless_asset_event(dg.AssetMaterialization("category_model", partition=FIRST_DAY.isoformat()))
        yield opened


@pytest.fixture
def tick(tmp_path: Path, instance: dg.DagsterInstance) -> Ticks:
    return Ticks(new_workspace(tmp_path / "home"), instance)


def ingest_day(tick: Ticks, number: int) -> None:
    """Delivers day `number` and lets the sensor ask for it; its state exists afterwards."""
    land_file(tick.workspace, day(number))
    assert not tick()
    first, last = requested_days(tick()[0])
    materialise(tick.instance, "interest_state", days_between(first, last))


def test_a_new_file_is_requested_when_it_was_unchanged_on_two_ticks(tick: Ticks) -> None:
    """A file that still grows is not asked for; once it is the same on two ticks, it is, once."""
    land_file(tick.workspace, day(1))
    assert not tick()
    land_file(tick.workspace, day(1), "grown")
    assert not tick()
    (request,) = tick()
    assert (request.job_name, requested_days(request)) == (DAILY, (day(1), day(1)))
    assert not tick()


def test_a_success_file_makes_a_folder_stable_at_once(tick: Ticks) -> None:
    """A folder with `_SUCCESS` is asked for on the first tick, and that name is no malformed one."""
    land_file(tick.workspace, day(1), success=True)
    (request,) = tick()
    assert request.tags["shift/delivery"] == "new"
    assert "no delivery" not in tick.reason()


def test_a_new_day_asks_for_the_days_that_its_late_events_may_belong_to(tick: Ticks) -> None:
    """The range reaches back by the lateness and ends with the newest day, in one request."""
    for number in range(1, 6):
        ingest_day(tick, number)
    land_file(tick.workspace, day(6), success=True)
    (request,) = tick()
    assert requested_days(request) == (day(3), day(6))


def test_days_that_land_together_are_one_run(tick: Ticks) -> None:
    """Five folders landed at once ask for one range, not for five that overlap."""
    for number in range(1, 6):
        land_file(tick.workspace, day(number), success=True)
    (request,) = tick()
    assert requested_days(request) == (day(1), day(5))


def test_a_long_backlog_is_cut_into_months(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    """No run is asked to take more than DAYS_PER_RUN days, and no day is asked for twice."""
    tick = Ticks(new_workspace(tmp_path, days=70), instance)
    for number in range(1, 71):
        land_file(tick.workspace, day(number), success=True)
    ranges = [requested_days(request) for request in tick()]
    requested = [it for first, last in ranges for it in days_between(first, last)]
    assert requested == days_between(day(1), day(70))
    assert max((last - first).days + 1 for first, last in ranges) == landing_changes.DAYS_PER_RUN
    assert not tick()


def test_the_same_content_delivered_again_asks_for_nothing(tick: Ticks) -> None:
    """A touched file, and a file replaced by the same bytes, change nothing."""
    ingest_day(tick, 1)
    file = land_file(tick.workspace, day(1))
    os.utime(file, ns=(1, 1))
    assert [tick() for _ in range(3)] == [[], [], []]
    assert LandingCursor.from_json(tick.cursor).files == {}


def test_changed_content_asks_again_even_when_it_comes_back(tick: Ticks) -> None:
    """Content A, then B, then A again are three runs with three run keys."""
    keys = set()
    for text in ("A", "B", "A", "B"):
        land_file(tick.workspace, day(1), text)
        found = [request.run_key for _ in range(2) for request in tick()]
        assert len(found) == 1
        keys.update(found)
    assert len(keys) == 4


def test_a_late_delivery_within_the_lateness_goes_on_to_the_newest_day(tick: Ticks) -> None:
    """A changed folder three days behind recomputes its days and everything up to the newest, tagged late."""
    for number in range(1, 8):
        ingest_day(tick, number)
    land_file(tick.workspace, day(4), "late")
    requests = [request for _ in range(2) for request in tick()]
    assert [(requested_days(r), r.tags["shift/delivery"]) for r in requests] == [((day(1), day(7)), "late")]


def test_an_older_delivery_recomputes_its_own_days_alone(tick: Ticks) -> None:
    """A folder beyond the lateness asks for the days that it may hold events of, tagged so."""
    for number in range(1, 10):
        ingest_day(tick, number)
    land_file(tick.workspace, day(5), "very late")
    requests = [request for _ in range(2) for request in tick()]
    assert [(requested_days(r), r.tags["shift/delivery"]) for r in requests] == [((day(2), day(5)), "beyond lateness")]


def test_a_folder_still_being_delivered_is_not_run_over(tick: Ticks) -> None:
    """While day 2 arrives, a request for day 1 ends with day 1."""
    land_file(tick.workspace, day(1))
    tick()
    land_file(tick.workspace, day(2))
    assert [requested_days(request) for request in tick()] == [(day(1), day(1))]
    assert [requested_days(request) for request in tick()] == [(day(1), day(2))]


def test_a_gap_in_the_deliveries_belongs_to_the_next_range(tick: Ticks) -> None:
    """Days without a delivery are computed with the next day that has one: the state needs its yesterday."""
    ingest_day(tick, 1)
    land_file(tick.workspace, day(8), success=True)
    (request,) = tick()
    assert requested_days(request) == (day(2), day(8))


def test_malformed_names_are_reported_and_never_stop_the_sensor(tick: Ticks) -> None:
    """Strange entries next to a good folder are named in the tick; the good folder is asked for."""
    events = tick.workspace.settings.landing / "events"
    land_file(tick.workspace, day(1), success=True)
    (events / "day=2026-13-45").mkdir()
    (events / "2026-03-02").mkdir()
    (events / "day=2026-03-02").write_text("a file, no folder")
    (events / "day=2026-03-01" / "evil\nname.jsonl").write_text("{}")
    (events / "day=2026-03-01" / "link.jsonl").symlink_to("/etc/hostname")
    assert len(tick()) == 1
    reason = tick.reason()
    assert "5 entries that are no delivery" in reason
    assert "\n" not in reason


def test_a_folder_that_vanishes_or_cannot_be_read_waits(tick: Ticks, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that goes away between listing and reading is no crash: its folder waits."""
    file = land_file(tick.workspace, day(1))
    land_file(tick.workspace, day(2), success=True)
    listed = list_landing(tick.workspace.settings.landing)
    file.unlink()
    monkeypatch.setattr(landing_changes, "list_landing", lambda _: listed)
    found = landing_changes.scan(tick.workspace.settings.landing, LandingCursor(), sensors.BYTES_PER_TICK)
    assert (found.unstable, list(found.stable)) == ([day(1)], [day(2)])


@pytest.mark.parametrize(
    "cursor", ["", "{", "[]", '{"files": 3}', '{"asked": {"x": [1, 2, 3]}}', '{"files":{"a":[1]}}']
)
def test_a_bad_cursor_counts_as_none(cursor: str) -> None:
    """Whatever is in the cursor, the sensor starts from scratch."""
    assert LandingCursor.from_json(cursor) == LandingCursor()


def test_a_day_after_the_calendars_end_moves_the_end_on(tick: Ticks) -> None:
    """It is asked for by the definitions that know it: those loaded after the tick that saw it."""
    for number in (1, 12):
        land_file(tick.workspace, day(number), success=True)
    assert [requested_days(request) for request in tick()] == [(day(1), day(1))]
    assert f"the calendar ends with {day(12)} now" in tick.reason()
    assert "outside the calendar" not in tick.reason()
    tick.workspace = open_workspace(tick.workspace.settings.home)
    (request,) = tick()
    assert requested_days(request)[1] == day(12)
    assert (tick(), tick.reason()) == ([], "no new, changed or late files")


def test_a_folder_that_does_not_continue_the_calendar_is_reported_and_requests_nothing(tick: Ticks) -> None:
    """Before the first day, after a gap of more than a month (a wrong year), not over yet: the calendar stays."""
    tomorrow = datetime.now(ZoneInfo("Asia/Shanghai")).date() + timedelta(days=1)
    for it in (day(-1), day(1), day(10 + FOLLOWED_GAP_DAYS + 1), tomorrow):
        land_file(tick.workspace, it, success=True)
    assert [requested_days(request) for request in tick()] == [(day(1), day(1))]
    assert "3 folders outside the calendar" in tick.reason()
    assert open_workspace(tick.workspace.settings.home).settings.calendar == tick.workspace.settings.calendar


def test_a_calendar_that_cannot_be_written_stops_no_other_day(tick: Ticks) -> None:
    """Settings that a person wrote in another form are reported with what to write."""
    settings = tick.workspace.settings.home / "settings.yaml"
    settings.write_text(f"calendar: {{first_day: {day(1)}, last_day: {day(10)}}}\n")
    for number in (1, 12):
        land_file(tick.workspace, day(number), success=True)
    assert [requested_days(request) for request in tick()] == [(day(1), day(1))]
    assert "settings.yaml: add `calendar:`" in tick.reason()


def test_a_day_of_an_open_calendar_waits_until_it_is_over(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    """Today's and tomorrow's folders ask for nothing, and do not make yesterday's a late one."""
    today = datetime.now(ZoneInfo("Asia/Shanghai")).date()
    first = today - timedelta(days=2)
    instance.report_runless_asset_event(dg.AssetMaterialization("category_model", partition=first.isoformat()))
    tick = Ticks(new_workspace(tmp_path, days=None, first_day=first), instance)
    for it in (today - timedelta(days=1), today, today + timedelta(days=30)):
        land_file(tick.workspace, it, success=True)
    (request,) = tick()
    assert requested_days(request) == (first, today - timedelta(days=1))
    assert request.tags["shift/delivery"] == "new"


def test_without_a_calendar_the_sensor_says_how_to_set_one(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    """An installation whose calendar was never set asks for nothing."""
    workspace = new_workspace(tmp_path)
    unset = workspace.settings.model_copy(update={"calendar": type(workspace.settings.calendar)()})
    tick = Ticks(Workspace(unset, workspace.source), instance)
    land_file(workspace, day(1), success=True)
    assert "calendar.first_day" in tick.reason()


def test_a_tick_reads_no_more_than_it_may(tick: Ticks) -> None:
    """With a budget for one file, a tick digests one file; the next ticks go on with the others."""
    for number in (1, 2, 3):
        land_file(tick.workspace, day(number), success=True)
    next_cursor, found = LandingCursor(), []
    for _ in range(3):
        scanned = landing_changes.scan(tick.workspace.settings.landing, next_cursor, bytes_at_most=1)
        next_cursor = scanned.next_cursor(next_cursor, [])
        found.append(len(scanned.stable))
    assert found == [1, 2, 3]


def test_a_large_file_is_distinguished_without_reading_all_of_it(tick: Ticks, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the limit the time of change counts too: a change in the middle of a large file is never passed over."""
    monkeypatch.setattr(landing_changes, "FULL_HASH_MAX_BYTES", 64)
    file = land_file(tick.workspace, day(1), "x" * 500)
    assert len([request for _ in range(2) for request in tick()]) == 1
    content = bytearray(file.read_bytes())
    content[250] = ord("y")
    file.write_bytes(content)
    assert len([request for _ in range(2) for request in tick()]) == 1


def test_a_removed_folder_asks_for_nothing_and_keeps_its_clean_events(tick: Ticks) -> None:
    """Landing that was cleared away is reported; a later delivery does not recompute days from what is gone."""
    for number in range(1, 6):
        ingest_day(tick, number)
    shutil.rmtree(tick.workspace.settings.landing / "events" / f"day={day(4).isoformat()}")
    assert not tick()
    assert "1 folders removed" in tick.reason()
    land_file(tick.workspace, day(6), success=True)
    assert [requested_days(request) for request in tick()] == [(day(5), day(6))]


def test_a_file_removed_from_a_folder_asks_for_its_day(tick: Ticks) -> None:
    """Taking one of two files back is a correction of the day."""
    file = land_file(tick.workspace, day(1), name="second.jsonl")
    ingest_day(tick, 1)
    file.unlink()
    assert len([request for _ in range(2) for request in tick()]) == 1


def test_the_category_model_comes_first_and_then_the_day(tmp_path: Path) -> None:
    """Without a category model its job is asked for; while it runs nothing is; then the waiting day."""
    with dg.DagsterInstance.ephemeral() as instance:
        tick = Ticks(new_workspace(tmp_path), instance)
        land_file(tick.workspace, day(1), success=True)
        (request,) = tick()
        assert (request.job_name, request.partition_key) == (CATEGORIES, day(1).isoformat())
        job = build_definitions(tick.workspace).resolve_job_def(CATEGORIES)
        run = instance.create_run_for_job(
            job, status=dg.DagsterRunStatus.STARTED, tags={"dagster/run_key": str(request.run_key)}
        )
        land_file(tick.workspace, day(2), success=True)
        assert "being fitted" in tick.reason()
        instance.report_run_failed(run)
        (again,) = tick()
        assert (again.job_name, again.run_key == request.run_key) == (CATEGORIES, False)
        category_model_event = dg.AssetMaterialization("category_model", partition=day(1).isoformat())
        instance.report_runless_asset_event(category_model_event)
        assert [requested_days(found) for found in tick()] == [(day(1), day(2))]


def test_a_category_model_that_failed_is_reported_and_requested_again_by_new_deliveries(tmp_path: Path) -> None:
    """The same deliveries do not ask again for what failed on them; a new delivery does."""
    with dg.DagsterInstance.ephemeral() as instance:
        tick = Ticks(new_workspace(tmp_path), instance)
        land_file(tick.workspace, day(1), success=True)
        (request,) = tick()
        job = build_definitions(tick.workspace).resolve_job_def(CATEGORIES)
        run = instance.create_run_for_job(
            job, status=dg.DagsterRunStatus.STARTED, tags={"dagster/run_key": str(request.run_key)}
        )
        instance.report_run_failed(run)
        assert "could not fit the category model" in tick.reason()
        land_file(tick.workspace, day(1), "fixed", success=True)
        assert len(tick()) == 1


@pytest.mark.parametrize("succeeds", [True, False])
def test_a_young_category_model_is_fitted_again_and_every_day_runs_again(tick: Ticks, *, succeeds: bool) -> None:
    """At seven landed days the fit of one is replaced, once, and all days follow; a failed fit holds up no day."""
    models = tick.workspace.category_models.folder / FIRST_DAY.isoformat()
    CategoryModel("cooccurrence", landed_days=1).save(models)
    for number in range(1, 7):
        ingest_day(tick, number)
    assert not tick()
    land_file(tick.workspace, day(7), success=True)
    (request,) = tick()
    assert (request.job_name, request.partition_key) == (CATEGORIES, FIRST_DAY.isoformat())
    job = build_definitions(tick.workspace).resolve_job_def(CATEGORIES)
    run = tick.instance.create_run_for_job(
        job, status=dg.DagsterRunStatus.STARTED, tags={"dagster/run_key": str(request.run_key)}
    )
    assert "being fitted" in tick.reason()
    if succeeds:
        CategoryModel("cooccurrence", landed_days=7).save(models)
        tick.instance.report_dagster_event(
            dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, CATEGORIES), run.run_id
        )
    else:
        tick.instance.report_run_failed(run)
    assert [requested_days(found) for found in tick()] == [(day(1 if succeeds else 4), day(7))]
    assert not tick()
    land_file(tick.workspace, day(8), success=True)
    assert [found.job_name for found in tick()] == [DAILY if succeeds else CATEGORIES]


def test_the_tags_of_a_request_are_the_partitions_of_its_job(tick: Ticks) -> None:
    """Dagster plans exactly the asked days, in every segment, for every asset of the daily job."""
    for number in (1, 2, 3):
        land_file(tick.workspace, day(number), success=True)
    (request,) = tick()
    job = build_definitions(tick.workspace).resolve_job_def(DAILY)
    tick.instance.create_run_for_job(job, tags=request.tags)
    for asset in (CLEAN_EVENTS.name, "bi_files"):
        records = tick.instance.get_event_records(
            dg.EventRecordsFilter(dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED, asset_key=dg.AssetKey(asset))
        )
        planned = {str(record.partition_key) for record in records}
        assert planned == {f"{day(number)}|{segment}" for number in (1, 2, 3) for segment in SEGMENTS}


def delivered_rows(workspace: Workspace, file: Path, rows: dict[Partition, int], file_rows: int) -> None:
    """Publishes what cleaning writes about `file`."""
    lake = workspace.lake
    path = f"events/{file.parent.name}/{file.name}"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    found = [
        {"day": p.day, "segment": p.segment, "source_file": path, "file_sha256": digest}
        | {"file_rows": file_rows, "rows": count}
        for p, count in rows.items()
    ]
    claim = lake.claim(DELIVERIES, list(rows), "test")
    lake.publish(DELIVERIES, pa.Table.from_pylist(found, schema=DELIVERIES.schema), claim)


def test_what_another_run_ingested_completely_requests_nothing(tick: Ticks) -> None:
    """Deliveries of which every row was cleaned by a run of the command line are not asked for again."""
    file = land_file(tick.workspace, day(4), success=True)
    delivered_rows(
        tick.workspace, file, {Partition(day(4), SEGMENTS[0]): 5, Partition(day(3), SEGMENTS[1]): 2}, file_rows=7
    )
    assert not tick()
    land_file(tick.workspace, day(4), "changed")
    assert len([request for _ in range(2) for request in tick()]) == 1


def test_what_another_run_ingested_partly_is_requested(tick: Ticks) -> None:
    """Where a row of a delivery was not cleaned, or a cleaned file is gone, the folder is asked for."""
    partly = land_file(tick.workspace, day(4), success=True)
    delivered_rows(tick.workspace, partly, {Partition(day(4), SEGMENTS[0]): 5}, file_rows=7)
    present = land_file(tick.workspace, day(9), success=True)
    removed = land_file(tick.workspace, day(9), name="gone.jsonl")
    delivered_rows(tick.workspace, present, {Partition(day(9), SEGMENTS[0]): 1}, file_rows=1)
    delivered_rows(tick.workspace, removed, {Partition(day(9), SEGMENTS[1]): 1}, file_rows=1)
    removed.unlink()
    folders = {it for request in tick() for it in request.tags["shift/folders"].split(", ")}
    assert folders == {f"day={day(4)}", f"day={day(9)}"}
