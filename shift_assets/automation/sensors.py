"""Sensors: what reacts to the world outside the asset graph."""

from collections.abc import Mapping
from datetime import date, timedelta

import dagster as dg

from shift_assets.automation.jobs import CATEGORIES, DAILY, Job
from shift_assets.automation.landing import Fingerprints, Seen, scan
from shift_assets.contracts import Partition
from shift_assets.partitions import first_day, range_tags
from shift_assets.resources.platform import Platform

BYTES_PER_TICK = 2 * 1024**3
"""A tick has 60 seconds (gRPC); hashing two gigabytes takes about ten."""
REQUESTS_PER_TICK = 4


def all_sensors(platform: Platform, jobs: Mapping[str, Job]) -> list[dg.SensorDefinition]:
    """The landing sensor, and the sensor that evaluates automation conditions."""
    return [
        landing_sensor(platform, jobs),
        dg.AutomationConditionSensorDefinition(
            "late_data_and_roll_ups",
            target=dg.AssetSelection.all(),
            default_status=dg.DefaultSensorStatus.RUNNING,
            minimum_interval_seconds=60,
        ),
    ]


def landing_sensor(platform: Platform, jobs: Mapping[str, Job]) -> dg.SensorDefinition:
    """Reacts to new, changed and late files of the landing folder."""

    @dg.sensor(
        name="landing",
        jobs=[jobs[DAILY], jobs[CATEGORIES]],
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Asks for one range run per changed day folder, once its files are stable (unchanged for two ticks, or a "
            "_SUCCESS file beside them). A delivery up to `lateness_days` behind the newest recomputes its day and "
            "what follows; an older one its own days alone, and the tick says so."
        ),
    )
    def landing(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        before = Seen.from_cursor(context.cursor)
        scanned = scan(platform.settings.landing, before, BYTES_PER_TICK)
        changed = sorted(day for day, found in scanned.stable.items() if before.requested.get(day) != found)
        requests: list[dg.RunRequest] = []
        asked: Fingerprints = {}
        for day in changed[:REQUESTS_PER_TICK]:
            request = run_request(platform, day, scanned.newest, scanned.stable[day])
            asked[day] = scanned.stable[day]
            if request is None:
                context.log.warning(
                    f"landing/events/day={day.isoformat()} lies outside the calendar "
                    f"({first_day(platform.settings)} … {platform.settings.calendar.last_day or 'open'}); "
                    "set calendar.first_day or last_day in settings.yaml"
                )
            else:
                requests.append(request)
        if requests and not category_model_stands(context.instance, platform):
            fit = first_day(platform.settings).isoformat()
            requests = [dg.RunRequest(run_key=f"categories@{fit}", job_name=CATEGORIES, partition_key=fit)]
            asked = {}
        for name in scanned.malformed:
            context.log.warning(f"ignored {name}: its name is not a delivery's; rename it or remove it")
        cursor = scanned.seen(before, asked).to_cursor()
        waiting = len(scanned.waiting) + len(changed) - len(asked)
        reason = dg.SkipReason(
            f"{waiting} day folders wait to become stable; {len(scanned.malformed)} malformed names"
            if waiting
            else f"no new, changed or late files; {len(scanned.malformed)} malformed names"
        )
        return dg.SensorResult(run_requests=requests, skip_reason=None if requests else reason, cursor=cursor)

    return landing


def category_model_stands(instance: dg.DagsterInstance, platform: Platform) -> bool:
    fit = first_day(platform.settings).isoformat()
    return fit in instance.get_materialized_partitions(dg.AssetKey("category_model"))


def run_request(platform: Platform, folder: date, newest: date, fingerprint: str) -> dg.RunRequest | None:
    """The range run that a changed day folder needs; None where the calendar does not hold the day.

    The folder may hold events of the `lateness_days` before it. Within that distance of the newest folder the range
    goes on to the newest day, because the state chain follows; an older folder's own days are recomputed alone.
    """
    calendar = platform.settings.calendar
    start = first_day(platform.settings)
    lateness = timedelta(days=platform.settings.lateness_days)
    if folder < start or (calendar.last_day is not None and folder > calendar.last_day):
        return None
    late = folder < newest
    within = newest - folder <= lateness
    last = newest if within else folder
    if calendar.last_day is not None:
        last = min(last, calendar.last_day)
    first = max(start, folder - lateness)
    segments = platform.source.segment_keys
    span = [Partition(day, segment) for day in (first, last) for segment in segments]
    return dg.RunRequest(
        run_key=f"{folder.isoformat()}@{fingerprint}",
        job_name=DAILY,
        tags={
            **range_tags(span, segments),
            "shift/folder": folder.isoformat(),
            "shift/delivery": ("late" if within else "beyond lateness") if late else "new",
        },
    )
