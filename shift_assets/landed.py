"""Events and interest series of an installation: those in its lake, or else made in memory of what is landed."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from shift_assets.contracts import CLEAN_EVENTS, INTEREST_SERIES
from shift_assets.ingest.clean import clean
from shift_assets.ingest.files import list_landing
from shift_assets.ingest.fitwindow import fit_landed_categories
from shift_assets.interest.series import interest_series
from shift_assets.resources.platform import Platform


def series_of(platform: Platform) -> pa.Table:
    """All `interest_series` of the lake, every day and segment; where it has none, those of the landed files.

    Nothing is written but work in progress. Raises EngineError where cleaning cannot run.
    """
    published = platform.lake.published(INTEREST_SERIES)
    if published:
        return platform.lake.read(INTEREST_SERIES, segments=list(platform.source.segment_keys))
    made = [
        interest_series(events, platform.settings.interest, platform.source.timezone) for events in _landed(platform)
    ]
    return pa.concat_tables([INTEREST_SERIES.empty(), *made])


def events_of(platform: Platform) -> pa.Table:
    """All `clean_events` of the lake, every day and segment; where it has none, those of the landed files.

    Nothing is written but work in progress. Raises EngineError where cleaning cannot run.
    """
    if platform.lake.published(CLEAN_EVENTS):
        return platform.lake.read(CLEAN_EVENTS, segments=list(platform.source.segment_keys))
    return pa.concat_tables([CLEAN_EVENTS.empty(), *_landed(platform)])


def _landed(platform: Platform) -> Iterator[pa.Table]:
    """The clean events of what is landed, chunk by chunk; none where nothing is."""
    days = sorted({file.folder_day for file in list_landing(platform.settings.landing).files})
    if not days:
        return
    settings, context, engine = platform.settings, platform.parse_context, platform.engine()
    categories = fit_landed_categories(context, days[0], settings, engine, settings.staging)
    chunks = clean(
        context,
        days,
        platform.source.segment_keys,
        settings=settings,
        categories=categories,
        engine=engine,
        staging=settings.staging,
    )
    for chunk in chunks:
        yield chunk.clean
