"""Laws of erased users: no byte of their rows is accepted again, every row is accounted for, others are as before."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pyarrow.compute as pc
import pytest

from shift_assets.ingest.rows.load_context import load_parse_context
from shift_assets.ingest.rows.parse_context import ParseContext
from shift_assets.ingest.rows.parser import parse_file
from shift_assets.privacy.erased_users import ERASED_FILE
from shift_assets.privacy.pseudonym import pseudonym
from shift_assets_tests.ingest.cleaned_landing import cleaned
from shift_assets_tests.ingest.dirty_data import (
    CSV_SOURCE,
    DAY,
    JSON_SOURCE,
    KEY,
    NOON,
    context_of,
    days_before,
    deliver,
    dirty_landing,
    good_line,
    source_of,
)
from shift_assets_tests.spark import needs_java

pytestmark = pytest.mark.slow

WHO = "zoë-17"
NOTHING = hashlib.sha256().hexdigest()
LINES = {
    "accepted": good_line(user=WHO),
    "twice": good_line(user=WHO),
    "escaped": good_line(user=WHO).replace("ë".encode(), b"\\u00eb"),
    "decomposed": good_line(user="zoe\u0308-17"),
    "bad time": good_line(user=WHO, t="noon", title=f"{WHO} was here"),
    "no item": good_line(user=WHO, item=None),
    "cut": good_line(user=WHO)[:-5],
    "cut, escaped": good_line(user=WHO).replace("ë".encode(), b"\\u00eb")[:-5],
    "two objects": good_line() + good_line(user=WHO),
    "somebody else": good_line(),
    "somebody else, cut": good_line()[:-5],
    "nearly the same": good_line(user=WHO + "0")[:-5],
}
OTHERS = {"somebody else", "somebody else, cut", "nearly the same"}


def with_erased(context: ParseContext, *users: str) -> ParseContext:
    return replace(context, erased=frozenset(pseudonym(KEY, user) for user in users))


def test_nothing_of_an_erased_users_rows_is_kept(tmp_path: Path) -> None:
    """Accepted, rejected and unreadable rows of the user all become rows that only say that there was one."""
    context = with_erased(context_of(tmp_path, source_of(tmp_path, JSON_SOURCE)), WHO)
    file = deliver(tmp_path, "a.jsonl", b"\n".join(LINES.values()))
    rows = [row for batch in parse_file(context, file) for row in batch.to_pylist()]
    for name, row in zip(LINES, rows, strict=True):
        non_null = {key for key, value in row.items() if value is not None}
        if name in OTHERS:
            assert row["raw"] == LINES[name], name
            continue
        assert (row["reason"], row["detail"]) == ("missing_user", "the user was erased on request"), name
        assert (row["raw"], row["raw_sha256"], row["segment_known"]) == (b"", NOTHING, False), name
        assert non_null == {
            *("folder_day", "source_file", "source_row", "day", "segment", "segment_known"),
            *("reason", "detail", "raw", "raw_sha256"),
        }, name


def test_a_field_of_a_broken_csv_row_is_recognised(tmp_path: Path) -> None:
    """A row with a field too many keeps nothing where one of its fields is the user; ids may hold spaces."""
    context = with_erased(context_of(tmp_path, source_of(tmp_path, CSV_SOURCE)), "Zoë van Dijk")
    lines = [f"{user},i1,pv,{NOON},title,too many" for user in ("Zoë van Dijk", '"Zoë van Dijk"', "Zoë van", "Dijk")]
    file = deliver(tmp_path, "a.csv", "\n".join(lines).encode())
    rows = [row for batch in parse_file(context, file) for row in batch.to_pylist()]
    assert [bool(row["raw"]) for row in rows] == [False, False, True, True]


def test_an_unreadable_file_keeps_no_head_that_names_the_user(tmp_path: Path) -> None:
    """The head of a file without its header is not stored if it names the user."""
    text = CSV_SOURCE.replace("header: false, columns: [user, item, action, t, title]", "header: true")
    context = context_of(tmp_path, source_of(tmp_path, text))
    content = f"{WHO},i1,pv,{NOON},title\n".encode()
    file = deliver(tmp_path, "a.csv", content)
    for who, raw in ((WHO, b""), ("somebody", content)):
        (batch,) = parse_file(with_erased(context, who), file)
        assert (batch["reason"][0].as_py(), batch["raw"][0].as_py()) == ("unreadable_file", raw)


def test_every_row_is_accounted_for_and_others_are_as_before(tmp_path: Path) -> None:
    """On a dirty landing only the rows of the erased user change their outcome."""
    context = context_of(tmp_path / "landing", source_of(tmp_path / "landing", JSON_SOURCE))
    days = days_before(DAY, 3)
    dirty_landing(context.landing, 5, days)
    before = cleaned(context, days)
    who = pseudonym(KEY, "ann")
    assert 0 < pc.sum(pc.equal(before.clean["user_id"], who)).as_py() < before.clean.num_rows
    after = cleaned(replace(context, erased=frozenset([who])), days)
    assert after.clean == before.clean.filter(pc.not_equal(before.clean["user_id"], who))
    assert [(file.path, file.rows) for file in after.file_accounts] == [
        (file.path, file.rows) for file in before.file_accounts
    ]
    erased = pc.equal(after.rejected["detail"], "the user was erased on request")
    rejected_before = set(map(_row_values, before.rejected.to_pylist()))
    assert set(map(_row_values, after.rejected.filter(pc.invert(erased)).to_pylist())) <= rejected_before
    assert b"ann" not in b"".join(after.rejected["raw"].to_pylist())


def _row_values(row: dict[str, object]) -> tuple[object, ...]:
    return tuple(row.values())


@pytest.mark.spark
@needs_java
def test_both_engines_erase_the_same_rows(tmp_path: Path) -> None:
    context = context_of(tmp_path / "landing", source_of(tmp_path / "landing", JSON_SOURCE))
    days = days_before(DAY, 3)
    dirty_landing(context.landing, 5, days)
    assert cleaned(with_erased(context, "ann"), days, "spark") == cleaned(with_erased(context, "ann"), days)


def test_the_context_of_an_installation_lists_its_erased_users(tmp_path: Path) -> None:
    privacy = tmp_path / "privacy"
    privacy.mkdir()
    source = source_of(tmp_path, JSON_SOURCE)
    assert load_parse_context(source, tmp_path, privacy, 3).erased == frozenset()
    (privacy / ERASED_FILE).write_text(f"{'a' * 32}\n")
    assert load_parse_context(source, tmp_path, privacy, 3).erased == {"a" * 32}
