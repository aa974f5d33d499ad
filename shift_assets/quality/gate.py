"""The gate before every reader of a checked table, however the reader is started."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.contracts.partition import Partition
from shift_assets.contracts.table import Table
from shift_assets.errors import PermanentError


class GateClosed(PermanentError):
    """A partition may not be read; the message names table, partition, expectation, observation and a remedy."""


def require_passed(check_results: pa.Table, table: Table, data_versions: Mapping[Partition, str]) -> None:
    """Check that the content of every partition was validated and met every ERROR expectation.

    Args:
        check_results: Rows of QUALITY_VERDICTS, of this and other tables.
        table: The table to be read.
        data_versions: The content digest of each partition to be read.

    Raises:
        GateClosed: A partition was not validated, was validated with other content, or failed; names the earliest.
    """
    of_table = check_results.filter(pc.equal(check_results["table_name"], table.name))
    validated: dict[tuple[Partition, str], list[dict[str, str]]] = {}
    versions: dict[Partition, set[str]] = {}
    for row in of_table.to_pylist():
        partition = Partition(row["day"], row["segment"])
        versions.setdefault(partition, set()).add(row["data_version"])
        failures = validated.setdefault((partition, row["data_version"]), [])
        if row["severity"] == "ERROR" and not row["passed"]:
            failures.append(row)
    for partition, version in sorted(data_versions.items()):
        day = partition.day.isoformat()
        where = f"{table.name}, partition {day}|{partition.segment}"
        rerun = f"shift-assets run --from {day} --to {day} --segment {partition.segment}"
        if (partition, version) not in validated:
            why = "its content changed after it was checked" if partition in versions else "it was never checked"
            raise GateClosed(f"{where}: {why}; check it first: {rerun}")
        failures = validated[partition, version]
        if failures:
            more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
            raise GateClosed(
                f"{where}: failed “{failures[0]['expectation']}”, observed {failures[0]['observed']}{more}; "
                f"fix the source files of {day}, then {rerun}"
            )
