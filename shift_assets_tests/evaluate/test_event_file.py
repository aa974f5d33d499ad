"""Laws of files of events: one log in any form gives the same counts, and a wrong file says what to do."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from shift_assets.evaluate.event_file import EventFileError, read_events

MOMENTS = [datetime(2026, 3, 1, 23, 59, 59, tzinfo=UTC) + timedelta(days=day) for day in (0, 0, 0, 9)]
USERS, BRANDS = ["2", "10", "2", "2"], ["a", "b", "a", "a"]
COUNTED = [("10", 20_513, "b", 1), ("2", 20_513, "a", 2), ("2", 20_522, "a", 1)]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FORMS = {
    "timestamp": pa.array(MOMENTS, pa.timestamp("ns")),
    "zoned": pa.array(MOMENTS, pa.timestamp("us", "UTC")),
    "date": pa.array([moment.date() for moment in MOMENTS]),
    "text": pa.array([moment.isoformat() for moment in MOMENTS]),
    "categorical": pa.array([moment.date().isoformat() for moment in MOMENTS]).dictionary_encode(),
    "day number": pa.array([(moment - EPOCH).days for moment in MOMENTS]),
    "seconds": pa.array([int((moment - EPOCH).total_seconds()) for moment in MOMENTS]),
    "milliseconds": pa.array([int((moment - EPOCH).total_seconds() * 1000) for moment in MOMENTS]),
}


def counted(file: Path) -> list[tuple]:
    events = read_events(file, user="who", day="at", name="brand").events
    return list(zip(*(column.to_pylist() for column in events.columns), strict=True))


@pytest.mark.parametrize("form", FORMS)
def test_a_log_is_counted_whatever_the_form_of_its_days(tmp_path: Path, form: str) -> None:
    table = pa.table({"who": USERS, "at": FORMS[form], "other": [1, 2, 3, 4], "brand": BRANDS})
    pq.write_table(table, tmp_path / "log.parquet")
    assert counted(tmp_path / "log.parquet") == COUNTED
    plain = table.set_column(1, "at", FORMS[form].cast(pa.string()))
    pa_csv.write_csv(plain, tmp_path / "log.csv")
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress((tmp_path / "log.csv").read_bytes()))
    assert counted(tmp_path / "log.csv") == counted(tmp_path / "log.csv.gz") == COUNTED


def test_rows_that_lack_a_value_are_counted_and_left_out(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("who,at,brand\n2,2026-03-01,a\n,2026-03-01,a\n2,,a\n2,2026-03-01,\n")
    found = read_events(tmp_path / "log.csv", user="who", day="at", name="brand")
    assert (found.events.num_rows, found.incomplete) == (1, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("who,when,brand\n2,2026-03-01,a\n", "no column 'at'; there are: who, when, brand"),
        ("who,at,brand\n2,01.03.2026,a\n", "column 'at': .*01.03.2026.* write days as YYYY-MM-DD"),
        ("", "not a readable Parquet file, nor a comma-separated CSV"),
        ("PAR1 and no more", "not a readable Parquet file"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "log").write_text(content)
    with pytest.raises(EventFileError, match=message):
        read_events(tmp_path / "log", user="who", day="at", name="brand")


def test_days_of_another_type_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"who": ["2"], "at": [True], "brand": ["a"]}), tmp_path / "log")
    with pytest.raises(EventFileError, match="column 'at' holds bool; expected dates"):
        read_events(tmp_path / "log", user="who", day="at", name="brand")
