"""Split a bulk export into the day folders of the landing, without losing a row.

Rows keep their original bytes (text) or columns (Parquet); text rows end in one newline. A row goes to the folder
of its local day. Rows without a readable day go to files `…-undated-…` in the folder of the day with most rows,
where cleaning rejects them one by one. File names contain a digest of the export: landing the same export again
gives the same files, and another export of the same name never replaces them.
"""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from jaxtyping import Int64

from shift_assets.arrays import Int64Array
from shift_assets.contracts.day import date_of
from shift_assets.ingest.readers.csv_lines import RECORD_CAP_LINES
from shift_assets.ingest.readers.formats import read_rows
from shift_assets.ingest.readers.lines import LongLine, line_blocks, row_lines
from shift_assets.ingest.readers.opened_file import OpenedFile, UnreadableFileError, open_handle, open_source_file
from shift_assets.ingest.readers.parquet_rows import parquet_batches, row_batch_of
from shift_assets.ingest.readers.row_batch import RowBatch
from shift_assets.ingest.readers.source_files import EVENTS_FOLDER
from shift_assets.ingest.rows.contract_columns import ContractColumns
from shift_assets.ingest.source.config import Source

logger = logging.getLogger(__name__)

BUFFER_BYTES = 128 * 1024 * 1024
"""Bytes of rows buffered before they are written; no part file is larger."""
_ENDINGS = re.compile(r"\.(gz|gzip|zst|zstd|jsonl|ndjson|json|csv|tsv|txt|parquet|pq)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LandingResult:
    """Result of landing an export: rows per day folder (undated rows count where their file is), and the new files."""

    rows_per_day: dict[date, int]
    undated: int
    files: list[Path] = field(repr=False)


def land(file: Path, landing: Path, source: Source) -> LandingResult:
    """Split an export into `landing/events/day=YYYY-MM-DD/`, in bounded memory.

    A file appears whole or not at all.

    Args:
        file: The export.
        landing: The landing folder.
        source: Describes the format and the timestamps of the export.

    Raises:
        UnreadableFileError: The export is damaged, not in the source's format, or no row has a readable day.
            Nothing is landed then.
    """
    started = time.monotonic()
    file = file.resolve()
    with open_source_file(file.parent, file.name) as opened:
        columns = ContractColumns(source)
        parts = _PartFiles(landing / EVENTS_FOLDER, _stem(file, opened.sha256))
        try:
            if source.events.format == "parquet":
                _split_parquet(opened, columns, source, parts)
            else:
                _split_text(opened, columns, source, parts)
            result = parts.publish()
        finally:
            columns.close()
            parts.clean_up()
    rows = sum(result.rows_per_day.values())
    logger.info(
        "landed %s: %d rows on %d days in %.1f s", file.name, rows, len(result.rows_per_day), time.monotonic() - started
    )
    return result


def land_items(file: Path, landing: Path) -> Path:
    """Copy an items table into `landing/items/`, replacing a file of the same name; return the copy's path.

    Raises:
        UnreadableFileError: The file cannot be opened or is damaged.
    """
    return _copy_table(file, landing / "items")


def land_users(file: Path, landing: Path) -> Path:
    """Copy a users table into `landing/users/`, replacing a file of the same name; return the copy's path.

    Raises:
        UnreadableFileError: The file cannot be opened or is damaged.
    """
    return _copy_table(file, landing / "users")


def _copy_table(file: Path, folder: Path) -> Path:
    file = file.resolve()
    target = folder / _clean_name(file.name)
    with open_source_file(file.parent, file.name) as opened, open_handle(opened.descriptor) as handle:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{target.name}.tmp"
        with temporary.open("wb") as copy:
            shutil.copyfileobj(handle, copy)
        temporary.replace(target)
    return target


def _clean_name(name: str) -> str:
    name = re.sub(r"[^\w.+=@,() -]", "_", name)[-120:]
    return name if re.match(r"[^\W_]", name) else f"file{name}"


def _stem(file: Path, sha256: str) -> str:
    name = file.name
    while (shorter := _ENDINGS.sub("", name)) != name:
        name = shorter
    return f"{_clean_name(name)}-{sha256[:8]}"


class _PartFiles:
    """Writes part files under temporary names until all are complete."""

    def __init__(self, events: Path, stem: str) -> None:
        self._events, self._stem = events, stem
        self._staging = events / f".{stem}.tmp"
        self._staged: list[tuple[date | None, Path]] = []
        self._numbers: Counter[date | None] = Counter()
        self._rows: Counter[date | None] = Counter()
        self.clean_up()

    def next_path(self, day: date | None, rows: int, ending: str) -> Path:
        """Return the path for the next part of `day` (None: undated), which holds `rows` rows."""
        self._staging.mkdir(parents=True, exist_ok=True)
        self._numbers[day] += 1
        self._rows[day] += rows
        kind = "undated-" if day is None else ""
        folder = self._staging / (day.isoformat() if day else "undated")
        folder.mkdir(exist_ok=True)
        path = folder / f"{self._stem}-{kind}{self._numbers[day]}.{ending}"
        self._staged.append((day, path))
        return path

    def publish(self) -> LandingResult:
        """Move every part to its day folder.

        Raises:
            UnreadableFileError: No row has a readable day.
        """
        undated = self._rows.pop(None, 0)
        dated: dict[date, int] = {day: rows for day, rows in self._rows.items() if day is not None}
        if undated and not dated:
            raise UnreadableFileError(
                "no row has a readable timestamp; check `events.format`, `events.timestamp` and `events.map.event_ts` "
                "of the source"
            )
        if undated:
            fullest = max(dated, key=lambda day: (dated[day], -day.toordinal()))
            dated[fullest] += undated
        files = []
        for day, path in self._staged:
            folder = self._events / f"day={(day or fullest).isoformat()}"
            folder.mkdir(parents=True, exist_ok=True)
            files.append(path.replace(folder / path.name))
        return LandingResult(dict(sorted(dated.items())), undated, files)

    def clean_up(self) -> None:
        """Remove the staging folder, including what a killed landing left there."""
        shutil.rmtree(self._staging, ignore_errors=True)


def _split_text(opened: OpenedFile, columns: ContractColumns, source: Source, parts: _PartFiles) -> None:
    """Write JSON lines or CSV: the original records, each ended by a newline; CSV parts begin with the header."""
    events_format = source.events
    header = b""
    if events_format.format == "csv" and events_format.dialect.header:
        header = _header_line(opened)
    ending = "jsonl" if events_format.format == "jsonl" else "csv"
    ending += ".zst" if opened.compression else ""
    buffered: dict[date | None, list[bytes]] = {}
    row_counts: Counter[date | None] = Counter()
    size = 0
    long: list[tuple[int, int]] = []

    def flush() -> None:
        for day, pieces in buffered.items():
            text = header + (b"\n" if day is None else b"") + b"".join(pieces)
            path = parts.next_path(day, row_counts[day], ending)
            path.write_bytes(zstandard.ZstdCompressor(level=6).compress(text) if opened.compression else text)
        buffered.clear()
        row_counts.clear()

    for rows in read_rows(opened, events_format, source.events.source_columns):
        long += rows.spans.values()
        for day, members in _by_day(rows, columns):
            index = np.setdiff1d(members, list(rows.spans), assume_unique=True)
            if not len(index):
                continue
            values = rows.raw.take(pa.array(index)).to_pylist()
            if day is None and events_format.format == "csv":
                text = b"".join(_with_quote_guard(value) for value in values)
            else:
                text = b"".join(map(_with_line_end, values))
            buffered.setdefault(day, []).append(text)
            row_counts[day] += len(index)
            size += len(text)
        if size > BUFFER_BYTES:
            flush()
            size = 0
    flush()
    if long:
        _copy_long_lines(opened, long, header, parts.next_path(None, len(long), ending))


def _with_line_end(record: bytes) -> bytes:
    """Return the record with a line end that does not absorb its last byte."""
    return record + (b"\r\n" if record.endswith(b"\r") else b"\n")


def _with_quote_guard(record: bytes) -> bytes:
    """Return an undated CSV record; blank lines follow a quote, so that it cannot close in a later record."""
    return _with_line_end(record) + (b"\n" * RECORD_CAP_LINES if b'"' in record else b"")


def _copy_long_lines(opened: OpenedFile, spans: list[tuple[int, int]], header: bytes, path: Path) -> None:
    """Copy the lines that do not fit into memory, piece by piece in a second pass."""
    target = path.open("wb")
    with target, zstandard.ZstdCompressor(level=6).stream_writer(target) if opened.compression else target as out:
        out.write(header + b"\n")
        position, pending = 0, iter(spans)
        start, length = next(pending)
        for chunk in opened.chunks():
            while start < position + len(chunk):
                piece = chunk[max(0, start - position) : start + length - position]
                out.write(piece)
                if start + length > position + len(chunk):
                    break
                out.write(_with_line_end(piece[-1:])[1:])
                start, length = next(pending, (1 << 62, 0))
            position += len(chunk)


def _header_line(opened: OpenedFile) -> bytes:
    for block in line_blocks(opened.chunks()):
        if isinstance(block, LongLine):
            break
        _, lines = row_lines(block)
        if len(lines):
            return _with_line_end(lines[0].as_py())
    return b""


def _by_day(rows: RowBatch, columns: ContractColumns) -> Iterator[tuple[date | None, Int64[Int64Array, " row"]]]:
    """Yield the row indices of each local day in `rows`, in order of day, then the undated rows with day None."""
    days, has_day = columns.local_days(rows)
    for day in np.unique(days[has_day]).tolist():
        yield date_of(day), np.flatnonzero(has_day & (days == day))
    if not has_day.all():
        yield None, np.flatnonzero(~has_day)


def _split_parquet(opened: OpenedFile, columns: ContractColumns, source: Source, parts: _PartFiles) -> None:
    """Write Parquet rows with all their columns."""
    names = source.events.source_columns
    buffered: dict[date | None, list[pa.RecordBatch]] = {}
    size = 0

    def flush() -> None:
        for day, batches in buffered.items():
            table = pa.Table.from_batches(batches)
            pq.write_table(table, parts.next_path(day, table.num_rows, "parquet"), compression="zstd")
        buffered.clear()

    for first, batch in parquet_batches(opened, names):
        for day, index in _by_day(row_batch_of(batch, first, names)[0], columns):
            buffered.setdefault(day, []).append(batch.take(pa.array(index)))
        size += batch.nbytes
        if size > BUFFER_BYTES:
            flush()
            size = 0
    flush()
