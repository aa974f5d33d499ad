"""What an installation needs, looked at one by one."""

from __future__ import annotations

import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shift_assets.configfile import ConfigError
from shift_assets.contracts import TABLES
from shift_assets.home import open_platform
from shift_assets.ingest.engines import EngineError, java_version, resolve_engine
from shift_assets.ingest.files import list_landing
from shift_assets.resources import bi_files
from shift_assets.resources.platform import Platform

UI_PORT = 3000
_ENOUGH_BYTES = 2 * 1024**3


@dataclass(frozen=True)
class Finding:
    """One thing looked at: `ok`, worth a `note`, or a `fault` that keeps the platform from working."""

    level: Literal["ok", "note", "fault"]
    subject: str
    text: str


def examine(home: Path) -> list[Finding]:
    """Everything that a first failure is usually about; looks only, changes nothing."""
    try:
        platform = open_platform(home)
    except ConfigError as error:
        return [Finding("fault", "home", str(error))]
    return [
        Finding("ok", "home", f"{platform.settings.home}, source {platform.source.name}"),
        _calendar(platform),
        _engine(platform),
        _disk(platform),
        _key(platform),
        _landing(platform),
        _lake(platform),
        *_bi(platform),
        _port(),
    ]


def _calendar(platform: Platform) -> Finding:
    calendar = platform.settings.calendar
    if calendar.first_day is None:
        return Finding("note", "calendar", "not set yet; the first `shift-assets land` or `run` sets it")
    return Finding(
        "ok", "calendar", f"{calendar.first_day} … {calendar.last_day or 'open'}, {platform.source.timezone}"
    )


def _engine(platform: Platform) -> Finding:
    java = java_version()
    try:
        engine = resolve_engine(platform.settings.engine, platform.settings.spark_remote)
    except EngineError as error:
        return Finding("fault", "engine", str(error))
    return Finding("ok", "engine", f"{engine} ({f'Java {java}' if java else 'no Java'})")


def _disk(platform: Platform) -> Finding:
    free = shutil.disk_usage(platform.settings.home).free
    level: Literal["ok", "note"] = "ok" if free > _ENOUGH_BYTES else "note"
    return Finding(level, "disk", f"{free / 1024**3:.1f} GiB free")


def _key(platform: Platform) -> Finding:
    if os.environ.get("SHIFT_PRIVACY_KEY"):
        return Finding("ok", "privacy key", "from SHIFT_PRIVACY_KEY")
    open_to_others = [path for path in platform.settings.privacy.iterdir() if path.stat().st_mode & 0o077]
    if open_to_others:
        return Finding("fault", "privacy key", f"others may read {open_to_others[0]}; chmod 600 it")
    return Finding("ok", "privacy key", f"kept in {platform.settings.privacy}, or made there by the first run")


def _landing(platform: Platform) -> Finding:
    listing = list_landing(platform.settings.landing)
    if listing.ignored:
        first = listing.ignored[0]
        return Finding("note", "landing", f"{len(listing.ignored)} entries ignored, such as {first.path}: {first.why}")
    days = {file.folder_day for file in listing.files}
    return Finding("ok" if days else "note", "landing", f"{len(listing.files)} files in {len(days)} day folders")


def _lake(platform: Platform) -> Finding:
    standing = {name: len(platform.lake.published(table)) for name, table in TABLES.items()}
    filled = {name: count for name, count in standing.items() if count}
    missing = [path for name in filled for path in platform.lake.files(TABLES[name]).values() if not path.exists()]
    if missing:
        return Finding("fault", "lake", f"{len(missing)} files are gone, such as {missing[0]}; run their days again")
    return Finding("ok", "lake", f"{sum(filled.values()):,} partitions of {len(filled)} tables")


def _bi(platform: Platform) -> list[Finding]:
    findings = []
    for file in bi_files.BI_FILES:
        current = bi_files.current(platform.settings.bi, file)
        text = f"generation {current.generation}, as of {current.as_of_day}" if current else "not published yet"
        findings.append(Finding("ok" if current else "note", file.name, text))
    return findings


def _port() -> Finding:
    with socket.socket() as probe:
        busy = probe.connect_ex(("127.0.0.1", UI_PORT)) == 0
    text = f"port {UI_PORT} is taken; use shift-assets ui --port" if busy else f"port {UI_PORT} is free"
    return Finding("note" if busy else "ok", "ui", text)
