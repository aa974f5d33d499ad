"""A log that is followed from its first day: the groups of its first days do not stay for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from shift_assets.contracts.cleaning import CLEAN_EVENTS
from shift_assets.contracts.interest import INTEREST_SERIES
from shift_assets.contracts.shift import INTEREST_STATE
from shift_assets.definitions import build_definitions
from shift_assets.defs.range_run import RangeRunResult, run_range
from shift_assets.ingest.categories.fit import REFIT_AT
from shift_assets.workspace.workspace import Workspace
from shift_assets_tests.end_to_end.shops import KEY
from shift_assets_tests.ingest.categories.growing_log import FIRST, SOURCE, day, land_day
from shift_assets_tests.workspaces import new_workspace

pytestmark = pytest.mark.end_to_end


def home_with(folder: Path, days: int, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A home whose calendar and landing have the first `days` days of the log."""
    monkeypatch.setenv("SHIFT_PRIVACY_KEY", KEY)
    workspace = new_workspace(folder, 2 * REFIT_AT[0], FIRST, SOURCE)
    for number in range(days):
        land_day(workspace.parse_context, number)
    return workspace


def run_state(workspace: Workspace, first: int, last: int) -> RangeRunResult:
    segments = list(workspace.source.segment_keys)
    definitions = build_definitions(workspace)
    report = run_range(definitions, workspace, day(first), day(last), segments, only=["interest_state"])
    assert report.success, report.errors
    return report


def test_the_categories_of_a_young_log_are_fitted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a week is landed, one run gives every day what a home gives that saw the week at once."""
    week = REFIT_AT[0]
    young = home_with(tmp_path / "young", 1, monkeypatch)
    run_state(young, 0, 0)
    assert young.category_models.load(FIRST).landed_days == 1
    for number in range(1, week):
        land_day(young.parse_context, number)
    assert run_state(young, 2, week - 2).history_from == FIRST
    assert young.category_models.load(FIRST).landed_days == week
    run_state(young, week - 1, week - 1)
    whole = home_with(tmp_path / "whole", week, monkeypatch)
    assert run_state(whole, week - 1, week - 1).history_from == FIRST
    for table in (CLEAN_EVENTS, INTEREST_SERIES, INTEREST_STATE):
        digests = [
            {partition: found.digest for partition, found in workspace.lake.published(table).items()}
            for workspace in (young, whole)
        ]
        common = digests[0].keys() & digests[1].keys()
        assert {day(week - 1)} <= {partition.day for partition in common}
        assert {key: digests[0][key] for key in common} == {key: digests[1][key] for key in common}


def test_a_day_in_the_past_does_not_replace_the_categories_of_later_days(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a run that reaches the newest clean day may fit again: no day keeps categories of another fit."""
    young = home_with(tmp_path / "young", 2, monkeypatch)
    run_state(young, 0, 1)
    for number in range(2, REFIT_AT[0]):
        land_day(young.parse_context, number)
    run_state(young, 0, 0)
    assert young.category_models.load(FIRST).landed_days == 2
