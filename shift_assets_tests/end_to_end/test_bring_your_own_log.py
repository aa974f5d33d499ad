"""A stranger's log, end to end through the commands alone: a format of its own, a YAML, no code.

A German toy shop: semicolon CSV, gzip, local times with a pattern, items with titles but no categories, users as
JSON lines of whom two live where no segment lists, ratings, reviews, and some dirt.
"""

from __future__ import annotations

import gzip
import json
import random
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from shift_assets.cli.app import app, main
from shift_assets.contracts.cleaning import CLEAN_EVENTS, REJECTED_EVENTS
from shift_assets.contracts.registry import TABLES
from shift_assets.privacy.pseudonym import load_key, pseudonym
from shift_assets.workspace.home import open_workspace
from shift_assets_tests.end_to_end.shops import SETTINGS

FIRST, LAST = date(2026, 3, 20), date(2026, 4, 6)
CLOCK_CHANGE = date(2026, 3, 29)
"""The clocks of Berlin jump from 2:00 to 3:00."""
FIRST_RUN = LAST - timedelta(days=1)
WHO = "Jürgen-7"
"""The user who is erased."""
TITLES = {
    "Holz": ("Eisenbahn", "Kran", "Puzzle"),
    "Puppe": ("Emma", "Haus", "Wagen"),
    "Buch": ("Tier", "Farbe", "Lied"),
}
ITEMS = {f"{kind[:2]}-{name}": f"{kind} {name}" for kind, names in TITLES.items() for name in names}
USERS = [WHO, *(f"K-{number}" for number in range(23))]
LANDS = ["Bayern", "Hessen", "Berlin", "Sachsen"]
ACTIONS = ("ansicht", "ansicht", "warenkorb", "kauf", "bewertung", "rezension", "gemerkt")
DIRT = {
    ";Ho-Kran;kauf;06.04.2026 10:00:00;1;2;;": "missing_user",
    "K-1;;kauf;06.04.2026 10:00:00;1;2;;": "missing_item",
    "K-1;Ho-Kran;gelesen;06.04.2026 10:00:01;;;;": "unknown_behavior",
    "K-2;Ho-Kran;gelesen;06.04.2026 10:00:02;;;;": "unknown_behavior",
    "K-1;Ho-Kran;kauf;31.02.2026 10:00:00;1;2;;": "bad_timestamp",
    f"{WHO};Ho-Kran;kauf;gestern;1;2;;": "bad_timestamp",
    "K-1;Ho-Kran;kauf;06.04.2026 10:00:03;1;gratis;;": "bad_value",
    "K-1;Ho-Kran;bewertung;06.04.2026 10:00:04;;;11;": "bad_value",
    f"{WHO};Ho-Kran": "malformed",
    "kaputt": "malformed",
}
UNDATED = sum(reason in ("bad_timestamp", "malformed") for reason in DIRT.values())
SOURCE = """\
source: spielzeug
timezone: Europe/Berlin
events:
  format: csv
  csv: {delimiter: ";"}
  map: {user_id: Kunde, item_id: Artikel, behavior: Aktion, event_ts: Zeit, quantity: Menge, price: Preis,
        rating: Sterne, text: Wort}
  timestamp: {pattern: "%d.%m.%Y %H:%M:%S", zone: Europe/Berlin}
  behaviors: {ansicht: view, gemerkt: favorite, warenkorb: cart, kauf: purchase, bewertung: rating, rezension: review}
  reject: {bad_value: "rating > 5"}
items: {format: csv, csv: {delimiter: ";"}, map: {item_id: Nummer, text: Titel, price: UVP}}
users: {format: jsonl, map: {user_id: nr, land: land, kind: kind}}
segments:
  by: column
  table: users
  column: land
  values: {sued: [Bayern, Hessen], ost: [Berlin, Sachsen]}
  other: rest
categories: {from: text, clusters: 3}
"""


def events() -> Iterator[str]:
    """Every user views, buys and rates each day; the tastes of a third of them change in the last week."""
    dice = random.Random(5)  # noqa: S311
    kinds = list(TITLES)
    for day in range((LAST - FIRST).days + 1):
        for number, user in enumerate(USERS):
            kind = kinds[(number + (1 if number % 3 == 0 and day > 10 else 0)) % 3]
            for second, action in enumerate(dice.sample(ACTIONS, 4)):
                item = f"{kind[:2]}-{dice.choice(TITLES[kind])}"
                moment = datetime.combine(FIRST + timedelta(days=day), datetime.min.time()) + timedelta(
                    hours=dice.randint(0, 1) if second else 23, minutes=dice.randint(0, 59), seconds=second
                )
                bought = (dice.randint(1, 3), "9.95") if action == "kauf" else ("", "")
                stars = dice.randint(1, 5) if action in ("bewertung", "rezension") else ""
                word = '"Schön; ""gern"" wieder"' if action == "rezension" else ""
                yield f"{user};{item};{action};{moment:%d.%m.%Y %H:%M:%S};{bought[0]};{bought[1]};{stars};{word}"


