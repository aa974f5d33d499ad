"""Laws of the command line: help with examples, one clear message for a mistake, JSON that is only JSON."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shlex
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import typer

from shift_assets.cli.app import app
from shift_assets.cli.logs import LOG_FILE
from shift_assets.contracts.interest import INTEREST_SERIES
from shift_assets.contracts.partition import Partition
from shift_assets.settings.root import load_settings
from shift_assets_tests.cli.conftest import Call
from shift_assets_tests.shift.stationary_users import as_series, stationary_users
from shift_assets_tests.workspaces import FIRST_DAY, SOURCE, new_workspace

pytestmark = pytest.mark.slow

COMMANDS = [
    "demo",
    "init",
    "land",
    "run",
    "ui",
    "evaluate",
    "evaluate shifts",
    "evaluate forecasts",
    "simulate",
    "export",
    "erase",
    "doctor",
]
COMMANDS += ["evaluate recommendations", "evaluate sequences", "evaluate reactions"]
COMMANDS += ["quarantine ls", "quarantine replay", "bench shifts"]


def export_file(folder: Path, days: int = 3) -> Path:
    """A bulk export with two events on each of `days` days."""
    start = 1_772_330_400  # 2026-03-01 10:00 in Shanghai
    rows = [
        {"user": f"u{n}", "item": "i1", "cat": "mugs", "action": "pv", "t": start + 86_400 * day + n}
        for day in range(days)
        for n in range(2)
    ]
    file = folder / "export.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_every_command_is_listed_here() -> None:
    """A new command gets its laws."""
    assert set(commands()) == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(call: Call, command: str) -> None:
    """`--help` of each command names the command in an example that can be copied."""
    result = call(*command.split(), "--help")
    assert result.code == 0
    assert "Example: shift-assets " + command in " ".join(result.out.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_a_verbosity(call: Call, command: str) -> None:
    """`--verbose`, `--quiet` and `--debug`."""
    assert {"--verbose", "--quiet", "--debug"} <= set(call(*command.split(), "--help").out.split())


def commands() -> dict[str, Any]:
    """Every command of the tree by its words; a group counts where it can be called by itself."""
    found, groups = {}, {"": typer.main.get_command(app)}
    while groups:
        path, group = groups.popitem()
        for name, command in group.commands.items():  # type: ignore[attr-defined]
            words = f"{path} {name}".strip()
            if hasattr(command, "commands"):
                groups[words] = command
            if getattr(command, "invoke_without_command", True):
                found[words] = command
    return found


@pytest.mark.parametrize("words", COMMANDS)
def test_an_example_is_a_valid_call_on_one_line(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    """What the help shows can be copied off a terminal, and its options and words are right."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "events.csv.gz").touch()
    monkeypatch.setenv("COLUMNS", "80")
    command = commands()[words]
    example = re.search(r"Example: `(shift-assets .*)`", command.help)
    assert example
    assert f"Example: {example[1]}" in call(*words.split(), "--help").out
    arguments = shlex.split(example[1])[1 + len(words.split()) :]
    assert command.make_context(words, arguments)


