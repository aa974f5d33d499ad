"""Laws of the documentation: what a stranger copies from it works, and the site needs no other host."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from shift_assets.ingest.source.shipped import load_source
from shift_assets.settings.root import Settings

DOCS = Path(__file__).parents[1] / "docs"
FENCE = re.compile(r"^( *)```yaml\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", [0, 1])
def test_the_sources_in_the_how_to_can_be_loaded(number: int, tmp_path: Path) -> None:
    found = [
        re.sub(rf"(?m)^{indent}", "", text)
        for indent, text in FENCE.findall((DOCS / "how-to" / "bring_your_own_log.md").read_text(encoding="utf-8"))
    ]
    assert len(found) == 2
    file = tmp_path / "source.yaml"
    file.write_text(found[number], encoding="utf-8")
    assert load_source(file).segment_keys


@pytest.mark.parametrize("name", ["how-to/experiments.md", "explanation/alerts_for_marketers.md"])
def test_the_settings_in_a_how_to_are_settings(name: str) -> None:
    (found,) = [text for _, text in FENCE.findall((DOCS / name).read_text(encoding="utf-8"))]
    assert Settings(**yaml.safe_load(found))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built documentation site."""
    target = tmp_path_factory.mktemp("site")
    command = ["-m", "mkdocs", "build", "--strict", "--quiet", "-f", ".ci/mkdocs.yml", "-d", str(target)]
    built = subprocess.run([sys.executable, *command], cwd=DOCS.parent, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return target


@pytest.mark.slow
def test_the_site_loads_nothing_from_another_host(site: Path) -> None:
    """Scripts, styles, fonts and images come with it; only links that a reader follows lead elsewhere."""
    loaded = re.compile(
        r"""<(?:script|img|iframe)[^>]+src=["']?https?:|<link[^>]+href=["']?https?:|@import|url\(["']?https?:"""
    )
    pages = [*site.rglob("*.html"), *site.rglob("*.css")]
    assert len(pages) > 20
    found = {page.name: match.group() for page in pages if (match := loaded.search(page.read_text("utf-8")))}
    assert not found
