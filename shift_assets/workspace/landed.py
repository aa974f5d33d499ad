"""Events and interest series of an installation: those in its lake, or else made in memory of what is landed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from shift_assets.contracts.cleaning import CLEAN_EVENTS
from shift_assets.contracts.interest import INTEREST_SERIES
from shift_assets.errors import UserError
from shift_assets.ingest.categories.category_timeline import CategoryTimeline
from shift_assets.ingest.cleaning.category_window import fit_landed_categories
from shift_assets.ingest.cleaning.clean import clean
from shift_assets.ingest.readers.source_files import list_landing
from shift_assets.interest.series import interest_series, local_time
from shift_assets.workspace.workspace import Workspace

MICROSECONDS_OF_A_DAY = 24 * 60 * 60 * 1_000_000


def load_series(workspace: Workspace) -> pa.Table:
    """All `interest_series` of the lake, every day and segment; where it has none, those of the landed files.

    Nothing is written but work in progress. Raises EngineError where cleaning cannot run.
    """
    published = workspace.lake.published(INTEREST_SERIES)
    if published:
        return workspace.lake.read(INTEREST_SERIES, segments=list(workspace.source.segment_keys))
    made = [
        interest_series(events, workspace.settings.interest, workspace.source.timezone) for events in _landed(workspace)
    ]
    return pa.concat_tables([INTEREST_SERIES.empty(), *made])


def load_hourly_series(workspace: Workspace) -> pa.Table:
    """All interest series by the hour on the shop's clock, with the column `hour`, made of `load_events` in memory.

    Raises:
        UserError: The events carry days without a time of day.
    """
    events, zone = load_events(workspace), workspace.source.timezone
    if len(events) and not _have_times(events["event_ts"], zone):
        raise UserError(
            f"the {len(events):,} events all happened at one time of day: events.map.event_ts of source.yaml names a "
            "column of days. Map a column with the time, land the log again, or choose --step day"
        )
    return interest_series(events, workspace.settings.interest, zone, step="hour")


def _have_times(event_ts: pa.ChunkedArray, zone: str) -> bool:
    """Whether instants differ in their time of day, both in UTC and on the clock of `zone`: days are days of either."""
    microseconds = [clock.cast(pa.int64()).to_numpy() for clock in (event_ts, local_time(event_ts, zone))]
    return all(len(np.unique(clock % MICROSECONDS_OF_A_DAY)) > 1 for clock in microseconds)


def load_events(workspace: Workspace) -> pa.Table:
    """All `clean_events` of the lake, every day and segment; where it has none, those of the landed files.

    Nothing is written but work in progress. Raises EngineError where cleaning cannot run.
    """
    if workspace.lake.published(CLEAN_EVENTS):
        return workspace.lake.read(CLEAN_EVENTS, segments=list(workspace.source.segment_keys))
    return pa.concat_tables([CLEAN_EVENTS.empty(), *_landed(workspace)])


def _landed(workspace: Workspace) -> Iterator[pa.Table]:
    """The clean events of what is landed, chunk by chunk; none where nothing is."""
    days = sorted({file.folder_day for file in list_landing(workspace.settings.landing).files})
    if not days:
        return
    settings, context, engine = workspace.settings, workspace.parse_context, workspace.engine()
    categories = fit_landed_categories(
        context,
        days[0],
        seed=settings.seed,
        engine=engine,
        spark_remote=settings.spark.remote,
        staging=settings.staging,
    )
    chunks = clean(
        context,
        days,
        workspace.source.segment_keys,
        bots=settings.bots,
        categories=CategoryTimeline(categories, days[0]),
        engine=engine,
        spark_remote=settings.spark.remote,
        staging=settings.staging,
    )
    for chunk in chunks:
        yield chunk.clean
