"""Laws of categories that keep up with the shop: causal, rebuildable, and the same however many days run at once."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shift_assets.contracts.columns import UNCATEGORISED
from shift_assets.ingest.categories import category_timeline
from shift_assets.ingest.categories.category_model import CategoryModel
from shift_assets.ingest.categories.category_timeline import CategoryTimeline, forget_users
from shift_assets.ingest.categories.later_units import ENOUGH_VISITORS, LONGEST_WAIT_DAYS
from shift_assets.ingest.cleaning import chunk_plan
from shift_assets.ingest.cleaning.engines import embedded
from shift_assets.ingest.readers.source_files import SourceFile
from shift_assets.ingest.rows.parse_context import ParseContext
from shift_assets.ingest.rows.parser import FileTally
from shift_assets_tests.ingest.categories.growing_log import (
    FIRST,
    FITTED_DAYS,
    day,
    fitted,
    folder_of,
    growing_landing,
    land_day,
)
from shift_assets_tests.ingest.cleaned_landing import cleaned
from shift_assets_tests.spark import needs_java

DAYS = [day(number) for number in range(FITTED_DAYS + 6)]
LATER = DAYS[FITTED_DAYS:]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> ParseContext:
    return growing_landing(tmp_path_factory.mktemp("log"), len(DAYS))


@pytest.fixture(scope="module")
def model(log: ParseContext) -> CategoryModel:
    return fitted(log)


@pytest.fixture(scope="module")
def whole(log: ParseContext, model: CategoryModel) -> pa.Table:
    """The clean events of the whole log, cleaned in one go."""
    return events(log, DAYS, CategoryTimeline(model, FIRST))


def events(context: ParseContext, days: Collection[date], timeline: CategoryTimeline) -> pa.Table:
    columns = ["day", "segment", "event_id", "item_id", "category"]
    return cleaned(context, days, categories=timeline).clean.select(columns)


def of(rows: pa.Table, days: Collection[date]) -> list[dict[str, object]]:
    return [row for row in rows.to_pylist() if row["day"] in days]


def test_a_later_item_joins_the_group_of_its_visitors(whole: pa.Table) -> None:
    """It is uncategorised on its first day, and from the next day in the group of the items of its taste."""
    group = {row["item_id"]: row["category"] for row in of(whole, DAYS[:FITTED_DAYS])}
    assert len(set(group.values())) == 3
    new = [row for row in of(whole, LATER) if "-new-" in str(row["item_id"])]
    assert len(new) > 50
    for row in new:
        taste, _, number = str(row["item_id"]).split("-")
        first_seen = row["day"] == day(int(number))
        assert row["category"] == (UNCATEGORISED if first_seen else group[f"{taste}0"])


@given(st.integers(1, 5), st.booleans())
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_past_does_not_know_the_future(
    model: CategoryModel, tmp_path_factory: pytest.TempPathFactory, known_days: int, removed: bool
) -> None:
    """What a day's units are assigned to stays when that day and those after it are altered or removed."""
    first, cut = FITTED_DAYS - 4, FITTED_DAYS + known_days
    contexts = [
        growing_landing(tmp_path_factory.mktemp("log"), cut if altered and removed else cut + 3, first)
        for altered in (False, True)
    ]
    for path in [path for number in range(cut, len(DAYS)) for path in folder_of(contexts[1], number).glob("*")]:
        path.write_text(path.read_text().replace('"u1', '"v1').replace('"c', '"a'))
    timelines = [CategoryTimeline(model, day(first)) for _ in contexts]
    for timeline, context in zip(timelines, contexts, strict=True):
        cleaned(context, [day(cut)], categories=timeline)
    assert timelines[0].assignments() == timelines[1].assignments()
    assert timelines[0].assignments().num_rows == model.assignments.num_rows + 3 * known_days


def test_days_one_by_one_are_the_range(log: ParseContext, whole: pa.Table, tmp_path: Path) -> None:
    """Each night opens the stored timeline again and lands nothing but its own day."""
    nightly = growing_landing(tmp_path, FITTED_DAYS)
    model = fitted(nightly)
    rows = [events(nightly, DAYS[:FITTED_DAYS], CategoryTimeline(model, FIRST, tmp_path / "later"))]
    for number in range(FITTED_DAYS, len(DAYS)):
        land_day(nightly, number)
        rows.append(events(nightly, [day(number)], CategoryTimeline(model, FIRST, tmp_path / "later")))
    assert pa.concat_tables(rows).sort_by([(name, "ascending") for name in ("day", "segment", "event_id")]) == whole


