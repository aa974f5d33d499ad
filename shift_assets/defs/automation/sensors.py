"""Sensors: what reacts to the world outside the asset graph."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg

from shift_assets.contracts.partition import Partition, days_between
from shift_assets.defs.assets.graph import CATEGORY_MODEL
from shift_assets.defs.assets.interest import STATE
from shift_assets.defs.automation.jobs import CATEGORIES, DAILY, ONE_WRITER, Job
from shift_assets.defs.automation.landing_changes import LandingCursor, Scan, Span, ingested_folders, scan, spans
from shift_assets.defs.dagster_private import RUN_KEY_TAG
from shift_assets.defs.partitions import day_partitions, parse_key, range_tags
from shift_assets.settings.config_file import ConfigError
from shift_assets.workspace.home import FOLLOWED_GAP_DAYS, follow, open_workspace
from shift_assets.workspace.workspace import Workspace

BYTES_PER_TICK = 2 * 1024**3
"""A tick has 60 seconds (gRPC); hashing two gigabytes takes about ten."""
FOLDERS_PER_TICK = 200
FOLDERS_SHOWN = 5


def all_sensors(workspace: Workspace, jobs: Mapping[str, Job]) -> list[dg.SensorDefinition]:
    """The landing sensor, and the sensor that evaluates automation conditions."""
    return [
        landing_sensor(workspace, jobs),
        dg.AutomationConditionSensorDefinition(
            "late_data_and_roll_ups",
            target=dg.AssetSelection.all(),
            default_status=dg.DefaultSensorStatus.RUNNING,
            minimum_interval_seconds=60,
            run_tags=ONE_WRITER,
        ),
    ]


def landing_sensor(workspace: Workspace, jobs: Mapping[str, Job]) -> dg.SensorDefinition:
    """The sensor that reacts to new, changed and late files of the landing folder."""

    @dg.sensor(
        name="landing",
        jobs=[jobs[DAILY], jobs[CATEGORIES]],
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Requests one range run over the days that changed folders concern, once their files are stable (unchanged "
            "for two ticks, or a _SUCCESS file in the folder). A delivery up to `lateness_days` behind the newest "
            "recomputes its day and the days after it; an older one recomputes its own days alone, and the run is "
            "tagged so. A removed folder requests nothing: its clean events stay. A day after the calendar's end moves "
            "the end on. A category model that was fitted on the first days of a young log is fitted again at 7 and at "
            "28 landed days, and all days are computed again."
        ),
    )
    def landing(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        calendar = calendar_range(workspace)
        if calendar is None:
            return dg.SkipReason(
                "the calendar has no day yet: set calendar.first_day in settings.yaml, or land a file with "
                "`shift-assets land`"
            )
        before = LandingCursor.from_json(context.cursor)
        scanned = scan(workspace.settings.landing, before, BYTES_PER_TICK)
        to_request, ingested = _folders_to_request(workspace, scanned, before, calendar)
        notes = _notes_of_tick(workspace, scanned, before, calendar)
        for note in notes:
            context.log.warning(note)
        cursor = scanned.next_cursor(before, ingested).to_json()
        if not to_request:
            return dg.SensorResult(skip_reason="; ".join(["no new, changed or late files", *notes]), cursor=cursor)
        if _lacks_categories(context.instance, calendar):
            return _fit_categories(context.instance, _categories_request(scanned, calendar), cursor=cursor)
        if _categories_are_young(workspace, scanned, calendar):
            request = _categories_request(scanned, calendar)
            if not _failed(context.instance, request):
                again = replace(scanned.next_cursor(before, ingested), again=before.again.union(before.requested))
                return _fit_categories(context.instance, request, cursor=again.to_json())
            before = replace(before, again=frozenset())
            to_request, ingested = _folders_to_request(workspace, scanned, before, calendar)
        return dg.SensorResult(
            run_requests=run_requests(
                workspace, context.instance, scanned=scanned, before=before, to_request=to_request, calendar=calendar
            ),
            cursor=scanned.next_cursor(before, [*ingested, *to_request]).to_json(),
        )

    return landing


def _folders_to_request(
    workspace: Workspace, scanned: Scan, before: LandingCursor, calendar: tuple[date, date]
) -> tuple[list[date], Collection[date]]:
    """The changed folders that no run has ingested as they are now, with today's categories, and those that one has."""
    first_day, last_day = calendar
    changed = [day for day in scanned.changed(before) if first_day <= day <= last_day][:FOLDERS_PER_TICK]
    stable = {day: scanned.stable[day] for day in changed}
    ingested = ingested_folders(workspace.lake, stable, workspace.settings.lateness_days)
    return [day for day in changed if day not in ingested or day in before.again], ingested - before.again


