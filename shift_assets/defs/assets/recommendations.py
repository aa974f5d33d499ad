"""Recommendation lists, one per user active lately, and what they are made with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.contracts.cleaning import CLEAN_EVENTS
from shift_assets.contracts.outcomes import RECOMMENDATION_OUTCOMES
from shift_assets.contracts.partition import Partition, days_of, segments_of
from shift_assets.contracts.recommendations import LIST_FITS, RECOMMENDATIONS
from shift_assets.contracts.shift import SEGMENT_SHIFTS, SHIFT_ALERTS
from shift_assets.defs import partitions as keys
from shift_assets.defs.assets.ingest import CLEAN
from shift_assets.defs.assets.models import MODEL, newest_of, registered
from shift_assets.defs.assets.shift import ALERTS
from shift_assets.defs.table_asset import TableAsset, build_asset
from shift_assets.shift.learned.selection import SELECTION_VALID_DAYS
from shift_assets.workspace.spark_sessions import spark_session_if_large
from shift_assets.workspace.workspace import Workspace

if TYPE_CHECKING:
    from shift_assets.models.network.interest_model import InterestModel

RECOMMENDATIONS_KEY = RECOMMENDATIONS.name
CHUNK_DAYS = 7


def recommendation_assets(workspace: Workspace) -> list[dg.AssetsDefinition]:
    settings = workspace.settings
    wanted = settings.recommendations
    training_days = wanted.look_back_days + wanted.validation_rounds * wanted.validation_days
    tables = [
        TableAsset(
            table=LIST_FITS,
            group="recommendations",
            kinds=frozenset({"scipy", "scikitlearn"}),
            deps=[dg.AssetDep(CLEAN, partition_mapping=keys.window(training_days)), MODEL],
            compute=_fits,
            sections=["recommendations", "reaction", "seed"],
            metrics=lambda rows: {
                f"{row['part']}_{metric['name']}": metric["value"]
                for row in rows.to_pylist()
                for metric in row["quality"]
            },
        ),
        TableAsset(
            table=RECOMMENDATIONS,
            group="recommendations",
            kinds=frozenset({"torch", "scipy"}),
            deps=[
                dg.AssetDep(CLEAN, partition_mapping=keys.window(wanted.look_back_days)),
                dg.AssetDep(LIST_FITS.name, partition_mapping=keys.window(SELECTION_VALID_DAYS)),
                MODEL,
                ALERTS,
                SEGMENT_SHIFTS.name,
            ],
            compute=_recommendations,
            sections=["recommendations", "reaction", "experiments", "seed"],
            metrics=lambda rows: {"users": float(len(rows["user_id"].unique()))},
            chunk_days=CHUNK_DAYS,
        ),
    ]
    partitions = keys.day_segment_partitions(settings, workspace.source)
    return [build_asset(asset, partitions, settings) for asset in tables]


def _fits(workspace: Workspace, partitions: list[Partition]) -> pa.Table:
    """On the weekday of refits: the blend and the gate, from the newest weeks."""
    from shift_assets.recommend.context import build_context
    from shift_assets.recommend.weekly_fits import weekly_fit_rows

    settings = workspace.settings
    wanted = settings.recommendations
    look_back = wanted.look_back_days + wanted.validation_rounds * wanted.validation_days
    found = [LIST_FITS.empty()]
    for day, segment in partitions:
        if day.weekday() == settings.forecast.refit_weekday:
            events = workspace.reader.read_window(CLEAN_EVENTS, [day], [segment], look_back)
            known = build_context(events, settings, workspace.parse_context.items)
            with spark_session_if_large(settings, _users_in(events), wanted.spark_users) as session:
                as_of = replace(known, session=session)
                found.append(weekly_fit_rows(as_of, day, segment, settings, model_of=_model_of(workspace, segment)))
    return pa.concat_tables(found)


def _recommendations(workspace: Workspace, partitions: list[Partition]) -> pa.Table:
    from shift_assets.recommend.context import build_context
    from shift_assets.recommend.pipeline import recommend
    from shift_assets.recommend.weekly_fits import newest_blend, newest_shift_classifier

    settings = workspace.settings
    slates = [RECOMMENDATIONS.empty()]
    days, look_back = days_of(partitions), settings.recommendations.look_back_days
    windows = {s: workspace.reader.read_window(CLEAN_EVENTS, days, [s], look_back) for s in segments_of(partitions)}
    for day, segment in partitions:
        fits = workspace.reader.read_window(LIST_FITS, [day], [segment], SELECTION_VALID_DAYS)
        known = replace(
            build_context(windows[segment], settings, workspace.parse_context.items),
            alerts=workspace.reader.read(SHIFT_ALERTS, day, day, [segment]),
            segment_shifts=workspace.reader.read(SEGMENT_SHIFTS, day, day, [segment]),
            outcomes=_outcomes_before(workspace, day),
            model=_model_of(workspace, segment)(day),
            blend=newest_blend(fits) if settings.recommendations.blend == "learned" else None,
            shift_classifier=newest_shift_classifier(fits),
        )
        with spark_session_if_large(
            workspace.settings, _users_in(known.events), settings.recommendations.spark_users
        ) as session:
            slates.append(recommend(replace(known, session=session), day, segment, settings))
    return pa.concat_tables(slates)


def _users_in(events: pa.Table) -> int:
    """Distinct users."""
    return int(pc.count_distinct(events["user_id"]).as_py())


def _model_of(workspace: Workspace, segment: str) -> Callable[[date], InterestModel | None]:
    """The model that is served on a day."""
    from shift_assets.models.registry.store import load

    models = workspace.settings.models

    def model_of(day: date) -> InterestModel | None:
        served = newest_of(registered(workspace, segment, day), segment)
        return load(models / served["path"], served["digest"]) if served else None

    return model_of


def _outcomes_before(workspace: Workspace, day: date) -> pa.Table:
    """What the days before said about their lists, where the policies learn from it.

    It is no declared dependency: outcomes are made of lists, and Dagster knows no graph in which both are upstream
    of each other, on whatever days.
    """
    experiments = workspace.settings.experiments
    if experiments.learning == "fixed" and experiments.exploration_slots == 0:
        return RECOMMENDATION_OUTCOMES.empty()
    first = day - timedelta(days=4 * int(experiments.half_life_days))
    return workspace.lake.read(RECOMMENDATION_OUTCOMES, first_day=first, last_day=day - timedelta(days=1))
