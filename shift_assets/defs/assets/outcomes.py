"""What happened after a day's alerts and recommendations. The partition is the day that completed the horizon.

Nothing looks ahead: day D evaluates the alerts and recommendations of D - horizon, and a policy of day D may read
outcomes up to D - 1.
"""

from __future__ import annotations

from datetime import date, timedelta

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.churn.bg_nbd import HORIZON_DAYS
from shift_assets.contracts.cleaning import CLEAN_EVENTS
from shift_assets.contracts.interest import INTEREST_SERIES
from shift_assets.contracts.outcomes import ALERT_OUTCOMES, EXPERIMENT_REPORT, RECOMMENDATION_OUTCOMES
from shift_assets.contracts.partition import Partition, days_of, segments_of
from shift_assets.contracts.recommendations import RECOMMENDATIONS
from shift_assets.contracts.shift import INTEREST_STATE, SHIFT_ALERTS
from shift_assets.defs import partitions as keys
from shift_assets.defs.assets.ingest import CLEAN
from shift_assets.defs.assets.interest import SERIES, STATE
from shift_assets.defs.assets.recommendations import RECOMMENDATIONS_KEY
from shift_assets.defs.assets.shift import ALERTS
from shift_assets.defs.automation_conditions import content_changed
from shift_assets.defs.plots import recall_by_day
from shift_assets.defs.table_asset import TableAsset, build_asset
from shift_assets.workspace.workspace import Workspace

GROUP = "outcomes"


def outcome_assets(workspace: Workspace) -> list[dg.AssetsDefinition]:
    settings = workspace.settings
    horizon, period = settings.outcomes.horizon_days, settings.experiments.period_days
    look_back = settings.recommendations.look_back_days
    then = keys.days_ago(horizon)
    tables = [
        TableAsset(
            table=ALERT_OUTCOMES,
            group=GROUP,
            deps=[
                dg.AssetDep(
                    ALERTS,
                    partition_mapping=keys.window_between(max(horizon, HORIZON_DAYS), min(horizon, HORIZON_DAYS)),
                ),
                dg.AssetDep(STATE, partition_mapping=then),
                dg.AssetDep(SERIES, partition_mapping=keys.window(max(horizon, HORIZON_DAYS))),
            ],
            compute=_alert_outcomes,
            sections=["outcomes", "state"],
            metrics=_confirmed_share,
            automation=content_changed(STATE),
        ),
        TableAsset(
            table=RECOMMENDATION_OUTCOMES,
            group=GROUP,
            deps=[
                dg.AssetDep(RECOMMENDATIONS_KEY, partition_mapping=then),
                dg.AssetDep(ALERTS, partition_mapping=then),
                dg.AssetDep(CLEAN, partition_mapping=keys.window(horizon + look_back)),
            ],
            compute=_recommendation_outcomes,
            sections=["outcomes", "seed"],
            metrics=_recall_and_ndcg,
            plot=recall_by_day,
            automation=content_changed(CLEAN),
        ),
        TableAsset(
            table=EXPERIMENT_REPORT,
            group=GROUP,
            deps=[
                dg.AssetDep(RECOMMENDATIONS_KEY, partition_mapping=keys.window_between(horizon + period - 1, horizon)),
                dg.AssetDep(CLEAN, partition_mapping=keys.window(horizon + period - 1)),
            ],
            compute=_experiment_report,
            sections=["outcomes", "experiments"],
            automation=content_changed(CLEAN),
        ),
    ]
    partitions = keys.day_segment_partitions(settings, workspace.source)
    return [build_asset(asset, partitions, settings) for asset in tables]


