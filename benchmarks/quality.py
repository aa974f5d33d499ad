"""Seconds to evaluate a range of clean events: `python benchmarks/quality.py --rows 1000000 --days 156`."""

from __future__ import annotations

import argparse
import time
from datetime import date, timedelta

import duckdb

from report import recorded
from shift_assets.contracts.cleaning import CLEAN_EVENTS
from shift_assets.contracts.partition import Partition
from shift_assets.quality.facts import CleaningFacts
from shift_assets.quality.validation import validate_partitions

SEGMENTS = ("a", "b", "c", "d")
FIRST_DAY = date(2026, 1, 1)
ROWS = """
    select date '2026-01-01' + (i % $days)::integer as day, ['a', 'b', 'c', 'd'][i // $days % 4 + 1] as segment,
        md5(i::varchar) as event_id, md5((i % 20000 * 4 + i // $days % 4)::varchar) as user_id,
        (i % 1000)::varchar as item_id, 'c' as category, 'view' as behavior,
        timezone('UTC', day + interval 12 hour) as event_ts, 1.0 as quantity, 2.5 as price, null as rating,
        null as text, 's' as source, 'f' as source_file, i + 1 as source_row
    from range($rows) as generated(i)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=156)
    given = parser.parse_args()
    found = duckdb.execute(ROWS, {"days": given.days, "rows": given.rows}).arrow()
    rows = CLEAN_EVENTS.conform(found if hasattr(found, "column_names") else found.read_all())
    partitions = [
        Partition(FIRST_DAY + timedelta(days=day), segment) for day in range(given.days) for segment in SEGMENTS
    ]
    counted = rows.select(["day", "segment"]).group_by(["day", "segment"]).aggregate([([], "count_all")]).to_pylist()
    facts = CleaningFacts(
        delivered={Partition(row["day"], row["segment"]): row["count_all"] for row in counted}, rejected={}
    )
    start = time.perf_counter()
    validate_partitions(CLEAN_EVENTS, rows.slice(0, 0), partitions[:1], {partitions[0]: ""}, facts=facts)
    print(f"import of Great Expectations and a first, empty validation: {time.perf_counter() - start:.1f} s")
    for _ in range(3):
        start = time.perf_counter()
        check_results = validate_partitions(CLEAN_EVENTS, rows, partitions, dict.fromkeys(partitions, ""), facts=facts)
        seconds = time.perf_counter() - start
        failed = check_results.num_rows - sum(check_results["passed"].to_pylist())
        print(
            f"{given.rows:,} rows, {len(partitions)} partitions, {check_results.num_rows:,} check results "
            f"({failed} failed): {seconds:.2f} s"
        )


if __name__ == "__main__":
    with recorded("06_quality"):
        main()
