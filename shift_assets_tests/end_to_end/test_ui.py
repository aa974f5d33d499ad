"""Laws of the Dagster UI, seen through a browser: what a person opens after a run is there and can be read."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from shift_assets.contracts.interest import INTEREST_SERIES
from shift_assets.contracts.partition import Partition
from shift_assets_tests.end_to_end.shops import LAST_DAY, Shop
from shift_assets_tests.end_to_end.webserver import SECONDS, Webserver, serve

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not CHROMIUM and not os.environ.get("SHIFT_REQUIRE_BROWSER"), reason="no chromium on the PATH to look with"
    ),
]


@pytest.fixture(scope="module")
def webserver(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webserver]:
    with serve(shop, tmp_path_factory.mktemp("webserver") / "log") as webserver:
        yield webserver


@dataclass
class Tab:
    """A page of the browser, and what its console said."""

    page: Any
    screenshots: Path
    errors: list[str]

    def see(self, text: str | re.Pattern[str], *, exact: bool = True) -> Any:
        """The first visible element with the text; fails when it does not come."""
        found = self.page.get_by_text(text, exact=exact).locator("visible=true").first
        found.wait_for(timeout=SECONDS * 1000)
        return found

    def keep(self, name: str) -> Path:
        path = self.screenshots / f"{name}.png"
        self.page.screenshot(path=path)
        return path


@pytest.fixture
def tab(tmp_path: Path) -> Iterator[Tab]:
    """A fresh browser; its console must have shown no error when the law is over."""
    from playwright.sync_api import sync_playwright

    screenshots = Path(os.environ.get("SHIFT_SCREENSHOTS") or tmp_path)
    screenshots.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        errors: list[str] = []
        page.on("console", lambda message: errors.extend([message.text] if message.type == "error" else []))
        page.on("pageerror", lambda error: errors.append(str(error)))
        yield Tab(page, screenshots, errors)
        browser.close()
    assert errors == []


def test_the_lineage_page_shows_every_group_and_asset(webserver: Webserver, tab: Tab) -> None:
    """The whole graph opens: eight groups, which unfold to every asset by name."""
    nodes = webserver.graphql("{ assetNodes { assetKey { path } groupName } }")["assetNodes"]
    groups = sorted({node["groupName"] for node in nodes})
    assert groups == ["forecast", "intake", "interest", "models", "outcomes", "recommendations", "serving", "shift"]
    tab.page.set_viewport_size({"width": 2600, "height": 1500})
    tab.page.add_init_script("localStorage.setItem('asset-graph-direction', JSON.stringify('vertical'))")
    tab.page.goto(f"{webserver.address}/asset-groups")
    for group in groups:
        tab.see(group)
    unfolded = "%2C".join(f"global%40global%3A{group}" for group in groups)
    tab.page.goto(f"{webserver.address}/asset-groups?expanded={unfolded}")
    for node in nodes:  # a long name is shortened in its middle
        name = node["assetKey"]["path"][-1]
        tab.see(re.compile(rf"^({name}|{name[:3]}\w*….*{name[-5:]})$"), exact=False)
    tab.keep("asset_graph")


def test_a_partition_page_shows_rows_preview_and_picture(webserver: Webserver, shop: Shop, tab: Tab) -> None:
    """Metadata of one day and segment: the row count of the lake, a masked preview, and a picture that is drawn."""
    tab.page.goto(
        f"{webserver.address}/assets/interest_series?view=partitions&partition={LAST_DAY}%7C{webserver.segment}"
    )
    tab.see(f"{LAST_DAY}|{webserver.segment}")
    tab.see("Materialized")
    rows = shop.workspace.lake.published(INTEREST_SERIES)[Partition(LAST_DAY, webserver.segment)].rows
    metadata = tab.page.locator("table", has_text="dagster/row_count").first
    metadata.wait_for(timeout=SECONDS * 1000)
    assert str(rows) in metadata.locator("tr", has_text="dagster/row_count").inner_text()
    tab.keep("interest_series_partition")
    assert tab.page.get_by_text("Unsynced").count() == 0

    preview = metadata.locator("tr", has_text="preview").first
    assert "user_id" in preview.inner_text()
    series = shop.workspace.lake.read(INTEREST_SERIES, first_day=LAST_DAY, segments=[webserver.segment])
    users = series["user_id"].to_pylist()
    assert not [user for user in users if user in tab.page.inner_text("body")]

    metadata.locator("tr", has_text="picture").get_by_text("[Show Markdown]").click()
    picture = tab.page.locator("img[alt=picture]")
    picture.wait_for(timeout=SECONDS * 1000)
    assert picture.evaluate("image => image.complete && image.naturalWidth") > 300
    tab.keep("interest_series_picture")


def test_the_result_of_a_check_can_be_read(webserver: Webserver, tab: Tab) -> None:
    """The checks page shows the expectation as a sentence, that it passed, and how many partitions were checked."""
    tab.page.goto(f"{webserver.address}/assets/clean_events?view=checks")
    tab.see("no_event_id_occurs_twice").click()
    tab.see("no event_id occurs twice")
    tab.see("Passed")
    tab.see("partitions_judged")
    tab.keep("clean_events_checks")


def test_no_partition_is_out_of_sync_after_a_run(webserver: Webserver) -> None:
    """Right after the range run Dagster sees no partition of it as stale: nothing asks a person to run it again."""
    key = f"{LAST_DAY}|{webserver.segment}"
    causes = f'staleCauses(partition: "{key}") {{ reason dependency {{ path }} }}'
    nodes = webserver.graphql(f"{{ assetNodes {{ assetKey {{ path }} {causes} }} }}")["assetNodes"]
    assert len(nodes) > 15
    assert {node["assetKey"]["path"][-1]: node["staleCauses"] for node in nodes if node["staleCauses"]} == {}
