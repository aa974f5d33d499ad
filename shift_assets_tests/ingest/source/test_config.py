from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from shift_assets.ingest.source.shipped import SHIPPED, load_source
from shift_assets.settings.config_file import ConfigError
from shift_assets_tests.ingest.dirty_data import CSV_SOURCE, JSON_SOURCE, source_of

EXAMPLE = """\
source: my_shop
timezone: Asia/Shanghai
events:
  format: csv
  csv: {delimiter: ",", header: false, columns: [user, item, cat, action, t]}
  map: {user_id: user, item_id: item, category: cat, behavior: action, event_ts: t}
  timestamp: {pattern: "%Y-%m-%d %H:%M:%S", zone: Europe/London}
  behaviors: {pv: view, 1: favorite, cart: cart, buy: purchase}
  reject: {bad_value: ["user = 'x'", "item = 'y'"], bot_burst: "starts_with(user, 'bot')"}
  identity: row
items: {format: parquet, map: {item_id: sku, category: dept, price: price, text: title}}
users: {format: csv, csv: {header: true}, map: {user_id: id, country: country, age: age}}
segments:
  {by: column, table: users, column: country, values: {uk: [United Kingdom], europe: [France, Germany]}, other: rest}
categories: {from: text, clusters: 40}
"""


def test_the_documented_form_is_read(tmp_path: Path) -> None:
    """Every key of the documented example means what it says."""
    source = source_of(tmp_path, EXAMPLE)
    assert source.name == "my_shop"
    assert source.segment_keys == ("uk", "europe", "rest")
    assert source.events.behaviors["1"] == "favorite"
    assert source.events.identity == ("row",)
    assert [rule.text for _, rule in source.events.rules] == ["user = 'x'", "item = 'y'", "starts_with(user, 'bot')"]
    assert source.categories is not None
    assert source.categories.clusters == 40


def test_a_source_travels_between_processes(tmp_path: Path) -> None:
    """Pickled and unpickled it is equal, also after its derived parts were used."""
    source = source_of(tmp_path, EXAMPLE)
    assert source.events.rules
    assert pickle.loads(pickle.dumps(source)) == source  # noqa: S301


def test_shipped_sources_load_by_name() -> None:
    """Each shipped source is valid and named as its file."""
    assert {"online_retail_ii", "userbehavior"} <= set(SHIPPED)
    for name in SHIPPED:
        assert load_source(name).name == name


def test_hash_segments_are_numbered(tmp_path: Path) -> None:
    """N shards are N segments."""
    assert source_of(tmp_path, JSON_SOURCE).segment_keys == ("shard-0", "shard-1", "shard-2")


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("  format: jsonl", "  formt: jsonl", 4, "did you mean 'format'"),
        ("source: json_shop", "sorce: json_shop", 1, "did you mean 'source'"),
        ("timezone: Europe/London", "timezone: Europe/Londn", 2, "unknown timezone"),
        ("  format: jsonl", "  format: xml", 4, "jsonl"),
        ("behavior: action, ", "behaviour: action, ", 5, "behavior"),
        ("behavior: action, ", "", 3, "behavior"),
        ("{unit: s}", "{unit: h}", 6, "'s', 'ms'"),
        ("{unit: s}", "{unit: s, zone: UTC}", 6, "neither pattern nor zone"),
        ("{unit: s}", '{pattern: "%Q"}', 6, "strptime"),
        ("pv: view", "pv: viewed", 7, "view"),
        ("pv: view", "on: view", 7, "in quotes"),
        ('"price < 0"', '"price < (select 1)"', 8, "list of values|not allowed"),
        ('"price < 0"', '"title < 0"', 3, "explicit cast"),
        ("bad_value:", "duplicate:", 8, "bad_value"),
        ("shards: 3", "shards: 17", 9, "16"),
        ("by: hash, shards: 3", "by: hash", 9, "need shards"),
        ("by: hash, shards: 3", "by: hash, shards: 3, column: x", 9, "have no column"),
        ("by: hash, shards: 3", "by: column, table: users, column: c, values: {a: [x]}", 1, "users table"),
        ("by: hash, shards: 3", "by: column, table: events, column: c, values: {A: [x]}", 9, "lower-case"),
        ("by: hash, shards: 3", "by: column, table: events, column: c, values: {a: [x], b: [x]}", 9, "two segments"),
        ("by: hash, shards: 3", "by: column, table: events, column: c, values: {a: [x]}, other: a", 9, "rename"),
        ("source: json_shop", "source: Json Shop", 1, "pattern"),
        ("  timestamp:", "  csv: {header: true}\n  timestamp:", 3, "format: csv"),
        ("  timestamp:", "  constant: {behavior: view}\n  timestamp:", 3, "keep one"),
    ],
)
def test_an_error_names_its_line_and_what_to_write(tmp_path: Path, old: str, new: str, line: int, says: str) -> None:
    """File, line, and a remedy, whatever a stranger got wrong."""
    assert old in JSON_SOURCE
    with pytest.raises(ConfigError, match=says) as error:
        source_of(tmp_path, JSON_SOURCE.replace(old, new))
    assert f"source.yaml:{line}:" in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("t, title]", "t]", "title"),
        ("t, title]", "t, title, t]", "twice"),
        ("header: false, ", "header: true, ", "named by the header"),
        (", columns: [user, item, action, t, title]", "", "must be named"),
        ('delimiter: ","', "delimiter: '\"'", "delimiter"),
        ('delimiter: ","', 'delimiter: ", "', "1 character"),
    ],
)
def test_a_csv_dialect_must_be_unambiguous(tmp_path: Path, old: str, new: str, says: str) -> None:
    """Columns and delimiter are given once, completely."""
    assert old in CSV_SOURCE
    with pytest.raises(ConfigError, match=says):
        source_of(tmp_path, CSV_SOURCE.replace(old, new))


def test_more_segments_than_can_be_planned_are_refused(tmp_path: Path) -> None:
    """At most 16, the one of all others included."""
    values = ", ".join(f"s{n}: [v{n}]" for n in range(16))
    form = f"by: column, table: events, column: c, values: {{{values}}}"
    with pytest.raises(ConfigError, match="17 segments"):
        source_of(tmp_path, JSON_SOURCE.replace("by: hash, shards: 3", form))


def test_an_unknown_name_lists_the_shipped_ones() -> None:
    """A typing error in the name of a shipped source is answered with the names."""
    with pytest.raises(ConfigError, match="online_retail_ii"):
        load_source("online_retial_ii")
