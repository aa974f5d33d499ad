"""The weekly fits that recommendations are made with, and each day's recommendations of recently active users."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from functools import partial

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.contracts.cleaning import CLEAN_EVENTS
from shift_assets.contracts.outcomes import RECOMMENDATION_OUTCOMES
from shift_assets.contracts.partition import Partition
from shift_assets.contracts.recommendations import LIST_FITS, RECOMMENDATIONS
from shift_assets.contracts.shift import SEGMENT_SHIFTS, SHIFT_ALERTS
from shift_assets.defs import partitions as keys
from shift_assets.defs.assets.ingest import CLEAN
from shift_assets.defs.assets.models import MODEL
from shift_assets.defs.assets.shift import ALERTS
from shift_assets.defs.table_asset import TableAsset, build_asset
from shift_assets.settings.root import RecommendationSettings
from shift_assets.shift.alerts.detector_selection import SELECTION_VALID_DAYS
from shift_assets.workspace.spark_sessions import spark_session_if_large
from shift_assets.workspace.workspace import Workspace

GROUP = "recommendations"
RECOMMENDATIONS_KEY = RECOMMENDATIONS.name
CHUNK_DAYS = 7


def recommendation_assets(workspace: Workspace) -> list[dg.AssetsDefinition]:
    settings = workspace.settings
    fits = TableAsset(
        table=LIST_FITS,
        group=GROUP,
        deps=[dg.AssetDep(CLEAN, partition_mapping=keys.window(_training_days(settings.recommendations))), MODEL],
        compute=_fits,
        sections=["recommendations", "adaptation", "seed"],
        metrics=_quality_on_held_out_users,
    )
    slates = TableAsset(
        table=RECOMMENDATIONS,
        group=GROUP,
        deps=[
            dg.AssetDep(CLEAN, partition_mapping=keys.window(settings.recommendations.look_back_days)),
            dg.AssetDep(LIST_FITS.name, partition_mapping=keys.window(SELECTION_VALID_DAYS)),
            MODEL,
            ALERTS,
            SEGMENT_SHIFTS.name,
        ],
        compute=_recommendations,
        sections=["recommendations", "adaptation", "experiments", "seed"],
        metrics=lambda rows: {"users": float(_users_in(rows))},
        chunk_days=CHUNK_DAYS,
    )
    partitions = keys.day_segment_partitions(settings, workspace.source)
    return [build_asset(asset, partitions, settings) for asset in (fits, slates)]


def _training_days(settings: RecommendationSettings) -> int:
    """Days of events that the weekly fit reads: the look-back of its earliest validation round."""
    return settings.look_back_days + settings.validation_rounds * settings.validation_days


def _fits(workspace: Workspace, partitions: list[Partition]) -> pa.Table:
    """On the weekday of refits: the blend and the shift classifier, from the newest weeks."""
    from shift_assets.recommend.context import build_context
    from shift_assets.recommend.weekly_fits import weekly_fit_rows

    settings, found = workspace.settings, [LIST_FITS.empty()]
    wanted = settings.recommendations
    for day, segment in partitions:
        if day.weekday() == settings.schedule.refit_weekday:
            events = workspace.reader.read_window(CLEAN_EVENTS, [day], [segment], _training_days(wanted))
            context = build_context(events, settings, workspace.parse_context.items)
            champion = partial(workspace.interest_models.champion, segment)
            with spark_session_if_large(settings, _users_in(events), settings.spark.minimum_users) as session:
                as_of = replace(context, session=session)
                found.append(weekly_fit_rows(as_of, day, segment, settings, model_of=champion))
    return pa.concat_tables(found)


def _recommendations(workspace: Workspace, partitions: list[Partition]) -> pa.Table:
    from shift_assets.recommend.context import build_context
    from shift_assets.recommend.pipeline import recommend
    from shift_assets.recommend.weekly_fits import newest_blend, newest_shift_classifier

    settings, reader = workspace.settings, workspace.reader
    wanted, slates = settings.recommendations, [RECOMMENDATIONS.empty()]
    events = reader.read_windows(CLEAN_EVENTS, partitions, wanted.look_back_days)
    for day, segment in partitions:
        fits = reader.read_window(LIST_FITS, [day], [segment], SELECTION_VALID_DAYS)
        context = replace(
            build_context(events[segment], settings, workspace.parse_context.items),
            alerts=reader.read_day(SHIFT_ALERTS, day, segment),
            segment_shifts=reader.read_day(SEGMENT_SHIFTS, day, segment),
            outcomes=_outcomes_before(workspace, day),
            model=workspace.interest_models.champion(segment, day),
            blend=newest_blend(fits) if wanted.blend == "learned" else None,
            shift_classifier=newest_shift_classifier(fits),
        )
        with spark_session_if_large(settings, _users_in(context.events), settings.spark.minimum_users) as session:
            slates.append(recommend(replace(context, session=session), day, segment, settings))
    return pa.concat_tables(slates)


def _outcomes_before(workspace: Workspace, day: date) -> pa.Table:
    """Outcomes of the recommendations of earlier days, where the policies learn from them.

    It is no declared dependency: outcomes are made of recommendations, and Dagster knows no graph in which both are
    upstream of each other, on whatever days.
    """
    experiments = workspace.settings.experiments
    if experiments.learning == "fixed" and experiments.exploration_slots == 0:
        return RECOMMENDATION_OUTCOMES.empty()
    first = day - timedelta(days=4 * int(experiments.half_life_days))
    return workspace.lake.read(RECOMMENDATION_OUTCOMES, first_day=first, last_day=day - timedelta(days=1))


def _users_in(rows: pa.Table) -> int:
    """Number of distinct users."""
    return int(pc.count_distinct(rows["user_id"]).as_py())


def _quality_on_held_out_users(fits: pa.Table) -> dict[str, float]:
    rows = fits.to_pylist()
    return {f"{row['part']}_{metric['name']}": metric["value"] for row in rows for metric in row["quality"]}
