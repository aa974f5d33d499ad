"""The choice of the newest self-check."""

from __future__ import annotations

from datetime import date

import pyarrow as pa

from shift_assets.contracts.shift import DETECTOR_SELF_CHECK
from shift_assets.shift.detector.evidence import EvidenceParameters
from shift_assets.shift.learned.selection import DetectorSelection, detector_selection, newest_check

DEFAULTS = EvidenceParameters()


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


def test_the_chosen_windows_and_detector_are_used() -> None:
    """Windows of the chosen rows, the learned detector where it was chosen, the false share after the most days."""
    model = {"model_path": "p", "model_digest": "0" * 64}
    found = detector_selection(
        rows(
            {"detector": "e_value", "starts": 12},
            {"detector": "e_value", "starts": 20, "chosen": True, "active_days": 1, "placebo_false_share": 0.0},
            {"detector": "e_value", "starts": 20, "chosen": True, "active_days": 8, "placebo_false_share": 0.25},
            {"detector": "posterior", "starts": 12, "posterior_window": 5, "chosen": True, "active_days": 8},
            {"detector": "learned", "chosen": True, "active_days": 8, **model},
        ),
        DEFAULTS,
    )
    assert found == DetectorSelection(20, 5, "learned", "p", "0" * 64, 0.25)
    served = found.evidence(DEFAULTS)
    assert isinstance(served, EvidenceParameters)
    assert (served.starts, served.posterior_window, served.hazard) == (20, 5, DEFAULTS.hazard)


def test_a_fitted_detector_that_does_not_rank_is_still_named() -> None:
    found = detector_selection(rows({"detector": "learned", "model_path": "p", "model_digest": "0" * 64}), DEFAULTS)
    assert (found.ranking, found.model_path) == ("posterior", "p")


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
