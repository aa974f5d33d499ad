"""The gate before every reader of a checked table, whoever starts it and however."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.contracts.partition import Partition
from shift_assets.contracts.table import Table


class GateClosed(RuntimeError):
    """A partition may not be read; the message names table, partition, expectation, what was seen and a remedy."""


def require_passed(check_results: pa.Table, table: Table, data_versions: Mapping[Partition, str]) -> None:
    """Returns when the content `data_versions` of every partition was judged and kept every ERROR expectation.

    `check_results` holds rows of QUALITY_VERDICTS, of this and other tables. Raises GateClosed for the earliest
    partition that was not judged, was judged with other content, or failed.
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
                f"repair what was delivered for {day}, then {rerun}"
            )
