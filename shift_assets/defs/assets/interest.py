"""Interest series, the state carried from day to day, and the features of users and items."""

from collections.abc import Iterator
from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING, cast

import dagster as dg
import pyarrow as pa

from shift_assets.contracts.cleaning import CLEAN_EVENTS
from shift_assets.contracts.interest import INTEREST_SERIES, ITEM_FEATURES, USER_FEATURES
from shift_assets.contracts.partition import Partition, days_of, segments_of
from shift_assets.contracts.shift import DETECTOR_SELF_CHECK, INTEREST_STATE
from shift_assets.defs import partitions as keys
from shift_assets.defs.assets.ingest import CLEAN
from shift_assets.defs.automation_conditions import content_changed
from shift_assets.defs.failures import final_unless_transient
from shift_assets.defs.kinds import kinds_of
from shift_assets.defs.plots import interest_share
from shift_assets.defs.publishing import (
    already_reported,
    input_version_tags,
    report_materializations,
    shape_of,
    version,
)
from shift_assets.defs.table_asset import TRANSIENT_RETRY, TableAsset, backfill_policy, build_asset, table_attributes
from shift_assets.shift.alerts.detector_selection import SELECTION_VALID_DAYS, DetectorSelection
from shift_assets.storage.lake import EMPTY_DIGEST, Published, content_digests
from shift_assets.workspace.workspace import Workspace

if TYPE_CHECKING:
    from shift_assets.shift.learned.shift_model import ShiftModel

GROUP = "interest"
SNAPSHOTS_PER_COMMIT = 7
"""Days of a segment's state, every user once a day, that are held before they are written."""
SERIES, STATE = INTEREST_SERIES.name, INTEREST_STATE.name
NEWEST_SNAPSHOTS_ONLY = {"shift/state": "newest snapshots only"}
"""Tag of runs over a past whose days no other asset reads one by one: what is past its retention is not written."""


def interest_assets(workspace: Workspace) -> list[dg.AssetsDefinition]:
    settings = workspace.settings
    partitions = keys.day_segment_partitions(settings, workspace.source)
    look_back = keys.window(settings.features.look_back_days)
    tables = [
        TableAsset(
            table=INTEREST_SERIES,
            group=GROUP,
            deps=[CLEAN],
            compute=_series,
            sections=["interest"],
            metrics=lambda rows: {
                "users": float(len(rows["user_id"].unique())),
                "score": float(sum(rows["score"].to_pylist())),
                "uncategorised_share": _uncategorised_share(rows),
            },
            plot=interest_share,
            automation=content_changed(),
        ),
        TableAsset(
            table=USER_FEATURES,
            group=GROUP,
            deps=[dg.AssetDep(SERIES, partition_mapping=look_back), dg.AssetDep(CLEAN, partition_mapping=look_back)],
            compute=_user_features,
            sections=["features"],
            automation=content_changed(),
        ),
        TableAsset(
            table=ITEM_FEATURES,
            group=GROUP,
            deps=[dg.AssetDep(CLEAN, partition_mapping=look_back)],
            compute=_item_features,
            sections=["features", "seed"],
            automation=content_changed(),
        ),
    ]
    return [*(build_asset(asset, partitions, settings) for asset in tables), _state(workspace, partitions)]


def _series(workspace: Workspace, partitions: list[Partition]) -> pa.Table:
    from shift_assets.interest.series import interest_series

    workspace.lake.require(CLEAN_EVENTS, partitions)
    days = days_of(partitions)
    events = workspace.reader.read(CLEAN_EVENTS, days[0], days[-1], segments_of(partitions))
    return interest_series(events, workspace.settings.interest, workspace.source.timezone)


def _uncategorised_share(series: pa.Table) -> float:
    from shift_assets.interest.series import uncategorised_share

    return uncategorised_share(series)


def _state(workspace: Workspace, partitions: dg.MultiPartitionsDefinition) -> dg.AssetsDefinition:
    settings = workspace.settings

    @dg.asset(
        name=STATE,
        partitions_def=partitions,
        deps=[
            SERIES,
            dg.AssetDep(STATE, partition_mapping=keys.window_before(1)),
            dg.AssetDep(DETECTOR_SELF_CHECK.name, partition_mapping=keys.window_before(SELECTION_VALID_DAYS)),
        ],
        backfill_policy=backfill_policy(single_run=True),
        retry_policy=TRANSIENT_RETRY,
        **table_attributes(
            INTEREST_STATE,
            GROUP,
            kinds_of(_advanced),
            version(
                _advanced,
                settings,
                ["state", "signals", "evidence", "alerts", "seed"],
                shape_of(INTEREST_STATE),
            ),
        ),
    )
    def interest_state(
        context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]
    ) -> Iterator[dg.MaterializeResult]:
        _advance_and_publish(context, workspace)
        yield already_reported(STATE)

    return cast(dg.AssetsDefinition, interest_state)


