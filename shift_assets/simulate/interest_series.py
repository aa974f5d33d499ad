"""A simulated log in memory: interest series and labels, without event files.

Called by benchmarks only; kept for a public benchmark of detectors.
"""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.interest.series import interest_series
from shift_assets.settings.root import InterestSettings
from shift_assets.simulate.event_files import event_table
from shift_assets.simulate.population import build_block, labels_table, platform_labels, user_ids
from shift_assets.simulate.simulation import Simulation
from shift_assets.simulate.traffic import block_traffic, calibrate, day_random
from shift_assets.simulate.world import build_world

_DAY_MILLISECONDS = 24 * 3_600 * 1_000


class SimulatedSeries(NamedTuple):
    """Interest series of a simulated log, and its planted changes.

    Attributes:
        series: `interest_series`, sorted by day, segment, user and category, with raw user ids.
        labels: As in `labels.parquet`.
        segments: Segment of every user, including those without events.
    """

    series: pa.Table
    labels: pa.Table
    segments: dict[str, str]


def simulated_series(simulation: Simulation, interest: InterestSettings | None = None) -> SimulatedSeries:
    """Simulate interest series, equal to those of the event files except on days with a change of the clock.

    Every day has 24 hours here. Malformed, duplicate and late rows are left out, because cleaning removes them. All
    rows are held in memory.

    Args:
        simulation: The log.
        interest: Weights of the behaviours; the defaults where None.
    """
    world, calibration = build_world(simulation), calibrate(simulation, build_world(simulation))
    listed = {country: key for key, countries in simulation.segments.items() for country in countries}
    segment_of = pa.array([listed.get(country, simulation.other_segment) for country in simulation.countries])
    parts, labels = [], [platform_labels(simulation, world)]
    segments: dict[str, str] = {}
    for number in range(simulation.blocks):
        block = build_block(simulation, world, number)
        ids = user_ids(simulation, block)
        own_segment = segment_of.take(pa.array(block.country))
        segments.update(zip(ids, own_segment.to_pylist(), strict=True))
        labels.append(labels_table(simulation, world, block))
        for index in range(simulation.days):
            traffic = block_traffic(
                simulation,
                world,
                block,
                calibration,
                day=index,
                day_milliseconds=_DAY_MILLISECONDS,
                random=day_random(simulation, index, number),
            )
            events = event_table(world, ids, traffic, 0)
            for name in ("quantity", "rating"):
                events = events.set_column(events.schema.get_field_index(name), name, events[name].cast(pa.float64()))
            day = pa.array(np.full(len(traffic), simulation.first_day + timedelta(days=index), "datetime64[D]"))
            events = events.append_column("day", day)
            events = events.append_column("segment", own_segment.take(pa.array(traffic.user)))
            parts.append(interest_series(events, interest or InterestSettings()))
    order = [(name, "ascending") for name in ("day", "segment", "user_id", "category")]
    series = pa.concat_tables(parts)
    series = series.take(pc.sort_indices(series, sort_keys=order)).combine_chunks()
    return SimulatedSeries(series, pa.concat_tables(labels), segments)
