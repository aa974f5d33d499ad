"""Laws of a shop whose export was old: the days that it delivers afterwards are taken in without a person."""

from __future__ import annotations

import gzip
import json
from contextlib import suppress
from datetime import timedelta

import dagster as dg

from shift_assets.contracts.cleaning import CLEAN_EVENTS
from shift_assets.contracts.partition import Partition
from shift_assets.contracts.recommendations import RECOMMENDATIONS
from shift_assets.contracts.shift import INTEREST_STATE
from shift_assets.definitions import build_definitions
from shift_assets.defs.automation.jobs import all_jobs
from shift_assets.defs.automation.sensors import landing_sensor
from shift_assets.defs.instance import open_instance
from shift_assets.defs.range_run import QUIET_RUN_CONFIG
from shift_assets.workspace.home import open_workspace
from shift_assets_tests.end_to_end.shops import LAST_DAY, SIMULATION, Shop

NEW_DAY = LAST_DAY + timedelta(days=1)
DAY_MS = 86_400_000


def deliver_next_day(shop: Shop) -> None:
    """Lands the last day's readable events again as those of the day after."""
    events = shop.workspace.settings.landing / "events"
    rows = []
    for file in sorted((events / f"day={LAST_DAY}").glob("*.jsonl.gz")):
        for line in gzip.decompress(file.read_bytes()).splitlines():
            with suppress(ValueError, KeyError, TypeError):  # one of the log's broken lines
                row = json.loads(line)
                rows.append({**row, "event_ts": row["event_ts"] + DAY_MS})
    folder = events / f"day={NEW_DAY}"
    folder.mkdir()
    (folder / "new.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "_SUCCESS").touch()


def tick(shop: Shop, instance: dg.DagsterInstance, cursor: str | None) -> dg.SensorResult:
    """The sensor of definitions loaded just now."""
    workspace = open_workspace(shop.home)
    result = landing_sensor(workspace, all_jobs(workspace))(dg.build_sensor_context(instance, cursor=cursor))
    assert isinstance(result, dg.SensorResult)
    return result


def test_a_day_after_a_closed_calendar_is_taken_in_by_the_sensor(copy: Shop) -> None:
    """The tick that sees it moves the calendar on, the next loading asks for it, and the run publishes every stage."""
    closed = copy.workspace.settings.calendar
    assert (closed.first_day, closed.last_day) == (SIMULATION.first_day, LAST_DAY)
    deliver_next_day(copy)
    with open_instance(copy.workspace) as instance:
        seen = tick(copy, instance, None)
        assert not seen.run_requests
        assert f"the calendar ends with {NEW_DAY} now" in str(seen.skip_reason)
        asked = tick(copy, instance, seen.cursor)
        (request,) = asked.run_requests or []
        assert request.tags["shift/days"] == f"{NEW_DAY - timedelta(days=3)}..{NEW_DAY}"
        grown = open_workspace(copy.home)
        job = build_definitions(grown).resolve_job_def(str(request.job_name))
        result = job.execute_in_process(instance=instance, tags=dict(request.tags), run_config=QUIET_RUN_CONFIG)
        assert result.success
        assert not tick(copy, instance, asked.cursor).run_requests
    new = {Partition(NEW_DAY, segment) for segment in copy.segments}
    for table in (CLEAN_EVENTS, INTEREST_STATE, RECOMMENDATIONS):
        assert new <= grown.lake.published(table).keys()
    assert grown.lake.read(CLEAN_EVENTS, first_day=NEW_DAY, last_day=NEW_DAY).num_rows > 0
