"""Laws of the gate: only content that was validated and passed is read."""

from __future__ import annotations

import pytest

from shift_assets.contracts.cleaning import CLEAN_EVENTS
from shift_assets.contracts.interest import INTEREST_SERIES
from shift_assets.quality.gate import GateClosed, require_passed
from shift_assets_tests.quality.sample_rows import OTHER, PARTITION, check_results_of, good_rows


def test_a_warning_does_not_close_the_gate() -> None:
    facts = {"delivered": {PARTITION: 4}, "rejected": {PARTITION: 1}}
    check_results = check_results_of(CLEAN_EVENTS, good_rows(CLEAN_EVENTS), {PARTITION: "a"}, **facts)
    assert not all(check_results["passed"].to_pylist())
    require_passed(check_results, CLEAN_EVENTS, {PARTITION: "a"})


def test_the_gate_is_closed_without_check_results_for_this_content() -> None:
    check_results = check_results_of(INTEREST_SERIES, good_rows(INTEREST_SERIES), {PARTITION: "a"})
    with pytest.raises(
        GateClosed, match=r"2026-06-11\|rest: it was never checked; .*--from 2026-06-11 --to 2026-06-11"
    ):
        require_passed(check_results, INTEREST_SERIES, {PARTITION: "a", OTHER: "b"})
    with pytest.raises(GateClosed, match="its content changed after it was checked"):
        require_passed(check_results, INTEREST_SERIES, {PARTITION: "new"})
    with pytest.raises(GateClosed, match=r"clean_events, partition .* never checked"):
        require_passed(check_results, CLEAN_EVENTS, {PARTITION: "a"})
