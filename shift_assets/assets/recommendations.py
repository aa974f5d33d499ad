"""Recommendation lists, one per user active lately, and what they are made with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets import partitions as keys
from shift_assets.assets.intake import CLEAN
from shift_assets.assets.models import MODEL, newest_of, registered
from shift_assets.assets.publishing import TableAsset, build
from shift_assets.assets.shift import ALERTS
from shift_assets.contracts import (
    CLEAN_EVENTS,
    LIST_FITS,
    RECOMMENDATION_OUTCOMES,
    RECOMMENDATIONS,
    SEGMENT_SHIFTS,
    SHIFT_ALERTS,
    Partition,
)
from shift_assets.resources.platform import Platform, days_of, segments_of
from shift_assets.shift.choice import IN_FORCE_DAYS

if TYPE_CHECKING:
    from shift_assets.models.scoring import InterestModel

LISTS = RECOMMENDATIONS.name
CHUNK_DAYS = 7


def recommendation_assets(platform: Platform) -> list[dg.AssetsDefinition]:
    settings = platform.settings
    wanted = settings.recommendations
    taught = wanted.look_back_days + wanted.validation_rounds * wanted.validation_days
    tables = [
        TableAsset(
            table=LIST_FITS,
            group="recommendations",
            kinds=frozenset({"scipy", "scikitlearn"}),
            deps=[dg.AssetDep(CLEAN, partition_mapping=keys.window(taught)), MODEL],
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
                dg.AssetDep(LIST_FITS.name, partition_mapping=keys.window(IN_FORCE_DAYS)),
                MODEL,
                ALERTS,
                SEGMENT_SHIFTS.name,
            ],
            compute=_lists,
            sections=["recommendations", "reaction", "experiments", "seed"],
            metrics=lambda rows: {"users": float(len(rows["user_id"].unique()))},
            chunk_days=CHUNK_DAYS,
        ),
    ]
    partitions = keys.day_segment_partitions(settings, platform.source)
    return [build(asset, partitions, settings) for asset in tables]


def _fits(platform: Platform, partitions: list[Partition]) -> pa.Table:
    """On the weekday of refits: the blend and the gate, from the newest weeks."""
    from shift_assets.recommend.fits import fitted_rows
    from shift_assets.recommend.known import known_of

    settings = platform.settings
    wanted = settings.recommendations
    look_back = wanted.look_back_days + wanted.validation_rounds * wanted.validation_days
    found = [LIST_FITS.empty()]
    for day, segment in partitions:
        if day.weekday() == settings.forecast.refit_weekday:
            events = platform.read_window(CLEAN_EVENTS, [day], [segment], look_back)
            known = known_of(events, settings, platform.parse_context.items)
            with platform.spark_from(_users_in(events), wanted.spark_users) as session:
                as_of = replace(known, session=session)
                found.append(fitted_rows(as_of, day, segment, settings, model_of=_model_of(platform, segment)))
    return pa.concat_tables(found)


def _lists(platform: Platform, partitions: list[Partition]) -> pa.Table:
    from shift_assets.recommend.fits import newest_blend, newest_gate
    from shift_assets.recommend.known import known_of
    from shift_assets.recommend.recommend import recommend

    settings = platform.settings
    lists = [RECOMMENDATIONS.empty()]
    days, look_back = days_of(partitions), settings.recommendations.look_back_days
    windows = {s: platform.read_window(CLEAN_EVENTS, days, [s], look_back) for s in segments_of(partitions)}
    for day, segment in partitions:
        fits = platform.read_window(LIST_FITS, [day], [segment], IN_FORCE_DAYS)
        known = replace(
            known_of(windows[segment], settings, platform.parse_context.items),
            alerts=platform.read(SHIFT_ALERTS, day, day, [segment]),
            segment_shifts=platform.read(SEGMENT_SHIFTS, day, day, [segment]),
            outcomes=_outcomes_before(platform, day),
            model=_model_of(platform, segment)(day),
            blend=newest_blend(fits) if settings.recommendations.blend == "learned" else None,
            gate=newest_gate(fits),
        )
        with platform.spark_from(_users_in(known.events), settings.recommendations.spark_users) as session:
            lists.append(recommend(replace(known, session=session), day, segment, settings))
    return pa.concat_tables(lists)


def _users_in(events: pa.Table) -> int:
    """Distinct users."""
    return int(pc.count_distinct(events["user_id"]).as_py())


def _model_of(platform: Platform, segment: str) -> Callable[[date], InterestModel | None]:
    """The model that is served on a day."""
    from shift_assets.models.store import load

    models = platform.settings.models

    def model_of(day: date) -> InterestModel | None:
        served = newest_of(registered(platform, segment, day), segment)
        return load(models / served["path"], served["digest"]) if served else None

    return model_of


def _outcomes_before(platform: Platform, day: date) -> pa.Table:
    """What the days before said about their lists, where the policies learn from it.

    It is no declared dependency: outcomes are made of lists, and Dagster knows no graph in which both are upstream
    of each other, on whatever days.
    """
    experiments = platform.settings.experiments
    if experiments.learning == "fixed" and experiments.exploration_slots == 0:
        return RECOMMENDATION_OUTCOMES.empty()
    first = day - timedelta(days=4 * int(experiments.half_life_days))
    return platform.lake.read(RECOMMENDATION_OUTCOMES, first_day=first, last_day=day - timedelta(days=1))