def _notes_of_tick(
    workspace: Workspace, scanned: Scan, before: LandingCursor, calendar: tuple[date, date]
) -> list[str]:
    """What a person should know of this tick, after the calendar moved on to what is landed."""
    first_day, last_day = calendar
    grown, growth = _follow_landing(workspace, scanned)
    return [*growth, *_notes(scanned, before, first_day, max(last_day, grown))]


def _lacks_categories(instance: dg.DagsterInstance, calendar: tuple[date, date]) -> bool:
    """Whether the frozen category model was never fitted."""
    return calendar[0].isoformat() not in instance.get_materialized_partitions(dg.AssetKey(CATEGORY_MODEL))


def _categories_are_young(workspace: Workspace, scanned: Scan, calendar: tuple[date, date]) -> bool:
    """Whether the category model was fitted on too few of the days that are landed by now."""
    landed = sum(calendar[0] <= day <= calendar[1] for day in scanned.stable)
    return workspace.category_models.refit_is_due(calendar[0], landed)


def _failed(instance: dg.DagsterInstance, request: dg.RunRequest) -> bool:
    """Whether the newest fit failed on the very same deliveries."""
    runs = instance.get_runs(filters=dg.RunsFilter(job_name=CATEGORIES), limit=1)
    finished = bool(runs) and runs[0].is_finished and not runs[0].is_success
    return finished and runs[0].tags.get(RUN_KEY_TAG) == request.run_key


def _categories_request(scanned: Scan, calendar: tuple[date, date]) -> dg.RunRequest:
    """The run that fits the category model on what is landed now."""
    fit_key = calendar[0].isoformat()
    content = _digest(*(f"{day}={folder.fingerprint}" for day, folder in scanned.stable.items()))
    return dg.RunRequest(run_key=f"{CATEGORIES}@{fit_key}@{content}", job_name=CATEGORIES, partition_key=fit_key)


def calendar_range(workspace: Workspace) -> tuple[date, date] | None:
    """First and last day that have a partition by now; None where the calendar was not set, or has not begun.

    A day of an open calendar gets its partition when it is over, in the shop's zone.
    """
    last = day_partitions(workspace.settings, workspace.source).get_last_partition_key()
    first = workspace.settings.calendar.first_day
    return (first, date.fromisoformat(last)) if first and last else None


def _follow_landing(workspace: Workspace, scanned: Scan) -> tuple[date, list[str]]:
    """The last day of the calendar after it moved on to what is landed, and a note where that is not loaded yet.

    Runs read settings.yaml when they start; but webserver, daemon and this sensor know no partition that their loaded
    definitions lack, so days that joined the calendar since are asked for after the next loading.
    """
    loaded = workspace.settings.calendar
    beyond = [day for day in scanned.stable if loaded.last_day and day > loaded.last_day]
    if not beyond:
        return date.min, []
    today = datetime.now(ZoneInfo(workspace.source.timezone)).date()
    try:
        grown = follow(open_workspace(workspace.settings.home), beyond, today).settings.calendar
    except ConfigError as error:
        return date.min, [f"the calendar cannot move on: {error}"]
    if grown == loaded:
        return date.min, []
    last_day = grown.last_day or today - timedelta(days=1)
    return last_day, [
        f"the calendar ends with {last_day} now: its new days are asked for once Dagster has loaded the definitions "
        "again, which the daemon does every minute"
    ]


