"""Laws of the validation: Great Expectations names what failed, and incomplete input is refused."""

from __future__ import annotations

from datetime import timedelta

import pyarrow.compute as pc
import pytest

from shift_assets.contracts.cleaning import CLEAN_EVENTS
from shift_assets.contracts.interest import INTEREST_SERIES
from shift_assets.contracts.partition import Partition
from shift_assets.contracts.quality import QUALITY_VERDICTS
from shift_assets.contracts.table import ContractError
from shift_assets.quality import suites
from shift_assets.quality.gate import GateClosed, require_passed
from shift_assets.quality.validation import validate_freshness, validate_partitions
from shift_assets_tests.quality.sample_rows import DAY, OTHER, PARTITION, arrow, check_results_of, good_rows


def test_great_expectations_names_the_partition_and_the_failed_expectation() -> None:
    rows = good_rows(CLEAN_EVENTS) + good_rows(CLEAN_EVENTS, 2, OTHER)
    for row in rows[3:]:
        row["event_ts"] += timedelta(days=1)
        row["user_id"] = row["user_id"].replace("0", "f")
    rows[4]["behavior"] = "teleport"
    empty = Partition(DAY, "empty")
    versions = {PARTITION: "a", OTHER: "b", empty: "c"}
    check_results = check_results_of(CLEAN_EVENTS, rows, versions)
    assert QUALITY_VERDICTS.conform(check_results).equals(check_results)
    assert check_results.num_rows == 3 * len(suites.expectations(CLEAN_EVENTS))
    failed = check_results.filter(pc.invert(check_results["passed"])).to_pylist()
    assert failed == [
        {
            "day": OTHER.day,
            "segment": "rest",
            "table_name": "clean_events",
            "data_version": "b",
            "expectation": "behavior is one of view, click, favorite, cart, purchase, return, rating, review",
            "severity": "ERROR",
            "passed": False,
            "observed": "1 of 2 rows",
        }
    ]
    of_empty = check_results.filter(pc.equal(check_results["segment"], "empty"))
    assert "no rows" in of_empty["observed"].to_pylist()
    require_passed(check_results, CLEAN_EVENTS, {PARTITION: "a", empty: "c"})
    with pytest.raises(
        GateClosed, match=r"clean_events, partition 2026-06-11\|rest: failed “behavior is one of .* 1 of 2 rows"
    ):
        require_passed(check_results, CLEAN_EVENTS, versions)


def test_what_cannot_be_validated_is_refused_with_its_name() -> None:
    rows = arrow(INTEREST_SERIES, good_rows(INTEREST_SERIES))
    with pytest.raises(ContractError, match=r"no content digest for 2026-06-10\|uk"):
        validate_partitions(INTEREST_SERIES, rows, [PARTITION], {})
    with pytest.raises(ContractError, match=r"not asked for: 2026-06-10\|uk"):
        validate_partitions(INTEREST_SERIES, rows, [OTHER], {OTHER: "b"})
    with pytest.raises(ContractError, match="missing columns"):
        validate_partitions(INTEREST_SERIES, rows.drop_columns(["score"]), [PARTITION], {PARTITION: "a"})
    with pytest.raises(ContractError, match="CleaningFacts"):
        validate_partitions(CLEAN_EVENTS, CLEAN_EVENTS.empty(), [PARTITION], {PARTITION: "a"})
    assert validate_partitions(INTEREST_SERIES, rows, [], {}).num_rows == 0


def test_a_day_is_fresh_when_every_segment_is_published() -> None:
    check_results = validate_freshness(CLEAN_EVENTS, {PARTITION: "a"}, DAY, ["uk", "rest"])
    assert QUALITY_VERDICTS.conform(check_results).equals(check_results)
    assert check_results["segment"].to_pylist() == ["rest", "uk"]
    assert check_results["passed"].to_pylist() == [False, True]
    assert check_results["observed"].to_pylist() == ["never materialised", "stands"]
