from __future__ import annotations

import gzip
import json
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings

from shift_assets.ingest import landing as landing_module
from shift_assets.ingest.landing import land, land_items, land_users
from shift_assets.ingest.readers.opened_file import UnreadableFileError, open_source_file
from shift_assets.ingest.readers.source_files import list_landing, list_source_files
from shift_assets.ingest.rows.parser import FileTally, parse_file
from shift_assets_tests.ingest.dirty_data import (
    CSV_SOURCE,
    DAY,
    JSON_SOURCE,
    NOON,
    context_of,
    csv_files,
    good_line,
    json_line_files,
    source_of,
)

pytestmark = pytest.mark.slow

ALL_DAYS = (date(1980, 1, 1), date(2101, 1, 1))


def row_outcomes(home: Path, text: str) -> Counter[tuple[bytes, str | None]]:
    """Raw bytes and reason of every row in the landing, whatever its folder."""
    context = context_of(home, source_of(home, text), lateness_days=50_000)
    found: Counter[tuple[bytes, str | None]] = Counter()
    for file in list_source_files(home, *ALL_DAYS):
        tally = FileTally()
        for batch in parse_file(context, file, tally):
            found.update((row["raw"], row["reason"]) for row in batch.to_pylist())
    return found


def whole(home: Path, text: str, content: bytes) -> Counter[tuple[bytes, str | None]]:
    """The same for the export itself, as one file in a folder after all of its days."""
    folder = home / "events" / "day=2100-01-01"
    folder.mkdir(parents=True)
    (folder / "export").write_bytes(content)
    return row_outcomes(home, text)


_slow = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(json_line_files())
@_slow
def test_a_split_json_export_has_the_rows_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    """Landing changes no row's bytes and no row's outcome, and loses none."""
    home = tmp_path_factory.mktemp("home")
    export = home / "export.jsonl"
    export.write_bytes(content)
    expected = whole(home / "whole", JSON_SOURCE, content)
    try:
        landed = land(export, home / "landing", source_of(home, JSON_SOURCE))
    except UnreadableFileError:
        assert all(reason for _, reason in expected)
        return
    assert row_outcomes(home / "landing", JSON_SOURCE) == expected
    assert sum(landed.rows_per_day.values()) == expected.total()