def run_requests(
    workspace: Workspace,
    instance: dg.DagsterInstance,
    *,
    scanned: Scan,
    before: LandingCursor,
    to_request: list[date],
    calendar: tuple[date, date],
) -> list[dg.RunRequest]:
    """The range runs that the changed folders `to_request` need.

    The newest day is the newest one with a folder that is stable or was asked for: a folder that is still being
    delivered is not run over.
    """
    first_day, last_day = calendar
    lateness = workspace.settings.lateness_days
    newest = max(day for day in {*scanned.stable, *before.requested} if day <= last_day)
    covered = _days_with_state(instance, workspace) | {
        day for folder in before.requested for day in days_between(folder - timedelta(days=lateness), folder)
    }
    found = spans(
        to_request,
        newest=newest,
        lateness_days=lateness,
        start=first_day,
        covered=covered,
        removed=set(scanned.removed(before)),
        replayed=not before.again.isdisjoint(to_request),
    )
    return [_run_request(workspace, span, scanned, before, newest) for span in found]


def _run_request(workspace: Workspace, span: Span, scanned: Scan, before: LandingCursor, newest: date) -> dg.RunRequest:
    """The run key names the content, and how often it changed: content that comes back asks again."""
    segments = workspace.source.segment_keys
    corners = [Partition(day, segment) for day in (span.first, span.last) for segment in segments]
    late_from = newest - timedelta(days=workspace.settings.lateness_days)
    beyond = [day for day in span.folders if day < late_from]
    late = [day for day in span.folders if late_from <= day < newest]
    changes = {day: before.requested[day].change_count + 1 if day in before.requested else 0 for day in span.folders}
    contents = [f"{day}={scanned.stable[day].fingerprint}#{changes[day]}" for day in span.folders]
    return dg.RunRequest(
        run_key=f"{span.first}..{span.last}@{_digest(*contents)}",
        job_name=DAILY,
        tags={
            **range_tags(corners, segments),
            "shift/folders": _named(span.folders),
            "shift/delivery": "beyond lateness" if beyond else "late" if late else "new",
        },
    )


def _fit_categories(instance: dg.DagsterInstance, request: dg.RunRequest, cursor: str) -> dg.SensorResult:
    """Asks for the category model, unless that is under way, or failed on the very same deliveries."""
    runs = instance.get_runs(filters=dg.RunsFilter(job_name=CATEGORIES), limit=1)
    if runs and not runs[0].is_finished:
        reason = f"the category model is being fitted by run {runs[0].run_id}"
        return dg.SensorResult(skip_reason=reason, cursor=cursor)
    if _failed(instance, request):
        reason = f"run {runs[0].run_id} could not fit the category model: fix the cause, then launch job `{CATEGORIES}`"
        return dg.SensorResult(skip_reason=reason, cursor=cursor)
    return dg.SensorResult(run_requests=[request], cursor=cursor)


def _days_with_state(instance: dg.DagsterInstance, workspace: Workspace) -> set[date]:
    done = {parse_key(key) for key in instance.get_materialized_partitions(dg.AssetKey(STATE))}
    segments = workspace.source.segment_keys
    return {day for day, _ in done if all(Partition(day, segment) in done for segment in segments)}


def _notes(scanned: Scan, before: LandingCursor, first_day: date, last_day: date) -> list[str]:
    """What a person should know of this look, one sentence each."""
    outside = [day for day in scanned.stable if not first_day <= day <= last_day]
    removed = scanned.removed(before)
    notes: dict[str, Sequence[object]] = {
        f"folders wait to become stable: {_named(scanned.unstable)}": scanned.unstable,
        f"folders outside the calendar {first_day} … {last_day} (a day joins when it is over, and after a gap of more "
        f"than {FOLLOWED_GAP_DAYS} days by `shift-assets run --to`): {_named(outside)}": outside,
        f"folders removed, whose clean events stay: {_named(removed)}": removed,
        f"entries that are no delivery: {'; '.join(scanned.ignored[:FOLDERS_SHOWN])}": scanned.ignored,
    }
    return [f"{len(found)} {note}" for note, found in notes.items() if found]


def _named(days: Sequence[date]) -> str:
    more = f" and {len(days) - FOLDERS_SHOWN} more" if len(days) > FOLDERS_SHOWN else ""
    return ", ".join(f"day={day.isoformat()}" for day in days[:FOLDERS_SHOWN]) + more


def _digest(*parts: str) -> str:
    return hashlib.sha256(";".join(parts).encode()).hexdigest()[:16]
