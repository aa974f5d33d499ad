"""The table of check results."""

from __future__ import annotations

import pyarrow as pa

from shift_assets.contracts.columns import STRING
from shift_assets.contracts.table import Column, Table

QUALITY_VERDICTS = Table(
    "quality_verdicts",
    description="Check results: whether each partition meets the expectations on its table",
    grain="one expectation on one partition of a table",
    key=("table_name", "expectation"),
    consumer="the quality gate of `clean_events`, `data_quality`, `shift-assets run` (its report)",
    own_columns=(
        Column("table_name", STRING, "Checked table"),
        Column("data_version", STRING, "Content digest of the checked partition"),
        Column("expectation", STRING, "The expectation, as a sentence"),
        Column(
            "severity",
            STRING,
            "ERROR closes the gate for readers of the table, WARN does not",
            allowed=("ERROR", "WARN"),
        ),
        Column("passed", pa.bool_(), "Whether the partition meets the expectation"),
        Column("observed", STRING, "Observed value"),
    ),
)
