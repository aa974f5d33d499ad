"""Events and interest series of an installation: those in its lake, or else made in memory of what is landed."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from shift_assets.contracts.cleaning import CLEAN_EVENTS
from shift_assets.contracts.interest import INTEREST_SERIES
from shift_assets.ingest.cleaning.category_window import fit_landed_categories
from shift_assets.ingest.cleaning.clean import clean
from shift_assets.ingest.readers.source_files import list_landing
from shift_assets.interest.series import interest_series
from shift_assets.workspace.workspace import Workspace


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
        categories=categories,
        engine=engine,
        spark_remote=settings.spark.remote,
        staging=settings.staging,
    )
    for chunk in chunks:
        yield chunk.clean