Call = Callable[..., tuple[int, str, str]]


@dataclass(frozen=True)
class Trial:
    """The shop's home, and what it delivered."""

    home: Path
    rows: int
    good: int


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs a command as a shell would: exit code, standard output, standard error."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["shift-assets", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """The home after `init`, `land` and `run`, each called once."""
    folder = tmp_path_factory.mktemp("shop")
    home = folder / "mein Laden"
    good = list(events())
    repeated = good[::97]
    lines = [*good, *repeated, *DIRT]
    random.Random(6).shuffle(lines)  # noqa: S311
    text = "\n".join(["Kunde;Artikel;Aktion;Zeit;Menge;Preis;Sterne;Wort", *lines]) + "\n"
    (folder / "log.csv.gz").write_bytes(gzip.compress(text.encode()))
    titles = "".join(f"{number};{title};12.50\n" for number, title in ITEMS.items())
    (folder / "artikel.csv").write_text("Nummer;Titel;UVP\n" + titles, encoding="utf-8")
    with (folder / "kunden.jsonl").open("w", encoding="utf-8") as file:
        for number, user in enumerate(USERS):
            land = "Liechtenstein" if number in (3, 4) else LANDS[number % 4]
            file.write(json.dumps({"nr": user, "land": land, "kind": number % 9}) + "\n")
    (folder / "shop.yaml").write_text(SOURCE, encoding="utf-8")
    commands = [
        ["init", "--source", folder / "shop.yaml"],
        ["land", folder / "log.csv.gz"],
        ["land", folder / "artikel.csv", "--table", "items"],
        ["land", folder / "kunden.jsonl", "--table", "users"],
        ["run", "--from", FIRST_RUN, "--to", LAST, "--json"],
    ]
    for number, command in enumerate(commands):
        if number == 1:
            settings = home / "settings.yaml"
            settings.write_text(settings.read_text(encoding="utf-8") + SETTINGS, encoding="utf-8")
        result = CliRunner().invoke(app, [*map(str, command), "--home", str(home)], env={"SHIFT_HOME": None})
        assert result.exit_code == 0, result.output
    return Trial(home, len(lines), len(good))


@pytest.fixture
def trial(made: Trial, tmp_path: Path) -> Trial:
    """The same home in a folder of the law's own."""
    shutil.copytree(made.home, tmp_path / "mein Laden")
    return Trial(tmp_path / "mein Laden", made.rows, made.good)


def test_every_delivered_row_is_clean_or_rejected_for_the_planted_reason(made: Trial) -> None:
    lake = open_workspace(made.home).lake
    clean, rejected = lake.read(CLEAN_EVENTS), lake.read(REJECTED_EVENTS)
    assert clean.num_rows + rejected.num_rows == made.rows
    assert clean.num_rows == made.good
    reasons = Counter(rejected["reason"].to_pylist())
    assert reasons == Counter(DIRT.values()) + Counter(duplicate=made.rows - made.good - len(DIRT))


def test_times_segments_categories_and_texts_are_the_shops(made: Trial) -> None:
    """Local times become UTC in winter and summer, unlisted users go to `rest`, categories come from the titles."""
    workspace = open_workspace(made.home)
    rows = workspace.lake.read(CLEAN_EVENTS).to_pylist()
    offsets = {(row["day"], _hours_from_utc(row)) for row in rows}
    assert {hours for day, hours in offsets if day < CLOCK_CHANGE} == {1}
    assert {hours for day, hours in offsets if day == CLOCK_CHANGE} == {1, 2}
    assert {hours for day, hours in offsets if day > CLOCK_CHANGE} == {2}
    segment = {row["user_id"]: row["segment"] for row in rows}
    key = load_key(workspace.settings.privacy)
    for number, user in enumerate(USERS):
        listed = "sued" if number % 4 < 2 else "ost"
        assert segment[pseudonym(key, user)] == ("rest" if number in (3, 4) else listed)
    kinds = {(row["item_id"][:2], row["category"]) for row in rows}
    assert len(kinds) == len({category for _, category in kinds}) == len(TITLES)
    assert {row["text"] for row in rows if row["behavior"] == "review"} == {'Schön; "gern" wieder'}
    assert all(row["rating"] for row in rows if row["behavior"] == "rating")


