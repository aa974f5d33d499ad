from __future__ import annotations

import os
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from shift_assets.ingest.landing import land
from shift_assets.ingest.readers.source_files import list_source_files
from shift_assets.ingest.rows.parsed_schema import PARSED
from shift_assets.ingest.rows.parser import parse_file
from shift_assets.ingest.source.sample import sample_log
from shift_assets.ingest.source.shipped import load_source
from shift_assets_tests.ingest.dirty_data import context_of

USER_BEHAVIOR = Path(os.environ.get("SHIFT_USERBEHAVIOR_LOG", "userbehavior/UserBehavior_head.csv.gz"))


def parsed(landing: Path, name: str, first: date, last: date) -> pa.Table:
    context = context_of(landing, load_source(name), lateness_days=0)
    batches = [b for file in list_source_files(landing, first, last) for b in parse_file(context, file)]
    return pa.Table.from_batches(batches, PARSED)


def test_the_shipped_log_lands_whole_and_cleans_by_its_rules(tmp_path: Path) -> None:
    """Two years, every row in its day; returns and purchases are distinguished, with positive quantities and prices."""
    landed = land(sample_log(), tmp_path, load_source("online_retail_ii"))
    assert sum(landed.rows_per_day.values()) == pq.read_metadata(sample_log()).num_rows == 1_044_847
    assert landed.undated == 0
    assert len(landed.rows_per_day) == 604
    first = date(2010, 12, 1)
    rows = parsed(tmp_path, "online_retail_ii", first, first + timedelta(days=13))
    clean = rows.filter(pc.is_null(rows["reason"]))
    assert Counter(rows["reason"].to_pylist()).keys() == {None, "missing_user", "bad_value"}
    assert set(clean["behavior"].to_pylist()) == {"purchase", "return"}
    assert pc.min(clean["quantity"]).as_py() > 0
    assert pc.min(clean["price"]).as_py() > 0
    assert pc.all(pc.match_substring_regex(clean["item_id"], "^[0-9]{5}")).as_py()
    assert set(clean["segment"].to_pylist()) == {"united-kingdom", "europe", "rest-of-world"}
    assert rows["day"].equals(rows["folder_day"])
    returns = pc.equal(clean["behavior"], "return")
    cancelled = pc.match_substring(clean["raw"].cast(pa.string()), '"invoice":"C')
    assert returns.equals(cancelled)


@pytest.mark.skipif(not USER_BEHAVIOR.exists(), reason="the UserBehavior log has no licence to be shipped")
def test_the_userbehavior_log_loses_only_its_cut_line(tmp_path: Path) -> None:
    """Its last line is cut off and rejected; every other row is clean in its day."""
    landed = land(USER_BEHAVIOR, tmp_path, load_source("userbehavior"))
    assert landed.undated == 1
    rows = parsed(tmp_path, "userbehavior", date.min, date.max)
    assert Counter(rows["reason"].to_pylist()) == {None: 84_475, "malformed": 1}
    assert len(set(rows["segment"].to_pylist())) == 4
