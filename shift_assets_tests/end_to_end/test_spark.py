"""The law of the two engines, through Dagster."""

from __future__ import annotations

from pathlib import Path

import pytest

from shift_assets.contracts.cleaning import CLEAN_EVENTS, REJECTED_EVENTS
from shift_assets.contracts.partition import Partition
from shift_assets.simulate.writer import Summary
from shift_assets_tests.end_to_end.shops import LAST_DAY, SIMULATION, Shop, new_shop
from shift_assets_tests.spark import needs_java


@pytest.mark.spark
@needs_java
def test_the_log_cleaned_by_spark_has_the_digests_of_the_embedded_engine(
    shop: Shop, log: Summary, tmp_path: Path
) -> None:
    """Thirty days in one Spark run give every partition of clean and rejected events the same content."""
    other = new_shop(tmp_path / "home", log.landing, engine="spark")
    ours = other.workspace
    ours.category_models.fit(SIMULATION.first_day, ours.parse_context, ours.settings, ours.engine())
    corners = [Partition(day, segment) for day in (SIMULATION.first_day, LAST_DAY) for segment in shop.segments]
    assert other.materialise([CLEAN_EVENTS.name, REJECTED_EVENTS.name], corners) == []
    for table in (CLEAN_EVENTS, REJECTED_EVENTS):
        spark, embedded = (home.workspace.lake.published(table) for home in (other, shop))
        assert len(spark) == SIMULATION.days * len(shop.segments)
        assert {p: found.digest for p, found in spark.items()} == {p: found.digest for p, found in embedded.items()}