@final_unless_transient()
def _advance_and_publish(context: dg.AssetExecutionContext, workspace: Workspace) -> None:
    """Loops the days in order, segment by segment; a few snapshots at a time are in memory.

    Signals and alerts read the snapshot of each of their days, in this run or in a later one of the same backfill:
    all are written, but by a run that says that nothing reads them. Housekeeping drops them once no range needs them.
    """
    requested = keys.requested(context)
    days = days_of(requested)
    newest_only = NEWEST_SNAPSHOTS_ONLY.items() <= context.run.tags.items()
    keep_from = days[-1] - timedelta(days=workspace.settings.state.keep_days) if newest_only else days[0]
    inputs = input_version_tags(context, STATE)
    claim = workspace.lake.claim(INTEREST_STATE, [p for p in requested if p.day >= keep_from], context.run_id)
    published: dict[Partition, Published] = {}
    newest: list[pa.Table] = []
    for segment in segments_of(requested):
        pending: dict[Partition, pa.Table] = {}
        for day, state in _advanced(workspace, days, segment):
            partition = Partition(day, segment)
            if day < keep_from:
                digest = content_digests(state).get(partition, EMPTY_DIGEST)
                published[partition] = Published(state.num_rows, digest, "past its retention, not kept")
                continue
            pending[partition] = state
            if len(pending) == SNAPSHOTS_PER_COMMIT or day == days[-1]:
                rows = pa.concat_tables(pending.values())
                published |= workspace.lake.publish(INTEREST_STATE, rows, claim.narrowed(pending))
                pending = {}
        newest.append(state)
    report_materializations(context, STATE, pa.concat_tables(newest), dict(sorted(published.items())), inputs)


def _advanced(workspace: Workspace, days: list[date], segment: str) -> Iterator[tuple[date, pa.Table]]:
    """The state of each day, in order, with p-values only where a self-check calibrated them.

    Raises MissingPartition when the day before the first was never made.
    """
    from shift_assets.shift.detector.state import advance_range

    before = None
    if days[0] > keys.first_day(workspace.settings):
        yesterday = days[0] - timedelta(days=1)
        workspace.lake.require(INTEREST_STATE, [Partition(yesterday, segment)])
        before = workspace.lake.read(INTEREST_STATE, first_day=yesterday, last_day=yesterday, segments=[segment])
    workspace.lake.require(INTEREST_SERIES, [Partition(day, segment) for day in days])
    series = workspace.reader.read(INTEREST_SERIES, days[0], days[-1], [segment])
    return advance_range(
        before,
        series,
        days,
        segment,
        workspace.settings,
        checks=self_checks(workspace, days, [segment]),
        model_of=partial(learned_detector, workspace),
        p_values_from=date.max,
    )


def learned_detector(workspace: Workspace, chosen: DetectorSelection) -> "ShiftModel | None":
    """The learned detector that a self-check chose; None where it chose none."""
    from shift_assets.shift.learned.shift_model import load

    if chosen.model_path is None or chosen.model_digest is None:
        return None
    return load(workspace.settings.models, chosen.model_path, chosen.model_digest)


def self_checks(workspace: Workspace, days: list[date], segments: list[str]) -> pa.Table:
    """The self-checks that may choose for these days; where none was made, the settings' own windows hold."""
    first = days[0] - timedelta(days=SELECTION_VALID_DAYS)
    return workspace.reader.read(DETECTOR_SELF_CHECK, first, days[-1] - timedelta(days=1), segments)


def _user_features(workspace: Workspace, partitions: list[Partition]) -> pa.Table:
    from shift_assets.interest.user_features import user_features

    days, segments = days_of(partitions), segments_of(partitions)
    settings = workspace.settings.features
    return user_features(
        workspace.reader.read_window(INTEREST_SERIES, days, segments, settings.look_back_days),
        workspace.reader.read_window(CLEAN_EVENTS, days, segments, settings.look_back_days),
        days,
        settings,
        timezone=workspace.source.timezone,
        attributes=workspace.users,
    )


def _item_features(workspace: Workspace, partitions: list[Partition]) -> pa.Table:
    from shift_assets.interest.item_features import item_features

    days, segments = days_of(partitions), segments_of(partitions)
    settings = workspace.settings.features
    events = workspace.reader.read_window(CLEAN_EVENTS, days, segments, settings.look_back_days)
    return item_features(events, days, settings, workspace.settings.seed)
