"""The choice of the newest self-check."""

from __future__ import annotations

from datetime import date

import pyarrow as pa

from shift_assets.contracts.shift import DETECTOR_SELF_CHECK
from shift_assets.shift.alerts.detector_selection import (
    MODEL_FOLDER,
    DetectorSelection,
    detector_selection,
    newest_check,
)
from shift_assets.shift.detector.evidence import EvidenceParameters

DEFAULTS = EvidenceParameters()
PATH = f"{MODEL_FOLDER}/north/2026-03-01"


def rows(*changes: dict) -> pa.Table:
    filled = {
        "day": date(2026, 3, 1),
        "segment": "north",
        "detector": "none",
        "n_users": 50,
        "n_cases": 50,
        "chosen": False,
    }
    return pa.Table.from_pylist([filled | change for change in changes], schema=DETECTOR_SELF_CHECK.schema)


def test_without_a_check_the_settings_apply() -> None:
    expected = DetectorSelection(DEFAULTS.starts, DEFAULTS.posterior_window)
    assert detector_selection(rows(), DEFAULTS) == expected
    assert detector_selection(rows({}), DEFAULTS) == expected


def test_the_chosen_detector_is_used() -> None:
    """With what its threshold finds and flags after the most active days, and the settings' own windows."""
    model = {"model_path": PATH, "model_digest": "0" * 64}
    found = detector_selection(
        rows(
            {"detector": "e_value", "starts": 12, "active_days": 8, "flagged_share": 0.04, "found_share": 0.5},
            {"detector": "learned", "chosen": True, "active_days": 1, **model, "flagged_share": 0.0},
            {
                "detector": "learned",
                "chosen": True,
                "active_days": 8,
                **model,
                "flagged_share": 0.01,
                "found_share": 0.7,
            },
            {"detector": "known_cut", "active_days": 8},
        ),
        DEFAULTS,
    )
    assert found == DetectorSelection(DEFAULTS.starts, DEFAULTS.posterior_window, PATH, "0" * 64, 0.01, 0.7)
    assert found.ranking == "learned"


def test_the_chosen_windows_are_used() -> None:
    """Of the e-value, and of the posterior in the checks of versions that chose both."""
    found = detector_selection(
        rows(
            {"detector": "e_value", "starts": 12},
            {"detector": "e_value", "starts": 20, "chosen": True, "active_days": 8, "flagged_share": 0.05},
            {"detector": "posterior", "starts": 12, "posterior_window": 5, "chosen": True, "active_days": 8},
        ),
        DEFAULTS,
    )
    assert found == DetectorSelection(20, 5, flagged_share=0.05)
    assert found.ranking == "posterior"
    served = found.evidence(DEFAULTS)
    assert isinstance(served, EvidenceParameters)
    assert (served.starts, served.posterior_window, served.hazard) == (20, 5, DEFAULTS.hazard)


def test_a_detector_that_was_not_chosen_does_not_alert() -> None:
    found = detector_selection(rows({"detector": "learned", "model_path": PATH, "model_digest": "0" * 64}), DEFAULTS)
    assert (found.ranking, found.model_path) == ("posterior", None)


def test_a_model_of_an_older_version_does_not_alert() -> None:
    """What the newest check of a home of version 0.1.0 chose cannot be read: the evidence alerts until the next one."""
    older = {"model_path": "shift_detector/north/2026-03-01-0123", "model_digest": "0" * 64, "flagged_share": 0.2}
    found = detector_selection(
        rows(
            {"detector": "e_value", "starts": 20, "chosen": True, "active_days": 8, "flagged_share": 0.05},
            {"detector": "learned", "chosen": True, "active_days": 8, **older},
        ),
        DEFAULTS,
    )
    assert (found.ranking, found.model_path, found.starts, found.flagged_share) == ("posterior", None, 20, 0.05)


def test_a_day_reads_the_last_check_before_it() -> None:
    """Not its own day's, no other segment's."""
    checks = rows(
        {"day": date(2026, 3, 1)},
        {"day": date(2026, 3, 8)},
        {"day": date(2026, 3, 15)},
        {"day": date(2026, 3, 9), "segment": "south"},
    )
    assert newest_check(checks, "north", date(2026, 3, 15))["day"].to_pylist() == [date(2026, 3, 8)]
    assert newest_check(checks, "north", date(2026, 3, 1)).num_rows == 0
