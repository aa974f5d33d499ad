"""Small installations for tests: a home with a calendar, two segments by hash, and deliveries of JSON lines."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

from shift_assets.workspace.home import create
from shift_assets.workspace.workspace import Workspace

FIRST_DAY = date(2026, 3, 1)
SOURCE = """\
source: small_shop
timezone: Asia/Shanghai
events:
  format: jsonl
  map: {user_id: user, item_id: item, category: cat, behavior: action, event_ts: t}
  timestamp: {unit: s}
  behaviors: {pv: view, buy: purchase}
segments: {by: hash, shards: 2}
"""


def new_workspace(home: Path, days: int | None = 10, first_day: date = FIRST_DAY, source: str = SOURCE) -> Workspace:
    """An installation whose calendar holds `days` days from `first_day`; open at the end where `days` is None."""
    home.mkdir(parents=True, exist_ok=True)
    file = home / "delivered-source.yaml"
    file.write_text(source, encoding="utf-8")
    last_day = first_day + timedelta(days=days - 1) if days else None
    return create(home, file, first_day, last_day)


def land_file(
    workspace: Workspace, day: date, text: str = "", name: str = "part.jsonl", *, success: bool = False
) -> Path:
    """Writes a delivery into the day's folder; `text` makes its content different."""
    folder = workspace.settings.landing / "events" / f"day={day.isoformat()}"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text(json.dumps({"user": "u1", "item": "i1", "text": text}) + "\n", encoding="utf-8")
    if success:
        (folder / "_SUCCESS").touch()
    return file
