"""What tests that run Spark have in common."""

from __future__ import annotations

import pytest

from shift_assets.ingest.cleaning.engines.local_spark import server_folder, stop_local_server
from shift_assets.ingest.cleaning.engines.selection import java_version

needs_java = pytest.mark.skipif((java_version() or 0) < 17, reason="Spark needs Java 17; none was found")


class LocalServer:
    """Stops the server that a run's tests started when the whole run ends; one that ran before stays.

    Registered in the process that leads the run: a worker that ended the server would take it from the others.
    """

    def __init__(self) -> None:
        self.ran_before = (server_folder() / "server.json").exists()

    def pytest_sessionfinish(self) -> None:
        if not self.ran_before:
            stop_local_server()
