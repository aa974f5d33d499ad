"""Laws of the facts: row accounting, rejected share, volume, stable segments."""

from __future__ import annotations

from datetime import timedelta

import pyarrow as pa
import pytest

from shift_assets.contracts.cleaning import CLEAN_EVENTS
from shift_assets.contracts.partition import Partition
from shift_assets.quality import suites
from shift_assets.quality.profile import profile
from shift_assets_tests.quality.sample_rows import DAY, PARTITION, arrow, facts_for, failed_expectations, good_rows


@pytest.mark.parametrize("delivered", [2, 4, 0])
def test_a_row_that_is_neither_clean_nor_rejected_is_missed(delivered: int) -> None:
    broken = failed_expectations(CLEAN_EVENTS, good_rows(CLEAN_EVENTS), delivered={PARTITION: delivered})
    assert broken == {suites.ACCOUNTING: f"{delivered} delivered, 3 clean, 0 rejected"}


def test_many_rejected_rows_are_a_warning() -> None:
    facts = {"delivered": {PARTITION: 4}, "rejected": {PARTITION: 1}}
    assert failed_expectations(CLEAN_EVENTS, good_rows(CLEAN_EVENTS), **facts) == {
        suites.REJECTED_SHARE: "25.0% of 4 rows"
    }


@pytest.mark.parametrize(
    ("weeks", "usual"),
    [((40, 44, 38), True), ((40, 44, 38, 41), False), ((4, 6, 3, 5, 4), True), ((0, 0, 0, 0, 40), True)],
)
def test_volume_is_compared_with_the_same_weekdays_when_four_of_them_had_rows(
    weeks: tuple[int, ...], usual: bool
) -> None:
    before = {Partition(DAY - timedelta(weeks=k + 1), "uk"): rows for k, rows in enumerate(weeks)}
    broken = failed_expectations(CLEAN_EVENTS, good_rows(CLEAN_EVENTS), rows_before=before)
    assert (list(broken) == []) is usual
    if not usual:
        assert broken == {suites.VOLUME: "3 rows, median of 4 same weekdays before 40"}


def test_a_range_is_compared_with_its_own_earlier_weeks() -> None:
    days = [DAY + timedelta(weeks=k) for k in range(6)]
    rows = [
        row for k, day in enumerate(days) for row in good_rows(CLEAN_EVENTS, 40 if k < 5 else 2, Partition(day, "uk"))
    ]
    suite = suites.expectations(CLEAN_EVENTS)
    frame = profile(
        CLEAN_EVENTS,
        arrow(CLEAN_EVENTS, rows),
        [Partition(day, "uk") for day in days],
        suite,
        facts_for(CLEAN_EVENTS, rows),
    )
    assert (frame[suites.VOLUME] > 0).tolist() == [False] * 5 + [True]


@pytest.mark.parametrize(("days_before", "found"), [(1, 1), (90, 1), (91, 0), (-1, 0), (0, 0)])
def test_a_user_seen_in_another_segment_within_the_look_back_is_found(days_before: int, found: int) -> None:
    rows = good_rows(CLEAN_EVENTS)
    before = pa.table(
        {
            "day": [DAY - timedelta(days=days_before)] * 2,
            "segment": ["rest", "uk"],
            "user_id": [rows[0]["user_id"], rows[1]["user_id"]],
        }
    )
    broken = failed_expectations(CLEAN_EVENTS, rows, users_before=before)
    assert broken == ({suites.SEGMENT_STABLE: "1 users"} if found else {})
