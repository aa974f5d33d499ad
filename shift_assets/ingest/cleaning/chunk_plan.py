"""Plan which days are cleaned together, within a limit on uncompressed bytes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from shift_assets.ingest.readers.source_files import SourceFile, list_source_files

CHUNK_BYTES = 192 * 1024 * 1024
"""Uncompressed bytes of the day folders of one chunk, as EXPANSION estimates them: 1.3 million JSON lines, 0.3 GB as
clean events. Cleaning then needs less than 4 GiB, Spark's server and workers included."""

EXPANSION = 8
"""Assumed ratio of uncompressed to compressed bytes for gzip, zstd and Parquet; 5 to 12 measured."""

_UNCOMPRESSED_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".txt")


@dataclass(frozen=True)
class Chunk:
    """Days that are cleaned together, and the files that they read."""

    days: tuple[date, ...]
    files: tuple[SourceFile, ...]


def plan_chunks(landing: Path, days: Collection[date], lateness_days: int) -> list[Chunk]:
    """Divide days into consecutive chunks of at least one day and at most CHUNK_BYTES of their own folders.

    Args:
        landing: The landing folder.
        days: The days to clean.
        lateness_days: Later folders that may hold events of a day.
    """
    ordered = sorted(set(days))
    if not ordered:
        return []
    lateness = timedelta(days=lateness_days)
    by_folder: dict[date, list[SourceFile]] = {}
    for file in list_source_files(landing, ordered[0], ordered[-1] + lateness):
        by_folder.setdefault(file.folder_day, []).append(file)
    groups: list[list[date]] = []
    filled = 0
    for day in ordered:
        size = sum(uncompressed_bytes(file) for file in by_folder.get(day, []))
        if not groups or filled + size > CHUNK_BYTES:
            groups.append([])
            filled = 0
        groups[-1].append(day)
        filled += size
    return [
        Chunk(
            tuple(group),
            tuple(
                file
                for folder in sorted({day + timedelta(days=late) for day in group for late in range(lateness_days + 1)})
                for file in by_folder.get(folder, [])
            ),
        )
        for group in groups
    ]


def uncompressed_bytes(file: SourceFile) -> int:
    """Return the estimated uncompressed size of a file."""
    return file.size if file.path.lower().endswith(_UNCOMPRESSED_SUFFIXES) else file.size * EXPANSION
