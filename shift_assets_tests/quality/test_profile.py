"""Laws of the profile: partitions are measured separately, from rows or from files."""

from __future__ import annotations

import itertools
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from shift_assets.contracts.interest import INTEREST_SERIES
from shift_assets.contracts.partition import Partition
from shift_assets.contracts.shift import SHIFT_ALERTS
from shift_assets.contracts.table import ContractError
from shift_assets.quality import suites
from shift_assets.quality.profile import profile
from shift_assets_tests.quality.sample_rows import OTHER, PARTITION, arrow, good_rows


def test_the_same_key_in_two_partitions_is_no_repetition() -> None:
    rows = good_rows(INTEREST_SERIES) + good_rows(INTEREST_SERIES, partition=OTHER)
    suite = suites.expectations(INTEREST_SERIES)
    frame = profile(INTEREST_SERIES, arrow(INTEREST_SERIES, rows), [PARTITION, OTHER], suite)
    assert frame[[e.name for e in suite]].to_numpy().sum() == 0


def test_files_and_rows_are_validated_identically(tmp_path: Path) -> None:
    rows = good_rows(INTEREST_SERIES) + good_rows(INTEREST_SERIES, 2, OTHER)
    rows[0]["user_id"] = "who?"
    files = {}
    for partition, own_rows in itertools.groupby(rows, key=lambda row: Partition(row["day"], row["segment"])):
        files[partition] = tmp_path / f"day={partition.day}" / f"segment={partition.segment}" / "part.parquet"
        files[partition].parent.mkdir(parents=True)
        pq.write_table(arrow(INTEREST_SERIES, list(own_rows)).drop_columns(["day", "segment"]), files[partition])
    suite = suites.expectations(INTEREST_SERIES)
    from_files = profile(INTEREST_SERIES, files, list(files), suite)
    from_rows = profile(INTEREST_SERIES, arrow(INTEREST_SERIES, rows), list(files), suite)
    assert from_files.equals(from_rows)
    assert from_files["user_id is a pseudonym of 32 hex characters"].tolist() == [1.0, 0.0]


@pytest.mark.parametrize("others", [0, 1])
def test_a_column_that_a_file_was_written_without_is_null_in_it(tmp_path: Path, others: int) -> None:
    """An empty file of an older version, alone and next to a file of today; a column that may not be null is needed."""
    later = ["magnitude_quantile", "first_onset_day"]
    rows = arrow(SHIFT_ALERTS, good_rows(SHIFT_ALERTS))
    files = {PARTITION: tmp_path / "old.parquet", OTHER: tmp_path / "new.parquet"}
    pq.write_table(rows.slice(0, 0).drop_columns(["day", "segment", *later]), files[PARTITION])
    pq.write_table(arrow(SHIFT_ALERTS, good_rows(SHIFT_ALERTS, partition=OTHER)), files[OTHER])
    chosen = dict(list(files.items())[: 1 + others])
    suite = suites.expectations(SHIFT_ALERTS)
    frame = profile(SHIFT_ALERTS, chosen, list(chosen), suite)
    assert frame[[e.name for e in suite]].to_numpy().sum() == 0
    assert sum(frame["rows"]) == others * len(rows)
    pq.write_table(rows.slice(0, 0).drop_columns(["day", "segment", "kind"]), files[PARTITION])
    with pytest.raises(ContractError, match=r"missing columns \['kind'\]"):
        profile(SHIFT_ALERTS, {PARTITION: files[PARTITION]}, [PARTITION], suite)
