"""Laws of what `run --only TABLE` selects: the table, what lies upstream of it, and the past that they read."""

from __future__ import annotations

import dagster as dg
import pytest

from shift_assets.definitions import build_definitions
from shift_assets.defs.assets.shift import SEGMENT_WINDOW_DAYS
from shift_assets.defs.range_selection import select
from shift_assets.errors import UserError
from shift_assets_tests.workspaces import new_workspace

CLEANING = {"clean_events", "rejected_events"}


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    return build_definitions(new_workspace(tmp_path_factory.mktemp("home")))


def test_alerts_need_no_model_and_no_recommendation(definitions: dg.Definitions) -> None:
    """Alerts are made of state and signals, which read every earlier day."""
    found = select(definitions, ["shift_alerts"])
    assert {*CLEANING, "interest_series", "interest_state", "shift_signals", "shift_alerts"} <= set(found.assets)
    assert not {"interest_model", "recommendations", "warehouse", "bi_files", "alert_outbox"} & set(found.assets)
    assert (found.days_before, found.has_state, found.with_base_model) == (None, True, False)


def test_a_window_is_all_that_is_read_of_the_past(definitions: dg.Definitions) -> None:
    """Without the state in it, the history is that of the longest chain of windows."""
    found = select(definitions, ["segment_shifts"])
    assert set(found.assets) == {*CLEANING, "interest_series", "segment_shifts"}
    assert set(found.history) == {*CLEANING, "interest_series"}
    assert found.days_before == SEGMENT_WINDOW_DAYS - 1
    assert select(definitions, ["interest_series"]).days_before == 0
    assert select(definitions, ["interest_series", "segment_shifts"]).days_before == SEGMENT_WINDOW_DAYS - 1


def test_nothing_named_is_everything(definitions: dg.Definitions) -> None:
    """Without `--only` every asset is in, and with a recommendation the model of all segments."""
    everything = select(definitions)
    assert {"bi_files", "recommendations", "shift_alerts"} <= set(everything.assets)
    assert everything.with_base_model
    assert select(definitions, ["recommendations"]).with_base_model


@pytest.mark.parametrize(("table", "asset"), [("model_registry", "interest_model"), ("deliveries", "clean_events")])
def test_a_table_that_is_no_asset_is_made_with_one(definitions: dg.Definitions, table: str, asset: str) -> None:
    """Deliveries are written by the cleaning, the registry by the training."""
    assert select(definitions, [table]) == select(definitions, [asset])


def test_an_unknown_table_is_answered_with_the_known_ones(definitions: dg.Definitions) -> None:
    """The message names what was given and every table."""
    with pytest.raises(UserError, match=r"--only shift_moons: no such table; known: .*deliveries, .*shift_alerts, "):
        select(definitions, ["shift_moons"])
