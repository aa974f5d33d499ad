"""Part of shift_assets.contracts.registry."""

from __future__ import annotations

import pyarrow as pa

from shift_assets.contracts.columns import STRING
from shift_assets.contracts.table import Column, Table

QUALITY_VERDICTS = Table(
    "quality_verdicts",
    grain="one expectation on one partition of a table",
    key=("table_name", "expectation"),
    consumer="the gate before every reader of the table, BI",
    own_columns=(
        Column("table_name", STRING, "Table that was checked"),
        Column("data_version", STRING, "Content digest of the partition that was checked"),
        Column("expectation", STRING, "The expectation, as a sentence"),
        Column("severity", STRING, "ERROR holds back what reads the table, WARN does not", allowed=("ERROR", "WARN")),
        Column("passed", pa.bool_(), "Whether the partition keeps it"),
        Column("observed", STRING, "What was seen"),
    ),
)
