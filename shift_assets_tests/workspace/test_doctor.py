"""The doctor says how much of the log has no category, and what to do."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from shift_assets.contracts.interest import INTEREST_SERIES
from shift_assets.contracts.partition import Partition
from shift_assets.workspace.doctor import diagnose
from shift_assets.workspace.workspace import Workspace
from shift_assets_tests.quality.sample_rows import good_rows
from shift_assets_tests.workspaces import FIRST_DAY, SOURCE, new_workspace

LATER_DAYS = 30


def publish_day(workspace: Workspace, number: int, category: str) -> None:
    """A day with one user's events in one category."""
    partition = Partition(FIRST_DAY + timedelta(days=number), workspace.source.segment_keys[0])
    row = good_rows(INTEREST_SERIES, 1, partition)[0] | {"category": category}
    claim = workspace.lake.claim(INTEREST_SERIES, [partition], "test")
    workspace.lake.publish(INTEREST_SERIES, pa.Table.from_pylist([row], schema=INTEREST_SERIES.schema), claim)


@pytest.mark.parametrize(
    ("uncategorised_days", "level", "text"),
    [
        (2, "ok", "7.1% of the events of the last 28 days are uncategorised, 0.0% of the first"),
        (4, "note", "14.3% of the events of the last 28 days are uncategorised, 7.1% of the first; map a category"),
    ],
)
def test_the_doctor_says_what_share_of_events_has_no_category(
    tmp_path: Path, uncategorised_days: int, level: str, text: str
) -> None:
    """In the first and the last 28 days; above 10 % it names the remedy for this source. Nothing before a first run."""
    source = SOURCE + "categories: {from: cooccurrence, clusters: 3}\n"
    workspace = new_workspace(tmp_path / "home", LATER_DAYS, source=source)
    assert "categories" not in [finding.subject for finding in diagnose(workspace.settings.home)]
    for number in range(LATER_DAYS):
        publish_day(workspace, number, "uncategorised" if number >= LATER_DAYS - uncategorised_days else "mugs")
    (found,) = (finding for finding in diagnose(workspace.settings.home) if finding.subject == "categories")
    assert (found.level, found.text[: len(text)]) == (level, text)
