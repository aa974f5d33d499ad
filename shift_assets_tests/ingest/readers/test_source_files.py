from __future__ import annotations

import gzip
import hashlib
import os
import resource
import zlib
from datetime import date
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from shift_assets.ingest.readers.opened_file import FileChangedError, UnreadableFileError, open_source_file
from shift_assets.ingest.readers.source_files import SourceFile, folder_day, list_landing, list_source_files
from shift_assets.ingest.rows.parser import parse_file
from shift_assets_tests.ingest.dirty_data import DAY, JSON_SOURCE, context_of, deliver, good_line, source_of

pytestmark = pytest.mark.slow

LINES = b"\n".join(good_line(item=f"i{n}") for n in range(2000)) + b"\n"


def reasons(folder: Path, delivered: SourceFile) -> list[str | None]:
    context = context_of(folder, source_of(folder, JSON_SOURCE))
    return [row["reason"] for batch in parse_file(context, delivered) for row in batch.to_pylist()]


def zstd(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(content)


PACKED = {
    "plain": LINES,
    "gzip": gzip.compress(LINES, mtime=0),
    "gzip of two members": gzip.compress(LINES[:777], mtime=0) + gzip.compress(LINES[777:], mtime=0),
    "zstd": zstd(LINES),
    "zstd of two frames": zstd(LINES[:777]) + zstd(LINES[777:]),
}


@pytest.mark.parametrize("packing", PACKED)
@pytest.mark.parametrize("name", ["a.jsonl", "a.gz", "no ending"])
def test_compression_is_detected_by_content_not_by_name(tmp_path: Path, packing: str, name: str) -> None:
    """Every packing gives every row under any name, and the digest is of the bytes on disk."""
    delivered = deliver(tmp_path, name, PACKED[packing])
    assert reasons(tmp_path, delivered) == [None] * 2000
    with open_source_file(tmp_path, delivered.path) as opened:
        assert opened.sha256 == hashlib.sha256(PACKED[packing]).hexdigest()


@pytest.mark.parametrize("packing", ["gzip", "gzip of two members", "zstd", "zstd of two frames"])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.9, 0.9999])
def test_a_cut_compressed_file_publishes_nothing(tmp_path: Path, packing: str, share: float) -> None:
    """Wherever it is truncated: one rejected row for the whole, with the digest of the bytes on disk."""
    content = PACKED[packing][: max(4, int(len(PACKED[packing]) * share))]
    context = context_of(tmp_path, source_of(tmp_path, JSON_SOURCE))
    ((row,),) = (batch.to_pylist() for batch in parse_file(context, deliver(tmp_path, "a.jsonl", content)))
    assert (row["reason"], row["source_row"], row["day"], row["segment_known"]) == ("unreadable_file", 0, DAY, False)
    assert row["raw_sha256"] == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("packing", ["gzip", "zstd"])
@pytest.mark.parametrize("damage", ["garbage after", "one byte changed"])
def test_a_damaged_compressed_file_publishes_nothing(tmp_path: Path, packing: str, damage: str) -> None:
    """Garbage behind the stream and broken checksums are found before the first row is given."""
    content = bytearray(PACKED[packing])
    if damage == "garbage after":
        content += b"garbage"
    else:
        content[len(content) // 2] ^= 0xFF
    assert reasons(tmp_path, deliver(tmp_path, "a.jsonl", bytes(content))) == ["unreadable_file"]


@pytest.mark.parametrize("packing", ["gzip", "zstd"])
def test_a_bomb_is_stopped_in_bounded_memory(tmp_path: Path, packing: str) -> None:
    """A gigabyte of zeros is given up after some fifty megabytes."""
    if packing == "gzip":
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        bomb = b"".join(packer.compress(bytes(1 << 24)) for _ in range(64)) + packer.flush()
    else:
        bomb = zstandard.ZstdCompressor().compress(bytes(1 << 30))
    delivered = deliver(tmp_path, "a.jsonl.gz", bomb)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UnreadableFileError, match="200 times"), open_source_file(tmp_path, delivered.path):
        pass
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024
    assert reasons(tmp_path, delivered) == ["unreadable_file"]


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    """A link, a pipe, a folder and a missing file are unreadable, at once."""
    target = deliver(tmp_path, "target.jsonl", good_line())
    folder = tmp_path / "events" / f"day={DAY}"
    (folder / "link.jsonl").symlink_to(folder / "target.jsonl")
    os.mkfifo(folder / "pipe.jsonl")
    (folder / "folder.jsonl").mkdir()
    for name in ("link.jsonl", "pipe.jsonl", "folder.jsonl", "missing.jsonl", "../../../source.yaml"):
        assert reasons(tmp_path, SourceFile(f"events/day={DAY}/{name}", DAY, 1)) == ["unreadable_file"]
    assert reasons(tmp_path, target) == [None]


def test_a_file_that_changes_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    """Its rows would be of two files; the run fails and reads it again."""
    delivered = deliver(tmp_path, "a.jsonl", LINES)
    with open_source_file(tmp_path, delivered.path) as opened:
        with (tmp_path / delivered.path).open("ab") as file:
            file.write(b"more")
        with pytest.raises(FileChangedError):
            list(opened.chunks())


def test_every_entry_is_read_or_listed_with_a_reason(tmp_path: Path) -> None:
    """Nothing in the landing is passed over in silence, and nothing odd is opened."""
    for name in ("b.jsonl", "a.csv", "größe 1.jsonl.gz", "x@y=1,2(3)+4-5.csv"):
        deliver(tmp_path, name, b"x")
    odd = ["_part", ".hidden", "x.tmp", "sim.labels.parquet", "a*.csv", "{a}.csv", "new\nline.csv", "-a.csv", "a" * 201]
    for name in odd:
        deliver(tmp_path, name, b"x")
    folder = tmp_path / "events" / f"day={DAY}"
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    (folder / "link").symlink_to(folder / "a.csv")
    (folder / b"\xff.csv".decode("utf-8", "surrogateescape")).write_bytes(b"x")
    for name in ("day=2026-3-1", "day=20260301", "day=2026-W01-1", "2026-03-01", "day=2026-02-30", "other"):
        (tmp_path / "events" / name).mkdir()
    (tmp_path / "events" / "day=2026-03-01").write_bytes(b"a file")
    listing = list_landing(tmp_path)
    assert [Path(file.path).name for file in listing.files] == [
        "a.csv",
        "b.jsonl",
        "größe 1.jsonl.gz",
        "x@y=1,2(3)+4-5.csv",
    ]
    assert len(listing.ignored) == len(odd) + 4 + 7
    assert all(entry.reason and entry.path.isprintable() for entry in listing.ignored)


def test_files_come_sorted_and_only_of_the_asked_folders(tmp_path: Path) -> None:
    """By folder day, then name; the range includes both ends."""
    days = [date(2026, 3, day) for day in (9, 10, 11, 12)]
    for day in reversed(days):
        for name in ("b", "a"):
            deliver(tmp_path, name, b"xy", day)
    found = list_source_files(tmp_path, days[1], days[2])
    assert found == [SourceFile(f"events/day={day}/{name}", day, 2) for day in days[1:3] for name in ("a", "b")]
    assert list_source_files(tmp_path / "nowhere", days[0], days[3]) == []


@given(st.one_of(st.text(max_size=15), st.text(max_size=12).map("day=".__add__)))
@settings(max_examples=300)
def test_only_the_one_spelling_of_a_day_is_a_day_folder(name: str) -> None:
    """No name escapes the folder, for a day is never spelled in two ways."""
    day = folder_day(name)
    assert day is None or name == f"day={day.isoformat()}"
