from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shift_assets.ingest.readers.json_lines import read_json_lines
from shift_assets.ingest.rows.parser import FileTally, parse_file
from shift_assets_tests.ingest.dirty_data import (
    BAD_LINES,
    JSON_SOURCE,
    context_of,
    deliver,
    good_line,
    json_line_files,
    source_of,
)

WANTED = ("user", "item", "action", "t", "price", "n", "title", "never")


def rows_as_lists(content: bytes, size: int, *, fast: bool) -> list[tuple]:
    """Every row that the reader gives for a file that comes in pieces of `size` bytes."""
    rows: list[tuple] = []
    chunks = [content[at : at + size] for at in range(0, len(content), size)]
    for part in read_json_lines(chunks, WANTED, fast=fast):
        for at, (number, raw) in enumerate(zip(part.numbers.tolist(), part.raw.to_pylist(), strict=True)):
            values = [(part.columns[name][at].as_py(), int(part.kinds[name][at])) for name in WANTED if part.kinds]
            rows.append((number, raw, values, part.rejections.get(at)))
    return rows


SHORT_AFTER_SPACED = (
    b'{"user":null,"item":12,"action":{},"t":null}\n'
    b'{"user"  : "ann" , "item"  : "i1" , "action"  : "pv" , "t"  : 1774440000 , "price"  : "" , "other"  : "" , '
    b'"title"  : ""}\n{"user":[],"item":"i1","action":"pv","t":1774440000,"price":[]}\n'
)
"""A last line that ends before the place where the first line's next key begins."""


@given(json_line_files(), st.sampled_from([7, 100, 10**6]))
@example(SHORT_AFTER_SPACED, 10**6)
@settings(max_examples=300, deadline=None)
def test_the_fast_path_reads_what_the_strict_path_reads(content: bytes, size: int) -> None:
    """On any dirt, in pieces of any size, both parsers give the same rows, values, kinds and rejections."""
    assert rows_as_lists(content, size, fast=True) == rows_as_lists(content, 10**9, fast=False)


@given(json_line_files())
@settings(max_examples=100, deadline=None)
def test_every_line_that_is_not_blank_is_one_row(content: bytes) -> None:
    """Rows are the lines that contain more than white space, each with its own bytes and line number."""
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    expected = [(n, line.removesuffix(b"\r")) for n, line in enumerate(lines, 1) if line.strip()]
    assert [(number, raw) for number, raw, _, _ in rows_as_lists(content, 64, fast=True)] == expected


@pytest.mark.parametrize("name", BAD_LINES)
def test_each_bad_line_gets_its_reason(name: str, tmp_path: Path) -> None:
    """Alone and between good lines, a bad line is rejected for its own reason, and its neighbours are not."""
    line, reason = BAD_LINES[name]
    context = context_of(tmp_path, source_of(tmp_path, JSON_SOURCE))
    neighbours = good_line(item="before") + b"\n" + line + b"\n" + good_line(item="after") + b"\n"
    for content, at in ((b"\n" + line, 0), (neighbours, 1)):
        tally = FileTally()
        rows = pa.Table.from_batches(
            list(parse_file(context, deliver(tmp_path, "a.jsonl", content), tally))
        ).to_pylist()
        assert [row["reason"] for row in rows] == [reason if n == at else None for n in range(len(rows))]
        assert tally.rows == len(rows) == (3 if at else 1)
        if reason:
            expected = line.removesuffix(b"\r")
            assert rows[at]["raw"] == expected[: 64 * 1024]
            assert rows[at]["raw_sha256"] == hashlib.sha256(expected).hexdigest()
            assert rows[at]["detail"]


@pytest.mark.parametrize("size", [5, 1000, 10**7])
def test_a_line_of_one_mebibyte_is_read_and_one_byte_more_is_too_long(size: int) -> None:
    """The cap counts the line without its end, however the file comes in."""
    frame = len(good_line(title=""))
    for end in (b"\n", b"\r\n", b""):
        for more, reason in ((0, None), (1, "too_long")):
            line = good_line(title="x" * (1024 * 1024 - frame + more))
            content = good_line() + b"\n" + line + end + (good_line(user="last") if end else b"")
            rows = rows_as_lists(content, max(size, 50_000) if size < 1000 else size, fast=True)
            assert [rejection.reason if rejection else None for *_, rejection in rows] == [
                None,
                reason,
                *([None] if end else []),
            ]
            assert [number for number, *_ in rows] == [1, 2, *([3] if end else [])]
