"""Validate the profile of partitions with Great Expectations: one result per expectation and partition."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import Any

import pandas as pd
import pyarrow as pa

from shift_assets.contracts.partition import Partition
from shift_assets.contracts.quality import QUALITY_VERDICTS
from shift_assets.contracts.table import ContractError, Table
from shift_assets.quality.facts import CleaningFacts
from shift_assets.quality.profile import Rows, profile
from shift_assets.quality.suites import FRESHNESS, Expectation, expectations

_logger = logging.getLogger(__name__)

_GREAT_EXPECTATIONS_SEVERITY = {"ERROR": "critical", "WARN": "warning"}


def validate_partitions(
    table: Table,
    rows: Rows,
    partitions: Collection[Partition],
    data_versions: Mapping[Partition, str],
    *,
    timezone: str = "UTC",
    facts: CleaningFacts | None = None,
) -> pa.Table:
    """Validate partitions against every expectation of their table.

    Args:
        table: The table.
        rows: The rows of exactly these partitions, as a table or as one Parquet file each.
        partitions: The partitions to validate, also those without rows.
        data_versions: The content digest of each partition.
        timezone: The shop's time zone.
        facts: Needed for clean events.

    Returns:
        One row of QUALITY_VERDICTS per partition and expectation, in order of day, segment, suite.

    Raises:
        ContractError: A digest, a column or the facts are missing, or there are rows of other partitions.
    """
    started = time.monotonic()
    unversioned = sorted(partition for partition in partitions if partition not in data_versions)
    if unversioned:
        day, segment = unversioned[0]
        raise ContractError(
            f"table {table.name}: no content digest for {day}|{segment}; publish it before it is validated"
        )
    if not partitions:
        return QUALITY_VERDICTS.empty()
    suite = expectations(table, timezone=timezone)
    frame = profile(table, rows, partitions, suite, facts)
    failed = _run_great_expectations(table.name, frame, suite)
    _logger.info(
        "validated %s: %d partitions, %d expectations in %.1f s",
        table.name,
        len(partitions),
        len(suite),
        time.monotonic() - started,
    )
    check_results = [
        {
            "day": date.fromisoformat(record["day"]),
            "segment": record["segment"],
            "table_name": table.name,
            "data_version": data_versions[Partition(date.fromisoformat(record["day"]), record["segment"])],
            "expectation": expectation.name,
            "severity": expectation.severity,
            "passed": (record["day"], record["segment"]) not in failed[expectation.name],
            "observed": record[f"observed: {expectation.name}"],
        }
        for record in frame.to_dict("records")
        for expectation in suite
    ]
    return pa.Table.from_pylist(check_results, schema=QUALITY_VERDICTS.schema)


def validate_freshness(
    table: Table, published: Mapping[Partition, str], day: date, segments: Collection[str]
) -> pa.Table:
    """Check that every segment of a day is published.

    Args:
        table: The table.
        published: The content digest of each published partition.
        day: The day.
        segments: The segments that must be published.

    Returns:
        One row of QUALITY_VERDICTS (WARN) per segment.
    """
    check_results = [
        {
            "day": day,
            "segment": segment,
            "table_name": table.name,
            "data_version": published.get(Partition(day, segment), ""),
            "expectation": FRESHNESS,
            "severity": "WARN",
            "passed": Partition(day, segment) in published,
            "observed": "stands" if Partition(day, segment) in published else "never materialised",
        }
        for segment in sorted(segments)
    ]
    return pa.Table.from_pylist(check_results, schema=QUALITY_VERDICTS.schema)


def _run_great_expectations(
    name: str, frame: pd.DataFrame, suite: Sequence[Expectation]
) -> dict[str, set[tuple[str, str]]]:
    """Return the (day, segment) pairs that fail each expectation."""
    gx = _great_expectations()
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    batch = (
        context.data_sources.add_pandas("profile")
        .add_dataframe_asset(name)
        .add_batch_definition_whole_dataframe("partitions")
        .get_batch(batch_parameters={"dataframe": frame})
    )
    gx_expectations = [
        gx.expectations.ExpectColumnValuesToBeBetween(
            column=expectation.name,
            max_value=0,
            severity=_GREAT_EXPECTATIONS_SEVERITY[expectation.severity],
        )
        for expectation in suite
    ]
    result = batch.validate(
        gx.ExpectationSuite(name=name, expectations=gx_expectations),
        result_format={
            "result_format": "COMPLETE",
            "unexpected_index_column_names": ["day", "segment"],
            "return_unexpected_index_query": False,
        },
    )
    failed: dict[str, set[tuple[str, str]]] = {}
    for gx_result in result.results:
        expectation_name = gx_result.expectation_config.kwargs["column"]
        if gx_result.exception_info.get("raised_exception"):
            raise RuntimeError(f"{name}: {expectation_name}: {gx_result.exception_info['exception_message']}")
        unexpected = gx_result.result.get("unexpected_index_list") or []
        failed[expectation_name] = {(index["day"], index["segment"]) for index in unexpected}
    return failed


def _great_expectations() -> Any:
    # Set before the import: otherwise it sends usage statistics to its vendor.
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    import great_expectations

    return great_expectations
