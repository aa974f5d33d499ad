from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shift_assets.ingest.rows.load_context import load_parse_context
from shift_assets.ingest.rows.lookup_tables import read_items, read_users
from shift_assets.ingest.rows.parser import parse_file
from shift_assets.privacy.pseudonym import load_key, pseudonym
from shift_assets_tests.ingest.dirty_data import JSON_SOURCE, KEY, deliver, good_line, source_of

WITH_TABLES = (
    JSON_SOURCE.replace(
        "segments: {by: hash, shards: 3}",
        "segments: {by: column, table: users, column: land, values: {uk: [GB], south: [ES]}, other: rest}",
    )
    + "items: {format: parquet, map: {item_id: sku, category: dept, price: cost, text: title}}\n"
    + "users: {format: csv, csv: {header: true}, map: {user_id: id, land: country, age: years}}\n"
)


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    """An items table in two deliveries and a users table, with rows that have no id."""
    (tmp_path / "items").mkdir()
    (tmp_path / "users").mkdir()
    first = {"sku": [1, 2, None], "dept": ["a", "b", "c"], "cost": [1.5, float("nan"), 3.0], "title": ["one", "", "x"]}
    pq.write_table(pa.table(first), tmp_path / "items" / "2026-01.parquet")
    second = {"sku": [2], "dept": ["bb"], "cost": [2.5], "title": ["two"]}
    pq.write_table(pa.table(second), tmp_path / "items" / "2026-02.parquet")
    (tmp_path / "items" / "broken.parquet").write_bytes(b"PAR1")
    (tmp_path / "users" / "all.csv").write_text("country,id,years\nGB,ann,30\nES,bob,\nFR,eve,9\nGB,,1\nES,ann,31\n")
    return tmp_path


def test_the_newest_row_of_an_item_counts(landing: Path) -> None:
    """By file name, then row; rows without id and broken files are left out."""
    items = read_items(landing, source_of(landing / "s", WITH_TABLES))
    assert items is not None
    assert items.to_pylist() == [
        {"item_id": "1", "category": "a", "price": 1.5, "text": "one"},
        {"item_id": "2", "category": "bb", "price": 2.5, "text": "two"},
    ]


def test_users_are_pseudonyms_with_attributes(landing: Path) -> None:
    """No raw id remains; attributes are text."""
    users = read_users(landing, source_of(landing / "s", WITH_TABLES), KEY)
    assert users is not None
    by_id = {row.pop("user_id"): row for row in users.to_pylist()}
    assert by_id == {
        pseudonym(KEY, "ann"): {"land": "ES", "age": "31"},
        pseudonym(KEY, "bob"): {"land": "ES", "age": None},
        pseudonym(KEY, "eve"): {"land": "FR", "age": "9"},
    }


def test_events_are_repaired_and_segmented_from_the_tables(landing: Path) -> None:
    """A missing category, price or text comes from the item; the segment from the user, or is the last one."""
    context = load_parse_context(source_of(landing / "s", WITH_TABLES), landing, landing / "privacy", 3)
    lines = [
        good_line(user="ann", item="1"),
        good_line(user="bob", item="2", price=9, title="own"),
        good_line(user="new", item="unknown"),
    ]
    delivered = deliver(landing, "a.jsonl", b"\n".join(lines))
    rows = [row for batch in parse_file(context, delivered) for row in batch.to_pylist()]
    assert [(row["category"], row["price"], row["text"]) for row in rows] == [
        ("a", 1.5, "one"),
        ("bb", 9.0, "own"),
        (None, None, None),
    ]
    assert [row["segment"] for row in rows] == ["south", "south", "rest"]
    assert context.key == load_key(landing / "privacy")


def test_a_source_without_tables_has_no_lookups(tmp_path: Path) -> None:
    """Nothing is read that the source does not map."""
    source = source_of(tmp_path, JSON_SOURCE)
    assert read_items(tmp_path, source) is None
    assert read_users(tmp_path, source, KEY) is None
