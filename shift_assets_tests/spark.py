"""What tests that run Spark have in common."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shift_assets.ingest.cleaning.engines.local_spark import server_folder, stop_local_server
from shift_assets.ingest.cleaning.engines.selection import java_version

needs_java = pytest.mark.skipif((java_version() or 0) < 17, reason="Spark needs Java 17; none was found")


@pytest.fixture(scope="module")
def spark_server() -> Iterator[None]:
    """A server that these tests started ends with them; one that ran before stays."""
    running = (server_folder() / "server.json").exists()
    yield
    if not running:
        stop_local_server()