def test_a_night_reads_no_earlier_day_again(
    log: ParseContext, model: CategoryModel, whole: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Earlier days are read once where their visits were never kept; chunks and a second run change nothing."""
    monkeypatch.setattr(chunk_plan, "CHUNK_BYTES", 1)
    parsed: list[date] = []
    real = embedded.parse_to_parquet

    def counted(context: ParseContext, file: SourceFile, target: Path) -> FileTally:
        parsed.append(file.folder_day)
        return real(context, file, target)

    monkeypatch.setattr(embedded, "parse_to_parquet", counted)
    for expected in (DAYS, LATER[3:]):
        found = events(log, LATER[3:], CategoryTimeline(model, FIRST, tmp_path / "later"))
        assert found.to_pylist() == of(whole, LATER[3:])
        assert sorted(parsed) == expected
        parsed.clear()


def test_a_day_that_is_run_again_keeps_what_later_days_joined(
    log: ParseContext, model: CategoryModel, whole: pa.Table, tmp_path: Path
) -> None:
    """Days may be cleaned again in any order; a refitted model forgets the joins of the one before."""
    folder = tmp_path / "later"
    events(log, DAYS, CategoryTimeline(model, FIRST, folder))
    again = events(log, LATER[:2], CategoryTimeline(model, FIRST, folder))
    assert again.to_pylist() == of(whole, LATER[:2])
    assert events(log, LATER[4:], CategoryTimeline(model, FIRST, folder)).to_pylist() == of(whole, LATER[4:])
    renamed = CategoryModel("cooccurrence", ("x", "y", "z"), model.units, model.member)
    categories = set(events(log, LATER[4:], CategoryTimeline(renamed, FIRST, folder))["category"].to_pylist())
    assert categories == {"x", "y", "z", UNCATEGORISED}


@pytest.mark.spark
@needs_java
def test_both_engines_join_the_same_units(log: ParseContext, model: CategoryModel) -> None:
    found = [
        cleaned(log, LATER[2:4], engine, categories=CategoryTimeline(model, LATER[0]))
        for engine in ("embedded", "spark")
    ]
    assert found[0] == found[1]
    assert set(found[0].clean["category"].to_pylist()) == {*model.names, UNCATEGORISED}


def visits(**units: str) -> pa.Table:
    """The visits of one landed day: users, one letter each, by unit."""
    rows = sorted((user, unit.replace("_", "-")) for unit, users in units.items() for user in users)
    return pa.table({"user_id": [user for user, _ in rows], "unit": [unit for _, unit in rows]})


def timeline_of(*days: pa.Table) -> CategoryTimeline:
    """A timeline over four known units, a and d in one group and b and c in the other, with the visits of some days."""
    model = CategoryModel("cooccurrence", ("one", "two"), tuple("abcd"), np.array([0, 1, 1, 0], np.int32))
    timeline = CategoryTimeline(model, FIRST)
    for number, rows in enumerate(days):
        landed = pa.array([day(number)] * rows.num_rows, pa.date32())
        timeline.add_visits(rows.add_column(0, "folder_day", landed))
    return timeline


def joined(timeline: CategoryTimeline, days: int) -> dict[str, tuple[str, date]]:
    timeline.advance([day(number) for number in range(days)])
    rows = timeline.assignments().to_pylist()
    return {row["unit"]: (row["category"], row["from_day"]) for row in rows if row["from_day"] >= FIRST}


def test_few_visitors_wait_and_strangers_say_nothing() -> None:
    """A unit with too few visitors waits some days; one whose visitors visited nothing known never joins."""
    assert ENOUGH_VISITORS == 3
    days = [visits(a="uvw", b="x", many="uvw", few="x", strange="pqrs")] + [visits(b="x", c="x")] * 6
    assert joined(timeline_of(*days), LONGEST_WAIT_DAYS) == {"many": ("one", day(1))}
    assert joined(timeline_of(*days), LONGEST_WAIT_DAYS + 1) == {
        "many": ("one", day(1)),
        "few": ("two", day(LONGEST_WAIT_DAYS)),
    }


def test_a_unit_that_joined_helps_the_next_one() -> None:
    """Visitors are known by the joined unit alone, and the joined unit never moves."""
    days = visits(a="uvw", first="uvw"), visits(first="xyz", second="xyz"), visits(first="xyz", b="xyz", c="xyz")
    found = joined(timeline_of(*days), 6)
    assert found == {"first": ("one", day(1)), "second": ("one", day(2))}


def test_a_crowded_day_keeps_whole_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more visits than are kept, those of the first pseudonyms stay, whole."""
    monkeypatch.setattr(category_timeline, "VISITS_PER_DAY", 5)
    timeline = timeline_of(visits(a="uvw", b="uvw", many="uvw"))
    assert timeline.missing_visits([day(1)], [day(0), day(-1)]) == []
    assert joined(timeline, LONGEST_WAIT_DAYS) == {}
    assert joined(timeline, LONGEST_WAIT_DAYS + 1)["many"][1] == day(LONGEST_WAIT_DAYS)


def test_erased_users_leave_the_kept_visits(log: ParseContext, model: CategoryModel, tmp_path: Path) -> None:
    """Their pseudonyms are in no file; everyone else's visits are."""
    folder = tmp_path / "later"
    cleaned(log, LATER[:1], categories=CategoryTimeline(model, FIRST, folder))
    path = folder / f"visits-{DAYS[3].isoformat()}.parquet"
    users = pq.read_table(path)["user_id"].unique().to_pylist()
    assert forget_users(folder, users[:1]) > 0
    assert pq.read_table(path)["user_id"].unique().to_pylist() == users[1:]
    assert not any(users[0].encode() in file.read_bytes() for file in folder.iterdir())
    assert forget_users(folder, users[:1]) == 0
    shutil.rmtree(folder)
    assert forget_users(folder, users) == 0


def test_the_day_before_the_first_one_counts_nothing() -> None:
    """Folders before the calendar are not asked for."""
    timeline = timeline_of(visits(a="uvw"))
    assert timeline.missing_visits([day(2)], [FIRST - timedelta(days=1), day(1)]) == [day(1)]