@given(csv_files())
@_slow
def test_a_split_csv_export_has_the_rows_of_the_whole(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Also where quotes stay open: rejected records are separated, so that none absorbs another."""
    home = tmp_path_factory.mktemp("home")
    export = home / "export.csv"
    export.write_bytes(content)
    expected = whole(home / "whole", CSV_SOURCE, content)
    try:
        land(export, home / "landing", source_of(home, CSV_SOURCE))
    except UnreadableFileError:
        assert all(reason for _, reason in expected)
        return
    assert row_outcomes(home / "landing", CSV_SOURCE) == expected


def test_rows_lie_in_the_folder_of_their_local_day(tmp_path: Path) -> None:
    """A row at 23:30 UTC in summer belongs to the next London day; undated rows are in the fullest folder."""
    evening = int(datetime(2026, 3, 29, 23, 30, tzinfo=UTC).timestamp())
    lines = [good_line(t=evening), good_line(t=evening, item="i2"), good_line(), b"broken", good_line(t="x")]
    export = tmp_path / "my export!.jsonl.gz"
    export.write_bytes(gzip.compress(b"\n".join(lines)))
    landed = land(export, tmp_path / "landing", source_of(tmp_path, JSON_SOURCE))
    next_day = date(2026, 3, 30)
    assert landed.rows_per_day == {DAY: 1, next_day: 4}
    assert landed.undated == 2
    assert Counter(file.folder_day for file in list_landing(tmp_path / "landing").files) == {DAY: 1, next_day: 2}
    assert not list_landing(tmp_path / "landing").ignored


@pytest.mark.parametrize("buffer_bytes", [1, 128 << 20])
def test_landing_again_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, buffer_bytes: int) -> None:
    """The same export gives the same names and bytes; another of the same name adds other files."""
    monkeypatch.setattr(landing_module, "BUFFER_BYTES", buffer_bytes)
    source = source_of(tmp_path, JSON_SOURCE)
    export = tmp_path / "export.jsonl"
    export.write_bytes(b"\n".join([good_line(t=NOON - n * 40_000) for n in range(50)] + [b"{"]))

    def landed() -> dict[str, bytes]:
        land(export, tmp_path / "landing", source)
        return {
            file.path: (tmp_path / "landing" / file.path).read_bytes()
            for file in list_source_files(tmp_path / "landing", *ALL_DAYS)
        }

    first = landed()
    assert landed() == first
    export.write_bytes(good_line())
    assert first.items() < landed().items()


def test_a_line_too_long_to_hold_is_landed_whole(tmp_path: Path) -> None:
    """It is copied in pieces, and rejected in its folder."""
    long = [good_line(title=letter * (6 << 20)) for letter in "xy"]
    export = tmp_path / "export.jsonl"
    export.write_bytes(b"\n".join([long[0], good_line(), long[1], good_line(item="i2")]))
    landed = land(export, tmp_path / "landing", source_of(tmp_path, JSON_SOURCE))
    assert landed.rows_per_day == {DAY: 4}
    content = b"".join(path.read_bytes() for path in landed.files)
    assert all(line in content for line in long)
    assert Counter(reason for _, reason in row_outcomes(tmp_path / "landing", JSON_SOURCE).elements()) == {
        None: 2,
        "too_long": 2,
    }


def test_every_part_of_a_headed_csv_has_the_header(tmp_path: Path) -> None:
    """Each landed file is complete on its own."""
    text = CSV_SOURCE.replace("header: false, columns: [user, item, action, t, title]", "header: true")
    export = tmp_path / "export.csv"
    export.write_text(f'title,t,user,item,action\n"a\nb",{NOON},u,i,pv\nx,{NOON - 86400},u,i,pv\nx,never,u,i,pv\n')
    landed = land(export, tmp_path / "landing", source_of(tmp_path, text))
    assert [path.read_bytes().split(b"\n")[0] for path in landed.files] == [b"title,t,user,item,action"] * 3
    assert Counter(reason for _, reason in row_outcomes(tmp_path / "landing", text).elements()) == {
        None: 2,
        "bad_timestamp": 1,
    }


def test_parquet_rows_keep_all_their_columns(tmp_path: Path) -> None:
    """Types, columns that no source names, and undated rows included."""
    table = pa.table(
        {
            "user": ["a", "b", "c"],
            "item": [1, 2, 3],
            "action": ["pv"] * 3,
            "t": pa.array([NOON, NOON - 86_400, None]),
            "price": [1.0, 2.0, 3.0],
            "n": [1, 1, 1],
            "title": ["", "", ""],
            "more": [[1], [2], [3]],
        }
    )
    export = tmp_path / "export.parquet"
    pq.write_table(table, export)
    landed = land(export, tmp_path / "landing", source_of(tmp_path, JSON_SOURCE.replace("jsonl", "parquet")))
    assert landed.undated == 1
    together = pa.concat_tables([pq.ParquetFile(path).read() for path in landed.files]).sort_by("user")
    assert together.equals(table)


@pytest.mark.parametrize("content", [b"", b"\n \n", b"broken\n"])
def test_an_export_without_a_day_lands_nothing(tmp_path: Path, content: bytes) -> None:
    """An empty one is no error; one in which no time can be read says what to check."""
    export = tmp_path / "export.jsonl"
    export.write_bytes(content)
    source = source_of(tmp_path, JSON_SOURCE)
    if content.strip():
        with pytest.raises(UnreadableFileError, match=r"events\.timestamp"):
            land(export, tmp_path / "landing", source)
    else:
        assert land(export, tmp_path / "landing", source).rows_per_day == {}
    assert list_landing(tmp_path / "landing").files == []
    assert list_landing(tmp_path / "landing").ignored == []


def test_a_damaged_export_lands_nothing(tmp_path: Path) -> None:
    """All of a file or nothing of it."""
    export = tmp_path / "export.jsonl.gz"
    export.write_bytes(gzip.compress(good_line() * 50)[:-5])
    with pytest.raises(UnreadableFileError, match="gzip"):
        land(export, tmp_path / "landing", source_of(tmp_path, JSON_SOURCE))
    assert not (tmp_path / "landing").exists()


def test_tables_are_copied_as_they_are(tmp_path: Path) -> None:
    """Items and users keep their bytes, under a name that the landing reads."""
    table = tmp_path / "-my items*.jsonl"
    table.write_text(json.dumps({"sku": 1}))
    for copy in (land_items(table, tmp_path / "landing"), land_users(table, tmp_path / "landing")):
        assert copy.read_bytes() == table.read_bytes()
        with open_source_file(copy.parent, copy.name):
            pass
