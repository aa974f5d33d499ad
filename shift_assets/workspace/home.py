"""The home folder of an installation: how it is made, opened, and how its calendar grows."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from datetime import date
from importlib.resources import files
from pathlib import Path

import yaml

from shift_assets.ingest.source.shipped import SHIPPED, load_source
from shift_assets.settings.config_file import ConfigError
from shift_assets.settings.root import DEFAULT_HOME, load_settings
from shift_assets.workspace.workspace import Workspace

POSTGRES_URL = "SHIFT_DAGSTER_POSTGRES_URL"
POSTGRES_SCHEME = "postgresql+psycopg2://"
"""With the driver that the extra `postgres` installs: without it SQLAlchemy 2.1 looks for another one."""

_MOVED_EVENT_LOG = "shift_assets.resources.event_log"
"""Where version 0.1.0 had the class that `dagster.yaml` names; Dagster cannot load the instance with it."""

LIVE_DAYS = 30
"""A shop whose newest day is at most that old is live."""
FOLLOWED_GAP_DAYS = 31
"""Days without a delivery that the calendar passes over by itself; `land` and `run --to` pass over any number."""

_SETTINGS_HEAD = """\
# Settings of this installation. Every key, its default and meaning: docs/reference/settings.md.
# Any key can be set by environment: SHIFT_ENGINE=embedded, SHIFT_MODEL__DEVICE=cpu.

calendar:
  # Days that the installation covers; set by the first `land` or `run`. last_day null: grows with the clock;
  # a date: moves on with what is landed or run.
  first_day: null
  last_day: null
"""


def home_from_environment() -> Path:
    """`SHIFT_HOME`, or `.shift` in the working folder."""
    return Path(os.environ.get("SHIFT_HOME") or DEFAULT_HOME)


def create(home: Path, source: str | Path, first_day: date | None = None, last_day: date | None = None) -> Workspace:
    """Makes the folders, `settings.yaml` and `source.yaml` of an installation; keeps settings that are there.

    A calendar that is set keeps its end: it may have moved on.
    Raises ConfigError when the source cannot be read, or the home has another source already.
    """
    load_source(source)
    shipped = files("shift_assets") / "sources"
    text = ((shipped / f"{source}.yaml") if str(source) in SHIPPED else Path(source)).read_bytes()
    target = home / "source.yaml"
    if target.exists() and target.read_bytes() != text:
        raise ConfigError(f"{target} holds another source; choose another --home, or edit that file")
    for folder in ("landing/events", "landing/items", "landing/users", "lake", "bi", "models", "dagster", "privacy"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    (home / "privacy").chmod(0o700)
    target.write_bytes(text)
    settings = home / "settings.yaml"
    grown = settings.exists() and load_settings(home).calendar.first_day is not None
    if not settings.exists():
        recommended = shipped / "settings" / f"{source}.yaml"
        more = "\n" + recommended.read_text(encoding="utf-8") if recommended.is_file() else ""
        settings.write_text(_SETTINGS_HEAD + more, encoding="utf-8")
    asked = {"first_day": first_day, "last_day": None if grown else last_day}
    _write_calendar(settings, {name: day for name, day in asked.items() if day})
    write_instance_file(home)
    return open_workspace(home)


def open_workspace(home: Path) -> Workspace:
    """Return the installation at `home`; an instance file that only an older version can load is written again.

    Raises:
        ConfigError: something is missing; the message names the command that makes it.
    """
    home = home.resolve()
    source = home / "source.yaml"
    if not source.exists():
        raise ConfigError(
            f"{home} is no installation: {source.name} is missing; make one with "
            f"`shift-assets init --home {home} --source NAME_OR_YAML` (shipped: {', '.join(sorted(SHIPPED))})"
        )
    workspace = Workspace(load_settings(home), load_source(source))
    instance_file = home / "dagster" / "dagster.yaml"
    if instance_file.exists() and _MOVED_EVENT_LOG in instance_file.read_text(encoding="utf-8"):
        write_instance_file(home)
    return workspace


def workspace_from_environment(home: Path) -> Workspace:
    """The installation at `home`, or the shipped sample source where there is none yet, so that definitions load."""
    if (home / "source.yaml").exists():
        return open_workspace(home)
    return Workspace(load_settings(home), load_source("online_retail_ii"))


def extend_calendar(workspace: Workspace, first: date, last: date, today: date) -> Workspace:
    """The platform with a calendar that holds `first` … `last`.

    A calendar that was never set becomes that range. A set calendar grows at its end only: an earlier first day would
    leave the state chain without its beginning, so a person sets it. Where `last` is recent (within LIVE_DAYS before
    `today`), the end is left open, so that a live shop's calendar grows by itself.
    """
    calendar = workspace.settings.calendar
    days: dict[str, date | None] = {"last_day": None if 0 <= (today - last).days <= LIVE_DAYS else last}
    if calendar.first_day is None:
        days["first_day"] = first
    elif calendar.last_day is None or last <= calendar.last_day:
        return workspace
    _write_calendar(workspace.settings.home / "settings.yaml", days)
    return open_workspace(workspace.settings.home)


def follow(workspace: Workspace, landed: Iterable[date], today: date) -> Workspace:
    """The platform with a calendar that has moved on to the landed days which continue it.

    Such a day is over, and lies at most FOLLOWED_GAP_DAYS after the one before: a folder with a wrong year must not
    ask for years of empty days.
    """
    first, end = workspace.settings.calendar.first_day, workspace.settings.calendar.last_day
    if first is None or end is None:
        return workspace
    for day in sorted(landed):
        if end < day < today and (day - end).days <= FOLLOWED_GAP_DAYS:
            end = day
    return extend_calendar(workspace, first, end, today)


def _write_calendar(settings_file: Path, days: Mapping[str, date | None]) -> None:
    text = settings_file.read_text(encoding="utf-8") if settings_file.exists() else _SETTINGS_HEAD
    for name, day in days.items():
        value = day.isoformat() if day else "null"
        line = rf"(?m)^(  {name}:).*$"
        if not re.search(line, text):
            raise ConfigError(f"{settings_file}: add `calendar:` with `  {name}: {value}`")
        text = re.sub(line, rf"\1 {value}", text, count=1)
    partial = settings_file.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(settings_file)


def write_instance_file(home: Path) -> None:
    """`dagster/dagster.yaml` of the home: the shipped one, and where events are stored.

    That is Postgres where the environment names it, else SQLite files in the home. In a checkout
    `shift_assets/dagster.yaml` is a link to the file at the top; a wheel carries it as a file. Raises ConfigError
    where the address of Postgres has another scheme than POSTGRES_SCHEME.
    """
    address = os.environ.get(POSTGRES_URL)
    if address and not address.startswith(POSTGRES_SCHEME):
        raise ConfigError(f"environment: {POSTGRES_URL}: write {POSTGRES_SCHEME}USER:PASSWORD@HOST/DATABASE")
    text = files("shift_assets").joinpath("dagster.yaml").read_text(encoding="utf-8")
    if address:
        storage: dict[str, object] = {"storage": {"postgres": {"postgres_url": {"env": POSTGRES_URL}}}}
    else:
        storage = {
            "event_log_storage": {
                "module": "shift_assets.storage.event_log",
                "class": "PooledSqliteEventLogStorage",
                "config": {"base_dir": str(home.resolve() / "dagster" / "history" / "runs")},
            }
        }
    target = home / "dagster" / "dagster.yaml"
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    partial.write_text(f"{text}\n{yaml.safe_dump(storage)}", encoding="utf-8")
    partial.replace(target)
