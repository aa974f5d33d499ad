from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shift_assets.contracts.cleaning import REJECT_REASONS
from shift_assets.ingest.rows.parse_context import ParseContext
from shift_assets.ingest.rows.parsed_schema import PARSED
from shift_assets.ingest.rows.parser import FileTally, parse_file
from shift_assets.privacy.pseudonym import pseudonym
from shift_assets_tests.ingest.dirty_data import (
    DAY,
    JSON_SOURCE,
    KEY,
    NASTY_IDS,
    NOON,
    context_of,
    days_before,
    deliver,
    dirty_landing,
    good_line,
    source_of,
)


def rows_of(batches: Iterable[pa.RecordBatch]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pa.Table.from_batches(list(batches), PARSED).to_pylist()
    return found


def parse_lines(folder: Path, lines: Iterable[bytes], text: str = JSON_SOURCE, day: date = DAY) -> list[dict[str, Any]]:
    context = context_of(folder, source_of(folder, text))
    batches = list(parse_file(context, deliver(folder, "a.jsonl", b"\n".join(lines)), None))
    assert all(batch.schema.equals(PARSED) for batch in batches)
    return rows_of(batches)


def parse_table(folder: Path, columns: dict[str, Any], text: str, *, lateness_days: int = 3) -> list[dict[str, Any]]:
    context = context_of(folder, source_of(folder, text), lateness_days)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    delivered = deliver(folder, "a.parquet", sink.getvalue().to_pybytes())
    return rows_of(parse_file(context, delivered))


PARQUET_SOURCE = JSON_SOURCE.replace("jsonl", "parquet")


def test_an_accepted_event_keeps_every_value(tmp_path: Path) -> None:
    """Typed, pseudonymised, in UTC, in the local day and the user's segment."""
    (row,) = parse_lines(tmp_path, [good_line(price="2.5", n=3, title="läufer")])
    user = pseudonym(KEY, "ann")
    assert row == {
        "folder_day": DAY,
        "source_file": "events/day=2026-03-29/a.jsonl",
        "source_row": 1,
        "day": DAY,
        "segment": f"shard-{int(user[:8], 16) % 3}",
        "segment_known": True,
        "event_id": row["event_id"],
        "user_id": user,
        "item_id": "i1",
        "category": None,
        "behavior": "view",
        "event_ts": datetime(2026, 3, 29, 12, tzinfo=UTC),
        "quantity": 3.0,
        "price": 2.5,
        "rating": None,
        "text": "läufer",
        "reason": None,
        "detail": None,
        "raw": good_line(price="2.5", n=3, title="läufer"),
        "raw_sha256": None,
    }
    assert len(bytes.fromhex(row["event_id"])) == 16


def test_dirty_files_are_accounted_row_by_row(tmp_path: Path) -> None:
    """For any input: one PARSED row per raw row, with its raw bytes, a known reason, and no user id outside of raw."""
    context = context_of(tmp_path, source_of(tmp_path, JSON_SOURCE))
    reasons = set()
    for delivered in dirty_landing(tmp_path, 7, days_before(DAY, 3)):
        tally = FileTally()
        rows = pa.Table.from_batches(list(parse_file(context, delivered, tally)), PARSED)
        assert tally.rows == rows.num_rows
        assert len(set(rows["source_row"].to_pylist())) == rows.num_rows
        for row in rows.to_pylist():
            reasons.add(row["reason"])
            assert row["reason"] is None or row["reason"] in REJECT_REASONS
            assert (row["event_id"] is None) == (row["reason"] is not None) == (row["detail"] is not None)
            assert row["folder_day"] - timedelta(days=3) <= row["day"] <= row["folder_day"]
            assert row["segment"] in context.source.segment_keys
            assert row["segment_known"] == (row["user_id"] is not None)
            if row["reason"]:
                assert row["raw_sha256"] == hashlib.sha256(row["raw"]).hexdigest() or row["source_row"] == 0
    assert {None, "malformed", "missing_user", "wrong_day", "bad_timestamp", "bad_value", "unreadable_file"} <= reasons


def test_details_never_hold_a_user_id(tmp_path: Path) -> None:
    """Whatever is wrong with a row, its detail says so without the user."""
    who = "somebody-known-4711"
    lines = [
        good_line(user=who, **wrong)
        for wrong in (
            {"item": None},
            {"action": "stare"},
            {"t": "noon"},
            {"t": NOON + 10**6},
            {"price": "cheap"},
            {"price": -1},
            {"item": "i" * 2000},
        )
    ]
    lines += [good_line(user=who + "\n"), good_line(user=who * 100), good_line(user=[who])]
    lines += [good_line(user=who)[:-1], good_line(user=who) + b"x", good_line(user=who)[:-1] + b',"user":1}']
    for row in parse_lines(tmp_path, lines):
        assert row["reason"] is not None
        assert who not in row["detail"]
        assert who.encode() in row["raw"]


def test_the_context_shows_no_secret_and_travels(tmp_path: Path) -> None:
    """Its repr lacks the key; pickled, it parses the same, and its caches of users are not included."""
    context = context_of(tmp_path, source_of(tmp_path, JSON_SOURCE))
    assert KEY.decode() not in repr(context)
    delivered = deliver(tmp_path, "a.jsonl", good_line(user="somebody-known-4711"))
    first = list(parse_file(context, delivered))
    packed = pickle.dumps(context)
    assert b"somebody-known-4711" not in packed
    travelled: ParseContext = pickle.loads(packed)  # noqa: S301
    assert first == list(parse_file(travelled, delivered))


def test_nasty_ids_are_only_ids(tmp_path: Path) -> None:
    """Opaque text: each is its own user and its own item, but for spellings of the same letters."""
    rows = parse_lines(tmp_path, [good_line(user=text, item=text) for text in NASTY_IDS])
    assert all(row["reason"] is None for row in rows)
    assert [row["user_id"] for row in rows] == [pseudonym(KEY, text) for text in NASTY_IDS]
    assert len({row["user_id"] for row in rows}) == len(NASTY_IDS) - 1


def test_an_integer_and_its_digits_are_one_id(tmp_path: Path) -> None:
    """Also beyond 64 bits, and as an integral float."""
    rows = parse_lines(tmp_path, [good_line(user=2**70), good_line(user=str(2**70))])
    rows += parse_lines(tmp_path, [good_line(user=7), good_line(user="7"), good_line().replace(b'"ann"', b"7.0")])
    assert len({row["user_id"] for row in rows}) == 2
    assert [row["source_row"] for row in rows] == [1, 2, 1, 2, 3]


LOCAL = JSON_SOURCE.replace("{unit: s}", '{pattern: "%d.%m.%Y %H:%M:%S"}')
ISO = JSON_SOURCE.replace("  timestamp: {unit: s}\n", "")


@pytest.mark.parametrize(
    ("text", "delivered", "utc"),
    [
        (ISO, "2026-03-29T12:00:00", "2026-03-29T11:00:00"),
        (ISO, "2026-03-29 12:00", "2026-03-29T11:00:00"),
        (ISO, "2026-03-29", "2026-03-29T00:00:00"),
        (ISO, "2026-03-29T12:00:00Z", "2026-03-29T12:00:00"),
        (ISO, "2026-03-29T12:00:00.123456789+02:00", "2026-03-29T10:00:00.123456"),
        (ISO, "2026-03-29 12:00:00 -0530", "2026-03-29T17:30:00"),
        (ISO, "2026-03-29T12:00+02", "2026-03-29T10:00:00"),
        (ISO, "2026-03-29T12:00:00+02:99", None),
        (ISO, "2026-03-29T12:00:00+99:00", None),
        (ISO, "2026-03-29T01:30:00", None),
        (ISO, "2026-03-29T01:30:00Z", "2026-03-29T01:30:00"),
        (ISO, "2026-02-30T12:00:00", None),
        (ISO, "2026-03-29T25:00:00", None),
        (ISO, "29.03.2026", None),
        (ISO, "infinity", None),
        (ISO, NOON, None),
        (LOCAL, "29.03.2026 12:00:00", "2026-03-29T11:00:00"),
        (LOCAL, "29.03.2026 01:00:00", None),
        (LOCAL, "31.02.2026 12:00:00", None),
        (LOCAL.replace(" %H", "T%H"), "29.03.2026 12:00:00", None),
        (LOCAL.replace('S"', 'S", zone: Asia/Shanghai'), "29.03.2026 12:00:00", "2026-03-29T04:00:00"),
        (LOCAL.replace("%S", "%S %z"), "29.03.2026 12:00:00 +0200", "2026-03-29T10:00:00"),
        (JSON_SOURCE, NOON + 0.25, "2026-03-29T12:00:00.250000"),
        (JSON_SOURCE, f" {NOON}", None),
        (JSON_SOURCE.replace("unit: s", "unit: ms"), NOON * 1000 + 1, "2026-03-29T12:00:00.001000"),
        (JSON_SOURCE.replace("unit: s", "unit: us"), str(NOON * 10**6 + 1), "2026-03-29T12:00:00.000001"),
        (JSON_SOURCE.replace("unit: s", "unit: ns"), NOON * 10**9 + 1999, "2026-03-29T12:00:00.000001"),
        (JSON_SOURCE.replace("unit: s", "unit: ns"), NOON, None),
        (JSON_SOURCE.replace("unit: s", "unit: ms"), NOON, None),
    ],
)
def test_a_time_in_its_format_is_read_or_rejected(
    tmp_path: Path, text: str, delivered: object, utc: str | None
) -> None:
    """Epochs, patterns and ISO 8601; no time in a skipped hour, no date that is none, no epoch of another unit."""
    (row,) = parse_lines(tmp_path, [good_line(t=delivered)], text)
    if utc is None:
        assert row["reason"] == "bad_timestamp"
        assert row["day"] == DAY
    else:
        assert (row["reason"], row["event_ts"]) == (None, datetime.fromisoformat(utc).replace(tzinfo=UTC))


def test_a_repeated_hour_is_taken_as_its_first(tmp_path: Path) -> None:
    """When clocks go back, 01:30 happens twice; the earlier instant is meant."""
    autumn = date(2026, 10, 25)
    context = context_of(tmp_path, source_of(tmp_path, ISO))
    delivered = deliver(tmp_path, "a.jsonl", good_line(t="2026-10-25T01:30:00"), autumn)
    (batch,) = parse_file(context, delivered)
    assert batch.to_pylist()[0]["event_ts"] == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


def test_an_event_belongs_to_the_local_day(tmp_path: Path) -> None:
    """23:30 UTC is the next day in London's summer, and that day decides what the folder may hold."""
    late_evening = int(datetime(2026, 3, 29, 23, 30, tzinfo=UTC).timestamp())
    rows = parse_lines(tmp_path, [good_line(t=late_evening), good_line(t=late_evening - 86_400)])
    assert [(row["reason"], row["day"]) for row in rows] == [("wrong_day", DAY), (None, date(2026, 3, 28))]


def test_a_rejected_row_of_a_valid_day_lies_in_that_day(tmp_path: Path) -> None:
    """A readable day that fits the folder is used, whatever else is wrong; otherwise the folder's day is."""
    yesterday = NOON - 86_400
    rows = parse_lines(
        tmp_path, [good_line(t=yesterday, user=None), good_line(t=yesterday, price="x"), good_line(t="x"), b"{"]
    )
    assert [row["day"] for row in rows] == [DAY - timedelta(days=1)] * 2 + [DAY] * 2


IDENTITY = JSON_SOURCE + "\n"


def test_the_same_event_has_the_same_id_wherever_it_lies(tmp_path: Path) -> None:
    """Spelling of numbers, order of keys, file and row do not matter; user, item, behaviour and time do."""
    same = [good_line(), good_line(t=str(NOON)), good_line(user=None)[:-1] + b',"user":"ann"}', good_line(title="x")]
    other = [good_line(user="bob"), good_line(item="i2"), good_line(action="buy"), good_line(t=NOON + 1)]
    rows = parse_lines(tmp_path, same + other)
    ids = [row["event_id"] for row in rows]
    assert len(set(ids[:4])) == 1
    assert len(set(ids)) == 5


def test_identity_row_makes_every_row_its_own_event_and_a_repeated_file_the_same_ones(tmp_path: Path) -> None:
    """The file's content and the row number identify it, not the file's name."""
    text = JSON_SOURCE.replace("  reject:", "  identity: row\n  reject:")
    context = context_of(tmp_path, source_of(tmp_path, text))
    content = good_line() + b"\n" + good_line()
    first, second = (
        [
            row["event_id"]
            for batch in parse_file(context, deliver(tmp_path, name, content))
            for row in batch.to_pylist()
        ]
        for name in ("a.jsonl", "b.jsonl")
    )
    assert first == second
    assert len(set(first)) == 2


def test_identity_fields_do_not_run_into_each_other(tmp_path: Path) -> None:
    """Two rows that only differ in where one field ends are two events; an absent field is not an empty one."""
    text = JSON_SOURCE.replace("  reject:", "  identity: [title, other]\n  reject:")
    values = [("ab", "c"), ("a", "bc"), ("a\x1f1:b", "c"), (None, "c"), ("", "c"), ("a", None)]
    rows = parse_lines(tmp_path, [good_line(title=title, other=other) for title, other in values], text)
    assert len({row["event_id"] for row in rows}) == len(values)
    assert all(row["reason"] is None for row in rows)


def test_segments_follow_a_column_of_the_event(tmp_path: Path) -> None:
    """Listed values have their segment, all others the last one; without a user a hash decides."""
    text = JSON_SOURCE.replace(
        "by: hash, shards: 3", "by: column, table: events, column: land, values: {uk: [GB], south: [ES, 1]}"
    )
    rows = parse_lines(
        tmp_path, [good_line(land=v) for v in ("GB", "ES", 1, "FR", None)] + [good_line(user=None)], text
    )
    assert [row["segment"] for row in rows[:5]] == ["uk", "south", "south", "other", "other"]
    assert [row["segment_known"] for row in rows] == [True] * 5 + [False]


def test_rows_of_unknown_users_spread_over_the_segments_and_stay_there(tmp_path: Path) -> None:
    """The segment is a function of file and row."""
    lines = [b"broken"] * 300
    first, second = parse_lines(tmp_path, lines), parse_lines(tmp_path, lines)
    assert first == second
    counts = [sum(row["segment"] == key for row in first) for key in ("shard-0", "shard-1", "shard-2")]
    assert min(counts) > 50


def test_derived_columns_and_rules_see_delivered_and_typed_values(tmp_path: Path) -> None:
    """A derivation replaces what is mapped; a value that it cannot save stays rejected; rules see the result."""
    text = JSON_SOURCE.replace(
        "  reject:", "  derive: {quantity: abs(quantity), text: \"upper(label) || ':' || quantity\"}\n  reject:"
    ).replace('"price < 0"', '["price < 0", "quantity > 5"]')
    lines = [good_line(n=-2, label="a"), good_line(n=-6, label="a"), good_line(n="many", label="a")]
    rows = parse_lines(tmp_path, lines, text)
    assert (rows[0]["quantity"], rows[0]["text"], rows[0]["reason"]) == (2.0, "A:2.0", None)
    assert (rows[1]["reason"], rows[1]["detail"]) == ("bad_value", "source rule: quantity > 5")
    assert rows[2]["reason"] == "bad_value"


def test_parquet_types_are_taken_as_they_are(tmp_path: Path) -> None:
    """Integers, integral floats and text are ids; other floats and lists are not; raw is compact JSON."""
    micros = pa.timestamp("us")
    noon = datetime(2026, 3, 29, 12)  # noqa: DTZ001
    rows = parse_table(
        tmp_path,
        {
            "user": pa.array([16321.0, 1.5, None, 2.0**60]),
            "item": pa.array([1, 2, 3, None]),
            "action": pa.array(["pv", "buy", "pv", "back"]).dictionary_encode(),
            "t": pa.array([noon, noon, noon, noon], micros),
            "price": pa.array([1.25, float("nan"), 2, 3]),
            "n": pa.array([1, 2, 3, 4], pa.int8()),
            "title": pa.array(["läufer", None, "", "x"], pa.large_string()),
        },
        PARQUET_SOURCE,
    )
    assert [row["reason"] for row in rows] == [None, "bad_value", "missing_user", "missing_item"]
    assert rows[0]["user_id"] == pseudonym(KEY, "16321")
    assert rows[3]["user_id"] == pseudonym(KEY, str(2**60))
    assert rows[0]["event_ts"] == datetime(2026, 3, 29, 11, tzinfo=UTC)
    assert json.loads(rows[0]["raw"])["title"] == "läufer"
    assert [row["source_row"] for row in rows] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (pa.array([NOON], pa.int32()), None),
        (pa.array([NOON], pa.uint64()), None),
        (pa.array([float(NOON)]), None),
        (pa.array([str(NOON)]), None),
        (pa.array([datetime(2026, 3, 29, 12, tzinfo=UTC)], pa.timestamp("ns", "UTC")), None),
        (pa.array([date(2026, 3, 28)]), None),
        (pa.array([datetime(2026, 3, 29, 1, 30)], pa.timestamp("s")), "bad_timestamp"),  # noqa: DTZ001
        (pa.array([None], pa.int64()), "bad_timestamp"),
        (pa.array([[NOON]]), "bad_timestamp"),
        (pa.array([True]), "bad_timestamp"),
        (pa.array([NOON * 1000]), "bad_timestamp"),
        (pa.array([2**63 - 1]), "bad_timestamp"),
        (pa.array([2**64 - 1], pa.uint64()), "bad_timestamp"),
    ],
)
def test_parquet_times_of_any_type_are_read_or_rejected(tmp_path: Path, column: pa.Array, reason: str | None) -> None:
    """Whatever type a writer chose, the row is accepted in the right day or rejected by itself."""
    strings = {name: pa.array([text]) for name, text in (("user", "a"), ("item", "i"), ("action", "pv"), ("title", ""))}
    (row,) = parse_table(
        tmp_path, strings | {"t": column, "price": pa.array([1]), "n": pa.array([None])}, PARQUET_SOURCE
    )
    assert row["reason"] == reason


