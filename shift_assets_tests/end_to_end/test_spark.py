"""The law of the two engines, through Dagster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shift_assets.contracts import CLEAN_EVENTS, REJECTED_EVENTS, Partition
from shift_assets.ingest.engines import java_version
from shift_assets.ingest.engines.local_spark import server_folder, stop_local_server
from shift_assets.simulate import Summary
from shift_assets_tests.end_to_end.homes import LAST_DAY, SIMULATION, Shop, new_shop


@pytest.fixture
def server() -> Iterator[None]:
    """A server that this law started ends with it; one that ran before stays."""
    running = (server_folder() / "server.json").exists()
    yield
    if not running:
        stop_local_server()


@pytest.mark.spark
@pytest.mark.usefixtures("server")
@pytest.mark.skipif((java_version() or 0) < 17, reason="Spark needs Java 17; none was found")
def test_the_log_cleaned_by_spark_has_the_digests_of_the_embedded_engine(
    shop: Shop, log: Summary, tmp_path: Path
) -> None:
    """Thirty days in one Spark run give every partition of clean and rejected events the same content."""
    other = new_shop(tmp_path / "home", log.landing, engine="spark")
    other.platform.fit_category_model(SIMULATION.first_day)
    corners = [Partition(day, segment) for day in (SIMULATION.first_day, LAST_DAY) for segment in shop.segments]
    assert other.materialise([CLEAN_EVENTS.name, REJECTED_EVENTS.name], corners) == []
    for table in (CLEAN_EVENTS, REJECTED_EVENTS):
        spark, embedded = (home.platform.lake.published(table) for home in (other, shop))
        assert len(spark) == SIMULATION.days * len(shop.segments)
        assert {p: found.digest for p, found in spark.items()} == {p: found.digest for p, found in embedded.items()}