def _alert_outcomes(workspace: Workspace, partitions: list[Partition]) -> pa.Table:
    from shift_assets.outcomes.alerts import alert_outcomes
    from shift_assets.outcomes.churn import churn_warning_outcomes

    reader, horizon_days = workspace.reader, workspace.settings.outcomes.horizon_days
    evaluated = [ALERT_OUTCOMES.empty()]
    for day, segment in partitions:
        then = day - timedelta(days=horizon_days)
        alerts = reader.read_day(SHIFT_ALERTS, then, segment)
        if alerts.num_rows:
            state = reader.read_day(INTEREST_STATE, then, segment)
            series = reader.read_window(INTEREST_SERIES, [day], [segment], horizon_days)
            evaluated.append(_dated_by_evaluation_day(alert_outcomes(alerts, state, series, workspace.settings), day))
        warned = reader.read_day(SHIFT_ALERTS, day - timedelta(days=HORIZON_DAYS), segment)
        if pc.any(pc.and_(pc.equal(warned["kind"], "churn_risk"), pc.equal(warned["status"], "opened"))).as_py():
            series = reader.read_window(INTEREST_SERIES, [day], [segment], HORIZON_DAYS)
            evaluated.append(_dated_by_evaluation_day(churn_warning_outcomes(warned, series), day))
    return pa.concat_tables(evaluated)


def _recommendation_outcomes(workspace: Workspace, partitions: list[Partition]) -> pa.Table:
    from shift_assets.outcomes.recommendations import recommendation_outcomes

    reader, settings = workspace.reader, workspace.settings
    horizon_days, look_back_days = settings.outcomes.horizon_days, settings.recommendations.look_back_days
    evaluated = [RECOMMENDATION_OUTCOMES.empty()]
    windows = reader.read_windows(CLEAN_EVENTS, partitions, horizon_days + look_back_days)
    for day, segment in partitions:
        then = day - timedelta(days=horizon_days)
        slates = reader.read_day(RECOMMENDATIONS, then, segment)
        if slates.num_rows:
            events, oldest = windows[segment], then - timedelta(days=look_back_days - 1)
            before = events.filter((pc.field("day") >= oldest) & (pc.field("day") <= then))
            alerts = reader.read_day(SHIFT_ALERTS, then, segment)
            rows = recommendation_outcomes(slates, events, before, alerts, settings.outcomes, seed=settings.seed)
            evaluated.append(_dated_by_evaluation_day(rows, day))
    return pa.concat_tables(evaluated)


def _experiment_report(workspace: Workspace, partitions: list[Partition]) -> pa.Table:
    from shift_assets.outcomes.experiments import experiment_report, period_start
    from shift_assets.outcomes.recommendations import user_outcomes

    settings, days = workspace.settings.experiments, days_of(partitions)
    horizon = timedelta(days=workspace.settings.outcomes.horizon_days)
    first = period_start(days[0] - horizon, settings.period_days)
    outcomes = {}
    for segment in segments_of(partitions):
        slates = workspace.reader.read(RECOMMENDATIONS, first, days[-1] - horizon, [segment])
        events = workspace.reader.read(CLEAN_EVENTS, first + timedelta(days=1), days[-1], [segment])
        outcomes[segment] = user_outcomes(slates, events, horizon.days)
    return pa.concat_tables(
        experiment_report(outcomes[segment], day, segment, day - horizon, settings) for day, segment in partitions
    )


def _dated_by_evaluation_day(rows: pa.Table, day: date) -> pa.Table:
    days = pa.repeat(pa.scalar(day, pa.date32()), rows.num_rows)
    return rows.set_column(0, rows.schema.field("day"), days)


def _recall_and_ndcg(outcomes: pa.Table) -> dict[str, float]:
    rows = outcomes.to_pylist()
    return {
        f"{name}_{row['policy']}": row[name]
        for row in rows
        for name in ("recall_at_k", "ndcg_at_k")
        if row[name] is not None
    }


def _confirmed_share(rows: pa.Table) -> dict[str, float]:
    confirmed = rows["confirmed"].drop_null().to_pylist()
    return {"confirmed_share": sum(confirmed) / len(confirmed)} if confirmed else {}
