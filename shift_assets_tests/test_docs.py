"""Laws of the how-tos: what a stranger copies from them works."""

from __future__ import annotations

import re
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
