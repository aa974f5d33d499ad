from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shift_assets.ingest.readers.csv_lines import read_csv_lines
from shift_assets.ingest.rows.parser import parse_file
from shift_assets.ingest.source.config import CsvDialect
from shift_assets_tests.ingest.dirty_data import CSV_SOURCE, NOON, context_of, csv_files, deliver, source_of

COLUMNS = ("user", "item", "action", "t", "title")
DIALECT = CsvDialect(delimiter=",", header=False, columns=COLUMNS)
GOOD = f"ann,i1,pv,{NOON},".encode()


def records(content: bytes, size: int = 10**9, *, fast: bool = True) -> list[tuple]:
    """Number, raw bytes, values and rejection reason of every record of a file that comes in pieces of `size` bytes."""
    found: list[tuple] = []
    chunks = [content[at : at + size] for at in range(0, len(content), size)]
    for part in read_csv_lines(chunks, DIALECT, COLUMNS, fast=fast):
        for at, (number, raw) in enumerate(zip(part.numbers.tolist(), part.raw.to_pylist(), strict=True)):
            rejection = part.rejections.get(at)
            found.append(
                (number, raw, [part.columns[name][at].as_py() for name in COLUMNS], rejection and rejection.reason)
            )
    return found


@given(csv_files(), st.sampled_from([5, 60, 10**6]))
@settings(max_examples=300, deadline=None)
def test_the_fast_path_splits_as_the_strict_path_does(content: bytes, size: int) -> None:
    """On any dirt, in pieces of any size, both parsers give the same records, values and rejections."""
    assert records(content, size) == records(content, fast=False)


@given(csv_files())
@settings(max_examples=100, deadline=None)
def test_no_byte_of_a_line_is_lost(content: bytes) -> None:
    """The records, in order, hold every line that is not blank, once."""
    lines = [line.strip() for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip()]
    held = [line.strip() for _, raw, _, _ in records(content) for line in raw.split(b"\n") if line.strip()]
    assert held == lines


_fields = st.text(st.characters(codec="utf-8", exclude_characters="\0\ufeff"), max_size=6)


@given(st.lists(st.lists(_fields, min_size=5, max_size=5), min_size=1, max_size=8))
@settings(max_examples=150, deadline=None)
def test_what_a_correct_writer_wrote_is_read_back(rows: list[list[str]]) -> None:
    """Fields quoted by the standard library come back as they were, line breaks and quotes included."""
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    assert [values for _, _, values, _ in records(text.getvalue().encode())] == rows


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b"ann,i1,pv", "malformed"),
        (b"ann,i1,pv,1,2,3", "malformed"),
        (b'ann,i1,pv,1,"never closed', "malformed"),
        (b'ann,i1,pv,1,in"side', "malformed"),
        (b'ann,i1,pv,1,"closed"x', "malformed"),
        (b"ann,i1,pv,1,\xff", "malformed"),
        (b"ann,i1,pv,1,a\0b", "malformed"),
        (b"\xef\xbb\xbfann,i1,pv,1,x", "malformed"),
        (b'ann,i1,pv,1,"a\xff"', "malformed"),
        (b"x" * (1024 * 1024 + 1), "too_long"),
        (b'ann,i1,pv,1,"two\nlines"', None),
        (b'ann,i1,pv,1,"a ""b"", c"', None),
        (b'"ann","i1","pv","1",""', None),
        (b"ann,i1,pv,1," + b"x" * 100_000, None),
    ],
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_broken_record_costs_its_neighbours_nothing(record: bytes, reason: str | None, end: bytes) -> None:
    """Between good records a broken one is one rejected row, and the good ones are read."""
    found = records(end.join([GOOD, record, GOOD, b""]), 50_000)
    assert [why for *_, why in found] == [None, reason, None]


def test_an_open_quote_rejects_its_own_line_only() -> None:
    """A quote that does not close within 100 lines or 64 KiB was none: reading resumes at the next line."""
    for filler in ([GOOD] * 100, [GOOD + b"x" * 40_000] * 2):
        content = b"\n".join([b'ann,i1,pv,1,"open', *filler, b'bob,i1,pv,1,"closed"'])
        for size in (1000, 10**9):
            found = records(content, size)
            assert [why for *_, why in found] == ["malformed", *[None] * len(filler), None]
            assert found[0][1] == b'ann,i1,pv,1,"open'


def test_an_open_quote_at_the_end_of_the_file_rejects_its_own_line_only() -> None:
    """The end of the file closes nothing."""
    found = records(b'ann,i1,pv,1,"open\n' + GOOD + b"\n" + GOOD)
    assert [why for *_, why in found] == ["malformed", None, None]


HEADED = CSV_SOURCE.replace("header: false, columns: [user, item, action, t, title]", "header: true")


def parsed(folder: Path, text: str, content: bytes) -> list[dict[str, Any]]:
    context = context_of(folder, source_of(folder, text))
    batches = list(parse_file(context, deliver(folder, "a.csv", content)))
    rows: list[dict[str, Any]] = pa.Table.from_batches(batches).to_pylist()
    return rows


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    """A header may reorder columns, add some, and be quoted."""
    content = f'more,t,"user",title,item,action\n1,{NOON},ann,läufer,i1,pv\n'.encode()
    (row,) = parsed(tmp_path, HEADED, content)
    assert (row["item_id"], row["text"], row["behavior"], row["reason"], row["source_row"]) == (
        "i1",
        "läufer",
        "view",
        None,
        2,
    )


@pytest.mark.parametrize("header", [b"user,item,action,t", b"user,item,action,t,title,user", b'user,"item', b"\xff"])
def test_a_file_without_its_columns_is_one_rejected_row(tmp_path: Path, header: bytes) -> None:
    """A header that lacks a mapped column, repeats one or cannot be read rejects the file as a whole, by name."""
    (row,) = parsed(tmp_path, HEADED, header + b"\n" + GOOD)
    assert (row["reason"], row["source_row"], row["event_id"]) == ("unreadable_file", 0, None)
    assert "header" in row["detail"]


def test_a_row_in_place_of_the_header_is_not_shown(tmp_path: Path) -> None:
    """Where the header is missing, the first row is in its place: its user id is not in the detail."""
    for content in (b"ann,i1,pv,1,x", b"ann,ann,pv,1,x"):
        (row,) = parsed(tmp_path, HEADED, content)
        assert row["reason"] == "unreadable_file"
        assert "ann" not in row["detail"]


def test_a_file_of_a_header_alone_has_no_rows(tmp_path: Path) -> None:
    """An empty file has no rows."""
    context = context_of(tmp_path, source_of(tmp_path, HEADED))
    for content in (b"user,item,action,t,title\n", b"", b"\n \n"):
        assert list(parse_file(context, deliver(tmp_path, "a.csv", content))) == []
