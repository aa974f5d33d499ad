"""Shift signals and alerts of users, and the shifts of whole segments."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.contracts.churn import CHURN_PREDICTIONS
from shift_assets.contracts.cleaning import CLEAN_EVENTS
from shift_assets.contracts.forecast import INTEREST_FORECASTS
from shift_assets.contracts.interest import INTEREST_SERIES
from shift_assets.contracts.partition import Partition, days_of, segments_of
from shift_assets.contracts.shift import (
    ALERT_CLUSTERS,
    ALERT_STATUSES,
    DETECTOR_SELF_CHECK,
    INTEREST_MOVES,
    INTEREST_STATE,
    OPEN_ALERTS,
    SEGMENT_EVENTS,
    SEGMENT_SHIFTS,
    SHIFT_ALERTS,
    SHIFT_SIGNALS,
)
from shift_assets.defs import partitions as keys
from shift_assets.defs.assets.forecasts import FORECASTS
from shift_assets.defs.assets.ingest import CLEAN
from shift_assets.defs.assets.interest import SERIES, STATE, self_checks
from shift_assets.defs.plots import alerts_by_day, signal_distribution
from shift_assets.defs.table_asset import TableAsset, build_asset
from shift_assets.shift.alerts.detector_selection import SELECTION_VALID_DAYS, detector_selection, newest_check
from shift_assets.workspace.spark_sessions import spark_session_if_large
from shift_assets.workspace.workspace import Workspace

GROUP = "shift"
SIGNALS, ALERTS, CHURN = SHIFT_SIGNALS.name, SHIFT_ALERTS.name, CHURN_PREDICTIONS.name
SEGMENT_WINDOW_DAYS = 35
"""Seven recent days and the twenty-eight before."""
EVENT_WINDOW_DAYS, MOVE_WINDOW_DAYS = 154, 28
"""`WINDOW_DAYS` of `events` and `moves`, which are imported where they are used."""
CHUNK_DAYS = 14
"""State snapshots hold every user: two weeks of them at a time."""


def shift_stage_assets(workspace: Workspace) -> list[dg.AssetsDefinition]:
    partitions = keys.day_segment_partitions(workspace.settings, workspace.source)
    tables = [
        _signals_of_users(),
        _alerts_of_users(),
        _open_alerts_of_users(),
        *_segment_tables(),
        *_tables_of_recent_alerts(),
    ]
    return [build_asset(asset, partitions, workspace.settings) for asset in tables]


def _self_checks_before() -> dg.AssetDep:
    return dg.AssetDep(DETECTOR_SELF_CHECK.name, partition_mapping=keys.window_before(SELECTION_VALID_DAYS))


def _signals_of_users() -> TableAsset:
    return TableAsset(
        table=SHIFT_SIGNALS,
        group=GROUP,
        deps=[
            STATE,
            dg.AssetDep(FORECASTS, partition_mapping=keys.days_ago(7)),
            dg.AssetDep(SERIES, partition_mapping=keys.window(7)),
            _self_checks_before(),
            CHURN,
        ],
        compute=_signals,
        sections=["state", "signals"],
        metrics=_mean_gap_and_distance,
        plot=signal_distribution,
        chunk_days=CHUNK_DAYS,
    )


def _alerts_of_users() -> TableAsset:
    return TableAsset(
        table=SHIFT_ALERTS,
        group=GROUP,
        deps=[STATE, SIGNALS, CHURN, _self_checks_before()],
        compute=_alerts,
        sections=["state", "evidence", "alerts", "churn", "seed"],
        metrics=_alerts_by_status,
        plot=alerts_by_day,
        chunk_days=CHUNK_DAYS,
    )


def _open_alerts_of_users() -> TableAsset:
    return TableAsset(
        table=OPEN_ALERTS,
        group=GROUP,
        deps=[STATE, CHURN],
        compute=_open_alerts,
        sections=["state"],
        chunk_days=CHUNK_DAYS,
    )


def _segment_tables() -> list[TableAsset]:
    window = keys.window(SEGMENT_WINDOW_DAYS)
    return [
        TableAsset(
            table=SEGMENT_SHIFTS,
            group=GROUP,
            deps=[dg.AssetDep(SERIES, partition_mapping=window), dg.AssetDep(CLEAN, partition_mapping=window)],
            compute=_segment_shifts,
        ),
        TableAsset(
            table=SEGMENT_EVENTS,
            group=GROUP,
            deps=[dg.AssetDep(SERIES, partition_mapping=keys.window(EVENT_WINDOW_DAYS))],
            compute=_segment_events,
            sections=["alerts.language"],
        ),
    ]


def _tables_of_recent_alerts() -> list[TableAsset]:
    return [
        TableAsset(
            table=table,
            group=GROUP,
            deps=[dg.AssetDep(ALERTS, partition_mapping=keys.window(MOVE_WINDOW_DAYS))],
            compute=compute,
            sections=["moves", "alerts.language", "seed"],
        )
        for table, compute in ((ALERT_CLUSTERS, _alert_clusters), (INTEREST_MOVES, _interest_moves))
    ]


def _signals(workspace: Workspace, partitions: list[Partition]) -> pa.Table:
    from shift_assets.shift.detector.signals import shift_signals

    states = _states(workspace, partitions)
    scores = (_forecast_errors(workspace, partitions), _learned_scores(workspace, partitions, states))
    found = [pa.concat_tables(each) for each in scores if each]
    return shift_signals(states, workspace.settings, found, _churn_predictions(workspace, partitions))


def _learned_scores(workspace: Workspace, partitions: list[Partition], states: pa.Table) -> list[pa.Table]:
    """Scores by the learned detector that the newest self-check before a day chose; nothing where it chose none."""
    from shift_assets.shift.detector.signals import learned_scores

    checks = self_checks(workspace, days_of(partitions), segments_of(partitions))
    found = []
    for day, segment in partitions:
        chosen = detector_selection(newest_check(checks, segment, day), workspace.settings.evidence)
        if chosen.ranking == "learned":
            state = states.filter((pc.field("day") == pa.scalar(day)) & (pc.field("segment") == segment))
            found.append(learned_scores(state))
    return found


def _forecast_errors(workspace: Workspace, partitions: list[Partition]) -> list[pa.Table]:
    """By the forecasts of a week before; nothing where none was made."""
    from shift_assets.forecast.interest_forecasts import forecast_errors

    week = timedelta(days=7)
    days, segments = days_of(partitions), segments_of(partitions)
    forecasts = workspace.reader.read(INTEREST_FORECASTS, days[0] - week, days[-1] - week, segments)
    series = workspace.reader.read_window(INTEREST_SERIES, days, segments, 7)
    found = []
    for day, segment in partitions:
        made = forecasts.filter((pc.field("day") == pa.scalar(day - week)) & (pc.field("segment") == segment))
        errors = forecast_errors(made, series.filter(pc.field("segment") == segment))
        keys_of = {"day": pa.scalar(day, pa.date32()), "segment": pa.scalar(segment)}
        columns = {name: pa.repeat(value, len(errors)) for name, value in keys_of.items()}
        found.append(pa.table({**columns, **{name: errors[name] for name in errors.column_names}}))
    return found


def _alerts(workspace: Workspace, partitions: list[Partition]) -> pa.Table:
    from shift_assets.shift.alerts.shift_alerts import shift_alerts

    days = days_of(partitions)
    segments = segments_of(partitions)
    signals = workspace.reader.read(SHIFT_SIGNALS, days[0], days[-1], segments)
    checks = self_checks(workspace, days, segments)
    churn = _churn_predictions(workspace, partitions)
    return shift_alerts(_states(workspace, partitions), signals, workspace.settings, checks, churn)


def _churn_predictions(workspace: Workspace, partitions: list[Partition]) -> pa.Table:
    days = days_of(partitions)
    return workspace.reader.read(CHURN_PREDICTIONS, days[0], days[-1], segments_of(partitions))


def _open_alerts(workspace: Workspace, partitions: list[Partition]) -> pa.Table:
    from shift_assets.shift.alerts.open_alert_rows import open_alerts

    churn = _churn_predictions(workspace, partitions)
    return open_alerts(_states(workspace, partitions), workspace.settings, churn)


def _states(workspace: Workspace, partitions: list[Partition]) -> pa.Table:
    workspace.lake.require(INTEREST_STATE, partitions)
    days = days_of(partitions)
    return workspace.reader.read(INTEREST_STATE, days[0], days[-1], segments_of(partitions))


def _segment_shifts(workspace: Workspace, partitions: list[Partition]) -> pa.Table:
    from shift_assets.shift.segment.segment_shifts import segment_shifts

    days, segments = days_of(partitions), segments_of(partitions)
    series = workspace.reader.read_window(INTEREST_SERIES, days, segments, SEGMENT_WINDOW_DAYS)
    events = workspace.reader.read_window(CLEAN_EVENTS, days, segments, SEGMENT_WINDOW_DAYS)
    return pa.concat_tables([segment_shifts(series, events, day, segment) for day, segment in partitions])


def _segment_events(workspace: Workspace, partitions: list[Partition]) -> pa.Table:
    from shift_assets.shift.segment.segment_events import segment_events

    series = workspace.reader.read_window(
        INTEREST_SERIES, days_of(partitions), segments_of(partitions), EVENT_WINDOW_DAYS
    )
    return segment_events(series, partitions, workspace.settings.alerts.language)


def _alert_clusters(workspace: Workspace, partitions: list[Partition]) -> pa.Table:
    from shift_assets.shift.segment.alert_clusters import alert_clusters

    return alert_clusters(_recent_alerts(workspace, partitions), partitions, workspace.settings)


def _interest_moves(workspace: Workspace, partitions: list[Partition]) -> pa.Table:
    from shift_assets.interest.itemsets import SparkMiner
    from shift_assets.shift.segment.interest_moves import interest_moves

    alerts, settings = _recent_alerts(workspace, partitions), workspace.settings
    users = pc.count_distinct(alerts["user_id"]).as_py()
    with spark_session_if_large(settings, users, settings.spark.minimum_users) as session:
        if session is None:
            return interest_moves(alerts, partitions, settings)
        return interest_moves(alerts, partitions, settings, SparkMiner(session))


def _recent_alerts(workspace: Workspace, partitions: list[Partition]) -> pa.Table:
    return workspace.reader.read_window(SHIFT_ALERTS, days_of(partitions), segments_of(partitions), MOVE_WINDOW_DAYS)


def _mean_gap_and_distance(signals: pa.Table) -> dict[str, float]:
    means = {name: pc.mean(signals[name]).as_py() for name in ("interest_gap", "distribution_distance")}
    return {name: float(mean) for name, mean in means.items() if mean is not None}


def _alerts_by_status(alerts: pa.Table) -> dict[str, float]:
    statuses = Counter(alerts["status"].to_pylist())
    return {f"alerts_{status}": float(statuses[status]) for status in ALERT_STATUSES}