def test_binary_text_that_is_no_utf8_rejects_its_row(tmp_path: Path) -> None:
    """Parquet without a text type is read as text; a value that is none is malformed."""
    columns = {
        "user": pa.array([b"ann", b"\xff"]),
        "item": pa.array(["i", "i"]),
        "action": pa.array(["pv", "pv"]),
        "t": pa.array([NOON, NOON]),
        "price": pa.array([1.0, 1.0]),
        "n": pa.array([1, 1]),
        "title": pa.array(["", ""]),
    }
    assert [row["reason"] for row in parse_table(tmp_path, columns, PARQUET_SOURCE)] == [None, "malformed"]


def test_a_parquet_file_without_its_columns_is_one_rejected_row(tmp_path: Path) -> None:
    """The detail names what is missing."""
    (row,) = parse_table(tmp_path, {"user": pa.array(["a"])}, PARQUET_SOURCE)
    assert row["reason"] == "unreadable_file"
    assert "item" in row["detail"]


def test_rules_that_do_not_fit_the_types_of_a_file_reject_the_file(tmp_path: Path) -> None:
    """A text price under a numeric rule on a raw column cannot be evaluated; nothing of it is published."""
    text = PARQUET_SOURCE.replace('"price < 0"', '"size < 0"')
    columns = {name: pa.array(["1", "2"]) for name in ("user", "item", "action", "t", "price", "n", "title", "size")}
    (row,) = parse_table(tmp_path, columns, text)
    assert row["reason"] == "unreadable_file"
    assert "size < 0" in row["detail"]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_cut_parquet_file_publishes_nothing(tmp_path: Path, share: float) -> None:
    """Wherever it is cut, it is one rejected row."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"user": [str(n) for n in range(5000)]}), sink)
    content = sink.getvalue().to_pybytes()
    context = context_of(tmp_path, source_of(tmp_path, PARQUET_SOURCE))
    delivered = deliver(tmp_path, "a.parquet", content[: int(len(content) * share)])
    ((row,),) = (batch.to_pylist() for batch in parse_file(context, delivered))
    assert (row["reason"], row["source_row"]) == ("unreadable_file", 0)
