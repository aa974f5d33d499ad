"""What an installation needs, examined one by one."""

from __future__ import annotations

import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shift_assets.contracts.bi_files import BI_FILES
from shift_assets.contracts.interest import INTEREST_SERIES
from shift_assets.contracts.registry import TABLES
from shift_assets.ingest.cleaning.engines.engine import EngineError
from shift_assets.ingest.cleaning.engines.selection import java_version, resolve_engine
from shift_assets.ingest.readers.source_files import list_landing
from shift_assets.quality.suites import UNCATEGORISED_SHARES
from shift_assets.settings.config_file import ConfigError
from shift_assets.storage.bi_generations import current
from shift_assets.workspace.home import open_workspace
from shift_assets.workspace.workspace import Workspace

UI_PORT = 3000
_ENOUGH_BYTES = 2 * 1024**3
_CATEGORY_DAYS = 28
_REMEDIES = {
    "delivered": "deliver the missing categories, or set categories.from to text or cooccurrence in source.yaml",
    "text": "deliver the missing item texts, or map a category in source.yaml",
    "cooccurrence": "map a category or an item text in source.yaml",
}


@dataclass(frozen=True)
class Finding:
    """One thing examined: `ok`, worth a `note`, or a `fault` that keeps the platform from working."""

    level: Literal["ok", "note", "fault"]
    subject: str
    text: str


def diagnose(home: Path) -> list[Finding]:
    """Return a finding on everything that a first failure is usually about."""
    try:
        workspace = open_workspace(home)
    except ConfigError as error:
        return [Finding("fault", "home", str(error))]
    return [
        Finding("ok", "home", f"{workspace.settings.home}, source {workspace.source.name}"),
        _calendar(workspace),
        _engine(workspace),
        _disk(workspace),
        _key(workspace),
        _landing(workspace),
        _lake(workspace),
        *_categories(workspace),
        *_bi(workspace),
        _port(),
    ]


def _calendar(workspace: Workspace) -> Finding:
    calendar = workspace.settings.calendar
    if calendar.first_day is None:
        return Finding("note", "calendar", "not set yet; the first `shift-assets land` or `run` sets it")
    return Finding(
        "ok", "calendar", f"{calendar.first_day} … {calendar.last_day or 'open'}, {workspace.source.timezone}"
    )


def _engine(workspace: Workspace) -> Finding:
    java = java_version()
    try:
        engine = resolve_engine(workspace.settings.engine, workspace.settings.spark.remote)
    except EngineError as error:
        return Finding("fault", "engine", str(error))
    return Finding("ok", "engine", f"{engine} ({f'Java {java}' if java else 'no Java'})")


def _disk(workspace: Workspace) -> Finding:
    free = shutil.disk_usage(workspace.settings.home).free
    level: Literal["ok", "note"] = "ok" if free > _ENOUGH_BYTES else "note"
    return Finding(level, "disk", f"{free / 1024**3:.1f} GiB free")


def _key(workspace: Workspace) -> Finding:
    if os.environ.get("SHIFT_PRIVACY_KEY"):
        return Finding("ok", "privacy key", "from SHIFT_PRIVACY_KEY")
    open_to_others = [path for path in workspace.settings.privacy.iterdir() if path.stat().st_mode & 0o077]
    if open_to_others:
        return Finding("fault", "privacy key", f"others may read {open_to_others[0]}; chmod 600 it")
    return Finding("ok", "privacy key", f"kept in {workspace.settings.privacy}, or made there by the first run")


def _landing(workspace: Workspace) -> Finding:
    listing = list_landing(workspace.settings.landing)
    if listing.ignored:
        first = listing.ignored[0]
        return Finding(
            "note", "landing", f"{len(listing.ignored)} entries ignored, such as {first.path}: {first.reason}"
        )
    days = {file.folder_day for file in listing.files}
    return Finding("ok" if days else "note", "landing", f"{len(listing.files)} files in {len(days)} day folders")


def _lake(workspace: Workspace) -> Finding:
    existing = {name: len(workspace.lake.published(table)) for name, table in TABLES.items()}
    filled = {name: count for name, count in existing.items() if count}
    missing = [path for name in filled for path in workspace.lake.files(TABLES[name]).values() if not path.exists()]
    if missing:
        return Finding("fault", "lake", f"{len(missing)} files are gone, such as {missing[0]}; run their days again")
    return Finding("ok", "lake", f"{sum(filled.values()):,} partitions of {len(filled)} tables")


def _categories(workspace: Workspace) -> list[Finding]:
    """How much of the log has no category, at its start and now; nothing where no day was run."""
    from shift_assets.interest.series import uncategorised_share

    days = sorted({partition.day for partition in workspace.lake.published(INTEREST_SERIES)})
    if not days:
        return []
    columns = [
        column.name for column in INTEREST_SERIES.own_columns if column.name not in ("user_id", "score", "amount")
    ]
    first, last = (
        uncategorised_share(workspace.lake.read(INTEREST_SERIES, first_day=span[0], last_day=span[-1], columns=columns))
        for span in (days[:_CATEGORY_DAYS], days[-_CATEGORY_DAYS:])
    )
    text = f"{last:.1%} of the events of the last {_CATEGORY_DAYS} days are uncategorised, {first:.1%} of the first"
    if last <= UNCATEGORISED_SHARES[0][0]:
        return [Finding("ok", "categories", text)]
    return [Finding("note", "categories", f"{text}; {_REMEDIES[workspace.source.category_origin]}")]


def _bi(workspace: Workspace) -> list[Finding]:
    findings = []
    for file in BI_FILES:
        served = current(workspace.settings.bi, file)
        text = f"generation {served.generation}, as of {served.as_of_day}" if served else "not published yet"
        findings.append(Finding("ok" if served else "note", file.name, text))
    return findings


def _port() -> Finding:
    with socket.socket() as probe:
        busy = probe.connect_ex(("127.0.0.1", UI_PORT)) == 0
    text = f"port {UI_PORT} is taken; use shift-assets ui --port" if busy else f"port {UI_PORT} is free"
    return Finding("note" if busy else "ok", "ui", text)
