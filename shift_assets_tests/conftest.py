"""Fixtures and lanes of the whole suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from shift_assets_tests import shapes

shapes.install()  # before anything imports the package

from shift_assets_tests.spark import LocalServer  # noqa: E402

SUITE = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    """End the Spark server with the run, in the process that leads it."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(LocalServer())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark end-to-end tests by their folder, and keep on one worker what shares a server, an installation or a file."""
    for item in items:
        file = item.path.relative_to(SUITE)
        group = file.as_posix()
        if file.parts[0] == "end_to_end":
            item.add_marker("end_to_end")
            group = "end_to_end" if "shop" in getattr(item, "fixturenames", ()) else group
        if item.get_closest_marker("spark"):
            group = "spark"
        item.add_marker(pytest.mark.xdist_group(group))