def test_the_version_is_that_of_the_package(call: Call) -> None:
    assert call("--version").out == f"shift-assets {importlib.metadata.version('shift-assets')}\n"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("shift-assets quar", {"quarantine"}),
        ("shift-assets land --table ", {"events", "items", "users"}),
        ("shift-assets quarantine ls --reason bad_", {"bad_timestamp", "bad_value"}),
    ],
)
def test_shells_complete_commands_and_words(
    call: Call, monkeypatch: pytest.MonkeyPatch, line: str, words: set[str]
) -> None:
    """As bash asks for it: the names of commands, and the words that an option takes."""
    monkeypatch.setenv("_SHIFT_ASSETS_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
    assert set(call().out.split()) == words


def test_nothing_folds_off_a_terminal(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that a program or a search reads is one line, however long, also where COLUMNS says 80."""
    monkeypatch.setenv("COLUMNS", "80")
    home = new_workspace(tmp_path / ("long_" * 30)).settings.home
    assert f"home: {home}, source small_shop" in call("doctor", "--home", home).out.splitlines()[0]
    refused = call("quarantine", "ls", "--home", home, "--reason", "hunger").err.splitlines()
    assert "'malformed', 'missing_user'" in refused[0]
    assert "'unreadable_file'" in refused[0]
    short = call("run", "--home", home, "--from", "2026-3-1", "--to", "2026-03-01").err
    assert "'2026-3-1' does not match YYYY-MM-DD" in short


def test_simulate_prints_what_it_wrote_and_init_finds_it(call: Call, tmp_path: Path) -> None:
    """A summary in sentences, no repr; its last line is a call, and so is the last line of that call."""
    made = call("simulate", tmp_path / "shop", "--users", 20, "--items", 40, "--days", 3)
    assert made.code == 0, made.err
    assert "Summary(" not in made.out
    assert re.match(r"[\d,]+ events of 20 users on 3 days, 2026-01-01 … 2026-01-03, as [\d,]+ rows in", made.out)
    following = made.out.splitlines()[-1].removeprefix("next: shift-assets ")
    started = call(*shlex.split(following))
    assert started.code == 0, started.err
    assert "3 days are landed, 2026-01-01 … 2026-01-03" in started.out
    assert started.out.splitlines()[-1].startswith("shift-assets run --from 2026-01-01 --to 2026-01-03")


def test_quiet_shows_results_only_and_the_log_has_the_rest(call: Call, tmp_path: Path) -> None:
    """Progress is printed on standard error unless --quiet; the log of the home has it in any case."""
    home = new_workspace(tmp_path / "home").settings.home
    file = export_file(tmp_path)
    loud, quiet = call("land", file, "--home", home), call("land", file, "--home", home, "--quiet")
    assert "landed 6 rows in 3 day folders" in loud.err
    assert quiet.err == ""
    assert loud.out == quiet.out
    assert (home / LOG_FILE).read_text().count("landed 6 rows in 3 day folders") == 2


def test_a_users_mistake_is_one_message_and_exit_code_2(call: Call, tmp_path: Path) -> None:
    """Whatever is wrong with a call, the message names it; there is no traceback and nothing on stdout."""
    home = new_workspace(tmp_path / "home").settings.home
    wrong_source = tmp_path / "wrong.yaml"
    wrong_source.write_text(SOURCE.replace("timezone", "timezon"))
    days = ("--from", FIRST_DAY, "--to", FIRST_DAY)
    mistakes = [
        (("run", "--home", tmp_path / "none", *days), "is no installation"),
        (("doctor", "--hoem", home), "No such option"),
        (("init", "--home", tmp_path / "new", "--source", wrong_source), "did you mean 'timezone'"),
        (
            ("init", "--home", tmp_path / "new", "--source", "no_such"),
            "no shipped source of that name (shipped: online_retail_ii",
        ),
        (("init", "--home", home, "--source", "userbehavior"), "holds another source"),
        (("run", "--home", home, *days, "--segment", "moon"), "known: shard-0, shard-1"),
        (("run", "--home", home, *days, "--only", "moons"), "--only moons: no such table; known: "),
        (("run", "--home", home, "--from", FIRST_DAY + timedelta(days=1), "--to", FIRST_DAY), "lies before --from"),
        (("run", "--home", home, "--from", "2026-02-01", "--to", FIRST_DAY), "before the calendar's first day"),
        (("run", "--home", home, "--from", "1.3.2026", "--to", FIRST_DAY), "does not match"),
        (("land", tmp_path / "missing.csv", "--home", home), "missing.csv' does not exist"),
        (("land", wrong_source, "--home", home, "--table", "fish"), "'fish' is not one of 'events', 'items', 'users'"),
        (("evaluate", "--home", home), "nothing to evaluate yet"),
        (("evaluate", "shifts", "--home", home), "no interest series"),
        (("evaluate", "shifts", "--home", home, "--step", "month"), "'month' is not one of 'hour', 'day', 'week'"),
        (("evaluate", "forecasts", "--home", home), "no segment has enough users in 20 weeks"),
        (
            ("export", tmp_path / "x", "--home", home, *days, "--format", "xls"),
            "'xls' is not one of 'duckdb'",
        ),
        (("export", tmp_path / "x", "--home", home, *days, "--table", "nope"), "unknown tables nope"),
        (("simulate", tmp_path / "simulated", "--users", 0), "--users"),
        (("frobnicate",), "No such command"),
    ]
    for arguments, message in mistakes:
        result = call(*arguments)
        assert (result.code, result.out) == (2, ""), arguments
        assert message in result.err, arguments
        assert "Traceback" not in result.err


def test_settings_with_a_mistake_are_reported_by_every_command(call: Call, tmp_path: Path) -> None:
    """File, line and key stand in the message of whatever command reads them."""
    home = new_workspace(tmp_path / "home").settings.home
    (home / "settings.yaml").write_text("sead: 1\n")
    for arguments in (("run", "--from", FIRST_DAY, "--to", FIRST_DAY), ("erase", "--user", "1"), ("quarantine", "ls")):
        result = call(*arguments, "--home", home)
        assert result.code == 2
        assert "settings.yaml:1: sead: unknown key; did you mean 'seed'?" in result.err
    assert call("doctor", "--home", home).code == 1


def test_landing_sets_the_calendar_and_later_files_extend_it(call: Call, tmp_path: Path) -> None:
    """init, then land: the calendar holds the landed days; the report is one JSON object of rows per day."""
    source = tmp_path / "small.yaml"
    source.write_text(SOURCE)
    home = tmp_path / "home"
    assert call("init", "--home", home, "--source", source).code == 0
    assert load_settings(home).calendar.first_day is None
    result = call("land", export_file(tmp_path), "--home", home, "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out) == {(FIRST_DAY + timedelta(days=n)).isoformat(): 2 for n in range(3)}
    calendar = load_settings(home).calendar
    assert calendar.first_day == FIRST_DAY
    result = call("land", export_file(tmp_path, days=5), "--home", home)
    assert result.code == 0
    assert f"the calendar covers {FIRST_DAY} … " in result.out
    grown = load_settings(home).calendar
    assert grown.first_day == FIRST_DAY
    assert grown.last_day is None or grown.last_day == FIRST_DAY + timedelta(days=4)


@pytest.mark.parametrize("command", [("doctor",), ("quarantine", "ls")])
def test_json_reports_are_json_and_nothing_else(call: Call, tmp_path: Path, command: tuple[str, ...]) -> None:
    """Standard output of `--json` parses as a whole."""
    home = new_workspace(tmp_path / "home").settings.home
    json.loads(call(*command, "--home", home, "--json").out)


def test_the_installed_module_reports_a_mistake_without_a_traceback(tmp_path: Path) -> None:
    """`python -m shift_assets` is the same command: exit code 2, one line of error."""
    found = subprocess.run(
        [sys.executable, "-m", "shift_assets", "evaluate", "--home", tmp_path],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith("error ")
    assert "Traceback" not in found.stderr


def test_evaluate_shifts_scores_every_detector_on_the_log_at_hand(call: Call, tmp_path: Path) -> None:
    """The report is one JSON object, and the scores of users lie in the home."""
    workspace = new_workspace(tmp_path / "home")
    home, segment = workspace.settings.home, workspace.source.segment_keys[0]
    series = as_series(stationary_users(70, seed=3, tastes=20), segment)
    found = {Partition(day, segment) for day in series["day"].to_pylist()}
    series = series.sort_by("day")
    workspace.lake.publish(INTEREST_SERIES, series, workspace.lake.claim(INTEREST_SERIES, sorted(found), "test"))
    result = call("evaluate", "shifts", "--home", home, "--seeds", 1, "--json")
    assert result.code == 0, result.err
    report = json.loads(result.out)
    assert report["segments"] == [segment]
    detectors = {row["detector"] for row in report["qualities"]}
    for detector in detectors:
        assert f"unspliced, 100% kept: {detector}\n" in result.err, "progress names what is scored, also with --json"
    assert {"learned", "posterior", "e_value", "js_distance"} <= detectors
    scores = pq.read_table(report["scores"])
    assert set(scores.column_names) == set(report["columns"])
    assert set(scores["detector"].to_pylist()) == detectors


def test_evaluate_forecasts_shows_its_progress_apart_from_the_report(call: Call, tmp_path: Path) -> None:
    """Every fit is a line on standard error; the LSTM is fitted where it is named, and `--quiet` shows no line."""
    workspace = new_workspace(tmp_path / "home")
    home, segment = workspace.settings.home, workspace.source.segment_keys[0]
    settings = home / "settings.yaml"
    settings.write_text(settings.read_text(encoding="utf-8") + "forecast: {history_weeks: 6, training_weeks: 6}\n")
    series = as_series(stationary_users(40, seed=3), segment).sort_by("day")
    found = sorted({Partition(day, segment) for day in series["day"].to_pylist()})
    workspace.lake.publish(INTEREST_SERIES, series, workspace.lake.claim(INTEREST_SERIES, found, "test"))
    result = call("evaluate", "forecasts", "--home", home, "--json")
    assert result.code == 0, result.err
    models = [row["model"] for row in json.loads(result.out)["models"]]
    assert models == ["last_week", "four_week_mean", "linear", "forest"]
    for model in models:
        assert re.search(rf"^segment {segment}, weeks up to \d{{4}}-\d\d-\d\d: {model}$", result.err, re.MULTILINE)
    result = call("evaluate", "forecasts", "--home", home, "--json", "--members", "lstm", "--quiet")
    assert [row["model"] for row in json.loads(result.out)["models"]] == ["last_week", "four_week_mean", "lstm"]
    assert result.err == ""


def land_visits(call: Call, folder: Path, home: Path, hours: int) -> None:
    """Land eight users' visits of four days, on each of them at `hours` hours of the day."""
    start = 1_772_330_400  # 2026-03-01 10:00 in Shanghai
    rows = [
        {"user": f"u{user}", "item": "i1", "cat": f"c{(user + hour) % 3}", "action": "pv", "t": start + 3600 * hour}
        for user in range(8)
        for hour in (24 * day + number for day in range(4) for number in range(hours))
    ]
    file = folder / "visits.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    landed = call("land", file, "--home", home)
    assert landed.code == 0, landed.err


def test_evaluate_shifts_by_the_hour(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four days of five hours are twenty active hours; splice points are reported by their day."""
    monkeypatch.setenv("SHIFT_ENGINE", "embedded")
    home = new_workspace(tmp_path / "home", source=SOURCE.replace("shards: 2", "shards: 1")).settings.home
    land_visits(call, tmp_path, home, hours=5)
    result = call("evaluate", "shifts", "--home", home, "--step", "hour", "--seeds", 1, "--active-days", 3, "--json")
    assert result.code == 0, result.err
    scores = pq.read_table(json.loads(result.out)["scores"])
    assert set(scores["active_days"].to_pylist()) == {1, 2, 3}
    days = [FIRST_DAY + timedelta(days=number) for number in range(4)]
    assert set(scores["cut_day"].to_pylist()) <= set(days)


def test_evaluate_shifts_by_the_hour_needs_times(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events that carry days only are refused, with what to map or choose instead."""
    monkeypatch.setenv("SHIFT_ENGINE", "embedded")
    home = new_workspace(tmp_path / "home").settings.home
    land_visits(call, tmp_path, home, hours=1)
    result = call("evaluate", "shifts", "--home", home, "--step", "hour")
    assert result.code == 2
    assert "the 32 events all happened at one time of day: events.map.event_ts" in result.err
    assert "--step day" in result.err
