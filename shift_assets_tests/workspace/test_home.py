"""Laws of the home: made once, kept, opened with a clear message, growing at its end."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster import DagsterInvalidConfigError

from shift_assets.settings.config_file import ConfigError
from shift_assets.settings.root import load_settings
from shift_assets.workspace import home as homes
from shift_assets_tests.workspaces import FIRST_DAY, new_workspace

LAST_DAY = FIRST_DAY + timedelta(days=9)


def test_a_workspace_is_made_with_everything_in_its_home(tmp_path: Path) -> None:
    """Folders, source, settings and the Dagster instance lie in the home; the key's folder is closed to others."""
    workspace = homes.create(tmp_path / "shop", "online_retail_ii")
    home = workspace.settings.home
    for folder in ("landing/events", "landing/items", "landing/users", "lake", "bi", "models", "dagster"):
        assert (home / folder).is_dir()
    assert (home / "privacy").stat().st_mode & 0o077 == 0
    assert homes.open_workspace(home).source == workspace.source


def test_making_it_again_keeps_what_a_person_wrote(tmp_path: Path) -> None:
    """Settings survive a second init; another source is refused, and nothing is changed by the attempt."""
    new_workspace(tmp_path)
    settings = tmp_path / "settings.yaml"
    settings.write_text(settings.read_text() + "\nseed: 7\n")
    assert new_workspace(tmp_path).settings.seed == 7
    before = (tmp_path / "source.yaml").read_bytes()
    with pytest.raises(ConfigError, match="holds another source"):
        homes.create(tmp_path, "userbehavior")
    assert (tmp_path / "source.yaml").read_bytes() == before


def test_a_source_that_cannot_be_read_makes_nothing(tmp_path: Path) -> None:
    """A wrong source leaves no half-made home."""
    with pytest.raises(ConfigError):
        homes.create(tmp_path / "shop", tmp_path / "missing.yaml")
    assert not (tmp_path / "shop").exists()


def test_a_folder_that_is_no_workspace_is_reported_with_the_command_that_makes_one(tmp_path: Path) -> None:
    """Opening names the folder, init, and the shipped sources."""
    with pytest.raises(ConfigError, match=r"is no installation: .*shift-assets init --home .*online_retail_ii"):
        homes.open_workspace(tmp_path)


def test_an_unset_calendar_becomes_the_landed_days(tmp_path: Path) -> None:
    """Deliveries that are old, or ahead of the clock, close the calendar; recent ones leave it open to grow."""
    old, live, ahead = (homes.create(tmp_path / name, "online_retail_ii") for name in ("old", "live", "ahead"))
    closed = homes.extend_calendar(old, FIRST_DAY, LAST_DAY, today=LAST_DAY + timedelta(days=31)).settings.calendar
    assert (closed.first_day, closed.last_day) == (FIRST_DAY, LAST_DAY)
    grows = homes.extend_calendar(live, FIRST_DAY, LAST_DAY, today=LAST_DAY + timedelta(days=30)).settings.calendar
    assert (grows.first_day, grows.last_day) == (FIRST_DAY, None)
    fixed = homes.extend_calendar(ahead, FIRST_DAY, LAST_DAY, today=LAST_DAY - timedelta(days=1)).settings.calendar
    assert fixed.last_day == LAST_DAY


def test_a_set_calendar_grows_at_its_end_only(tmp_path: Path) -> None:
    """A later day extends it; an earlier one leaves it, because the state chain would lose its beginning."""
    workspace = new_workspace(tmp_path)
    later = homes.extend_calendar(workspace, FIRST_DAY, LAST_DAY + timedelta(days=5), today=LAST_DAY)
    assert later.settings.calendar.last_day == LAST_DAY + timedelta(days=5)
    earlier = homes.extend_calendar(later, FIRST_DAY - timedelta(days=5), LAST_DAY, today=LAST_DAY)
    assert earlier.settings.calendar == later.settings.calendar
    assert load_settings(tmp_path).calendar == later.settings.calendar


def test_a_calendar_that_has_caught_up_with_the_clock_is_open(tmp_path: Path) -> None:
    """An old export closes the calendar; once its shop delivers day by day, the calendar grows by itself."""
    workspace = new_workspace(tmp_path)
    last = LAST_DAY + timedelta(days=2)
    followed = homes.follow(workspace, [last], today=last + timedelta(days=1)).settings.calendar
    assert (followed.first_day, followed.last_day) == (FIRST_DAY, None)


