"""The home folder of an installation: how it is made, opened, and how its calendar grows."""

from __future__ import annotations

import os
import re
from datetime import date
from importlib.resources import files
from pathlib import Path

import yaml

from shift_assets.configfile import ConfigError
from shift_assets.ingest.source import SHIPPED, load_source
from shift_assets.resources.platform import Platform
from shift_assets.settings import load_settings

POSTGRES_URL = "SHIFT_DAGSTER_POSTGRES_URL"
POSTGRES_SCHEME = "postgresql+psycopg2://"
"""With the driver that the extra `postgres` installs: without it SQLAlchemy 2.1 looks for another one."""

_SETTINGS_HEAD = """\
# Settings of this installation. Every key and its default: shift_assets/settings.py.
# Any key can be set by environment: SHIFT_ENGINE=embedded, SHIFT_MODEL__DEVICE=cpu.

calendar:
  # Days that the installation covers; set by the first `land` or `run`. last_day null: grows with the clock.
  first_day: null
  last_day: null
"""


def create(home: Path, source: str | Path, first_day: date | None = None, last_day: date | None = None) -> Platform:
    """Makes the folders, `settings.yaml` and `source.yaml` of an installation; keeps settings that are there.

    Raises ConfigError when the source cannot be read, or another source stands there already.
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
    if not settings.exists():
        recommended = shipped / "settings" / f"{source}.yaml"
        more = "\n" + recommended.read_text(encoding="utf-8") if recommended.is_file() else ""
        settings.write_text(_SETTINGS_HEAD + more, encoding="utf-8")
    if first_day or last_day:
        _write_calendar(settings, first_day, last_day)
    write_instance_file(home)
    return open_platform(home)


def open_platform(home: Path) -> Platform:
    """The installation at `home`; raises ConfigError naming what is missing and the command that makes it."""
    home = home.resolve()
    source = home / "source.yaml"
    if not source.exists():
        raise ConfigError(
            f"{home} is no installation: {source.name} is missing; make one with "
            f"`shift-assets init --home {home} --source NAME_OR_YAML` (shipped: {', '.join(sorted(SHIPPED))})"
        )
    return Platform(load_settings(home), load_source(source))


def platform_from_environment(home: Path) -> Platform:
    """The installation at `home`, or the shipped sample source where there is none yet, so that definitions load."""
    if (home / "source.yaml").exists():
        return open_platform(home)
    return Platform(load_settings(home), load_source("online_retail_ii"))


def cover(platform: Platform, first: date, last: date, today: date) -> Platform:
    """The platform with a calendar that holds `first` … `last`.

    A calendar that was never set becomes that range; it stays open at the end when `last` is recent (within 30
    days before `today`), so that a live shop's calendar grows by itself. A set calendar grows at its end only: an
    earlier first day would leave the state chain without its beginning, so a person sets it.
    """
    calendar = platform.settings.calendar
    settings_file = platform.settings.home / "settings.yaml"
    if calendar.first_day is None:
        live = 0 <= (today - last).days <= 30
        _write_calendar(settings_file, first, None if live else last)
    elif calendar.last_day is not None and last > calendar.last_day:
        _write_calendar(settings_file, None, last)
    else:
        return platform
    return open_platform(platform.settings.home)


def _write_calendar(settings_file: Path, first: date | None, last: date | None) -> None:
    text = settings_file.read_text(encoding="utf-8") if settings_file.exists() else _SETTINGS_HEAD
    for name, value in (("first_day", first), ("last_day", last)):
        if value is None:
            continue
        line = rf"(?m)^(  {name}:).*$"
        if not re.search(line, text):
            raise ConfigError(f"{settings_file}: add `calendar:` with `  {name}: {value.isoformat()}`")
        text = re.sub(line, rf"\1 {value.isoformat()}", text, count=1)
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
                "module": "shift_assets.resources.event_log",
                "class": "PooledSqliteEventLogStorage",
                "config": {"base_dir": str(home.resolve() / "dagster" / "history" / "runs")},
            }
        }
    target = home / "dagster" / "dagster.yaml"
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    partial.write_text(f"{text}\n{yaml.safe_dump(storage)}", encoding="utf-8")
    partial.replace(target)