def _hours_from_utc(row: dict[str, Any]) -> int:
    local = row["event_ts"].astimezone(ZoneInfo("Europe/Berlin"))
    assert local.date() == row["day"]
    return int((local.replace(tzinfo=UTC) - row["event_ts"]).total_seconds() // 3600)


def test_the_reports_agree_with_the_tables(made: Trial, call: Call, tmp_path: Path) -> None:
    """`evaluate`, `quarantine ls`, `export` and `doctor` say what the lake holds."""
    where = ("--home", made.home, "--json")
    code, out, _ = call("evaluate", *where)
    report = json.loads(out)
    lake = open_workspace(made.home).lake
    assert (code, report["first_day"], report["last_day"]) == (0, str(FIRST_RUN), str(LAST))
    assert report["rows_clean"] == lake.read(CLEAN_EVENTS, first_day=FIRST_RUN, last_day=LAST).num_rows
    assert report["recommendations"] > 0

    code, out, _ = call("quarantine", "ls", "--reason", "malformed", *where)
    listed = json.loads(out)
    assert (code, listed["rows"], listed["by_reason"]) == (0, 2, {"malformed": 2})

    code, out, _ = call("export", tmp_path / "aus gabe", "--format", "parquet", "--from", FIRST, "--to", LAST, *where)
    exported = json.loads(out)
    assert code == 0
    assert set(exported["rows"]) == set(TABLES)
    for name, rows in exported["rows"].items():
        assert pq.read_metadata(tmp_path / "aus gabe" / f"{name}.parquet").num_rows == rows
    assert exported["rows"]["clean_events"] == made.good

    code, out, _ = call("doctor", *where)
    assert code == 0
    assert not [finding for finding in json.loads(out) if finding["level"] == "fault"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--from", "2026-04-06", "--to", "2026-04-01"], "--to 2026-04-01 lies before --from 2026-04-06"),
        (["run", "--from", "2026-04-06", "--to", "2026-04-06", "--segment", "west"], "known: sued, ost, rest"),
        (["run", "--from", "2026-01-01", "--to", "2026-01-02"], "set calendar.first_day"),
        (["export", ".", "--from", "2026-04-01", "--to", "2026-04-02"], "add --overwrite"),
        (["export", "x", "--from", "2026-04-01", "--to", "2026-04-02", "--table", "none"], "unknown tables none"),
        (["quarantine", "ls", "--reason", "none"], "'none' is not one of 'malformed'"),
        (["land", __file__], "test_bring_your_own_log.py: the header"),
        (["land", __file__, "--table", "items"], "test_bring_your_own_log.py: the header"),
        (["land", __file__, "--table", "users"], "rows has an id in 'nr'"),
        (["init", "--source", "userbehavior"], "holds another source"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_call_ends_with_2_and_says_what_to_write(
    words: list[str], message: str, made: Trial, call: Call
) -> None:
    code, out, err = call(*words, "--home", made.home)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_a_fixed_source_accepts_rows_and_an_erased_user_stays_out(trial: Trial, call: Call) -> None:
    """After `erase` and a fixed YAML the days are run again: the repaired rows come in, of the user not a byte."""
    before = open_workspace(trial.home)
    who = pseudonym(load_key(before.settings.privacy), WHO)
    assert _holding(trial.home, who, WHO)
    clean = _clean(trial.home)

    code, out, _ = call("erase", "--user", WHO, "--home", trial.home, "--json")
    erasure = json.loads(out)
    assert (code, erasure["rows"]["clean_events"], erasure["days"][0]) == (0, 18 * 4, str(FIRST))
    assert _holding(trial.home, who, WHO) == []

    source = trial.home / "source.yaml"
    source.write_text(source.read_text(encoding="utf-8").replace("ansicht:", "gelesen: click, ansicht:"))
    code, out, _ = call("quarantine", "replay", "--from", FIRST, "--to", LAST, "--home", trial.home, "--json")
    assert (code, sum(part["rows"] for part in json.loads(out))) == (0, 2)

    code, out, err = call("run", "--from", LAST, "--to", LAST, "--home", trial.home, "--json")
    assert code == 0, err
    report = json.loads(out)
    assert report["rows_delivered"] == report["rows_clean"] + sum(report["rows_rejected"].values())
    assert _holding(trial.home, who, WHO) == []
    after = _clean(trial.home)
    assert {row for row in after if row[2] != "click"} == {row for row in clean if row[0] != who}
    assert sum(row[2] == "click" for row in after) == 2

    day = open_workspace(trial.home).lake.read(REJECTED_EVENTS, first_day=LAST, last_day=LAST).to_pylist()
    erased = [row for row in day if row["detail"] == "the user was erased on request"]
    assert len(erased) >= 4
    assert {(row["reason"], row["raw"], row["segment_known"]) for row in erased} == {("missing_user", b"", False)}


def _clean(home: Path) -> set[tuple[object, ...]]:
    columns = ["user_id", "event_id", "behavior", "item_id", "event_ts", "category", "price", "segment"]
    return {tuple(row.values()) for row in open_workspace(home).lake.read(CLEAN_EVENTS).select(columns).to_pylist()}


def _holding(home: Path, *needles: str) -> list[Path]:
    """Files of the home, but landing and privacy, whose stored or decoded bytes hold one of `needles`."""
    found = []
    for path in sorted(home.rglob("*")):
        if not path.is_file() or path.relative_to(home).parts[0] in ("landing", "privacy"):
            continue
        content = path.read_bytes()
        if path.suffix == ".parquet":
            content += repr(pq.ParquetFile(path).read().to_pylist()).encode()
        if any(needle.encode() in content or repr(needle.encode())[2:-1].encode() in content for needle in needles):
            found.append(path)
    return found