def test_days_that_continue_the_calendar_are_followed(tmp_path: Path) -> None:
    """Each day may lie a month after the one before; what comes after a longer gap, or is not over, is not followed."""
    workspace, month = new_workspace(tmp_path), timedelta(days=homes.FOLLOWED_GAP_DAYS)
    today = LAST_DAY + 10 * month
    days = [LAST_DAY + 2 * month, LAST_DAY + month, LAST_DAY + 3 * month + timedelta(days=1), today]
    assert homes.follow(workspace, days, today).settings.calendar.last_day == LAST_DAY + 2 * month
    assert homes.follow(workspace, [LAST_DAY + timedelta(days=1)], LAST_DAY + timedelta(days=1)) is workspace


def test_making_an_installation_again_keeps_its_grown_calendar(tmp_path: Path) -> None:
    """The demo called again does not close its calendar before the days that came since."""
    grown = homes.extend_calendar(new_workspace(tmp_path), FIRST_DAY, LAST_DAY + timedelta(days=5), today=LAST_DAY)
    assert new_workspace(tmp_path).settings.calendar == grown.settings.calendar


def test_growing_keeps_every_other_line_of_the_settings(tmp_path: Path) -> None:
    """Comments and other keys of the file stay as they are."""
    workspace = new_workspace(tmp_path)
    file = tmp_path / "settings.yaml"
    file.write_text(file.read_text() + "\n# mine\nseed: 7\n")
    before = file.read_text().splitlines()
    homes.extend_calendar(workspace, FIRST_DAY, LAST_DAY + timedelta(days=1), today=LAST_DAY)
    changed = [(old, new) for old, new in zip(before, file.read_text().splitlines(), strict=True) if old != new]
    assert changed == [("  last_day: 2026-03-10", "  last_day: 2026-03-11")]


def test_a_calendar_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    """Where the file writes its calendar otherwise, the message says what to add."""
    workspace = new_workspace(tmp_path)
    (tmp_path / "settings.yaml").write_text("calendar: {first_day: 2026-03-01, last_day: 2026-03-10}\n")
    with pytest.raises(ConfigError, match=r"settings\.yaml: add `calendar:` with `  last_day: 2026-03-15`"):
        homes.extend_calendar(workspace, FIRST_DAY, date(2026, 3, 15), today=LAST_DAY)


def test_the_instance_file_makes_an_instance_without_telemetry(tmp_path: Path) -> None:
    """dagster.yaml of the home loads: queued runs, one writer of the lake, run monitoring, nothing sent anywhere."""
    home = new_workspace(tmp_path).settings.home
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        assert not instance.telemetry_enabled
        assert instance.run_monitoring_enabled
        limits = instance.get_concurrency_config().run_queue_config
        assert limits is not None
        assert limits.max_concurrent_runs == 2
        assert limits.tag_concurrency_limits == [{"key": "shift/writes", "value": "lake", "limit": 1}]


def test_unknown_keys_of_the_instance_file_are_refused(tmp_path: Path) -> None:
    """A typo in dagster.yaml stops at the start and names the key."""
    home = new_workspace(tmp_path).settings.home
    file = home / "dagster" / "dagster.yaml"
    file.write_text(file.read_text() + "\nrun_monitorring: {enabled: true}\n")
    with (
        pytest.raises(DagsterInvalidConfigError, match="run_monitorring"),
        dg.DagsterInstance.from_config(str(file.parent)),
    ):
        pass


def test_the_environment_moves_the_instance_to_postgres(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With SHIFT_DAGSTER_POSTGRES_URL the file names the variable, never the address with its password."""
    monkeypatch.setenv("SHIFT_DAGSTER_POSTGRES_URL", "postgresql+psycopg2://user:secret@host/dagster")
    home = new_workspace(tmp_path).settings.home
    text = (home / "dagster" / "dagster.yaml").read_text()
    assert "secret" not in text
    content = yaml.safe_load(text)
    assert content["storage"] == {"postgres": {"postgres_url": {"env": "SHIFT_DAGSTER_POSTGRES_URL"}}}
    assert "event_log_storage" not in content


def test_an_address_of_postgres_without_its_driver_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to write and does not repeat the password."""
    monkeypatch.setenv("SHIFT_DAGSTER_POSTGRES_URL", "postgresql://user:secret@host/dagster")
    with pytest.raises(ConfigError, match=r"write postgresql\+psycopg2://") as refused:
        new_workspace(tmp_path)
    assert "secret" not in str(refused.value)
