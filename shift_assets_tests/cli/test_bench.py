"""Laws of the benchmark of detectors: it ranks them on a log of its caller, and says where the log cannot."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shift_assets.evaluate import bench
from shift_assets.evaluate.bench import bench_shifts
from shift_assets.evaluate.event_file import read_events
from shift_assets.evaluate.splices import KNOWN_CUT, LEARNED, TooFewUsers, detectors_of
from shift_assets.settings.root import EvidenceSettings
from shift_assets_tests.cli.conftest import Call
from shift_assets_tests.shift.stationary_users import as_series, stationary_users

pytestmark = pytest.mark.slow

COLUMNS = ("--columns", "user=who,day=when,item=sku")
ITEMS_PER_CATEGORY = 4


def write_log(folder: Path, *, users: int = 70, tastes: int = 30) -> Path:
    """A log of users with a taste of their own; a category is a few items."""
    series = as_series(stationary_users(users, seed=6, tastes=tastes, days=(18, 30)))
    series = series.take(np.repeat(np.arange(series.num_rows), series["n_view"].to_numpy()))
    item = np.random.default_rng(1).integers(ITEMS_PER_CATEGORY, size=series.num_rows)
    skus = [f"{name}-{number}" for name, number in zip(series["category"].to_pylist(), item, strict=True)]
    file = folder / "log.parquet"
    log = {"who": series["user_id"], "when": series["day"], "kind": series["category"], "sku": skus}
    pq.write_table(pa.table(log), file)
    return file


def test_all_detectors_are_in_one_table_and_the_bytes_are_the_same_again(call: Call, tmp_path: Path) -> None:
    """By the log's own categories; the same call prints the same bytes."""
    arguments = ("bench", "shifts", write_log(tmp_path), *COLUMNS, "--category", "kind", "--seeds", 1, "--json")
    first, again = call(*arguments), call(*arguments)
    assert first.code == 0, first.err
    assert first.out == again.out
    found = json.loads(first.out)
    assert (found["users"], found["categories"], found["incomplete_rows"], found["note"]) == (70, 12, 0, None)
    rows = {(row["detector"], row["kept"]): row for row in found["detectors"]}
    names = {*detectors_of(EvidenceSettings()), LEARNED, KNOWN_CUT}
    assert rows.keys() == {(name, kept) for name in names for kept in (0.0, 0.4)}
    bound, learned = rows[KNOWN_CUT, 0.0], rows[LEARNED, 0.0]
    assert bound["share_of_bound"] == 1
    assert bound["auc"]["value"] > 0.85
    assert learned["share_of_bound"] == (learned["auc"]["value"] - 0.5) / (bound["auc"]["value"] - 0.5)
    assert learned["flagged"] == bound["flagged"] < learned["found"]
    assert rows["posterior", 0.0]["found"] is None


def test_groups_are_fitted_on_users_that_are_not_evaluated(tmp_path: Path) -> None:
    """What the evaluated half does is not seen by the fit: an item of theirs alone has no group."""
    events = read_events(write_log(tmp_path, users=140), user="who", day="when", name="sku").events
    grouped = bench._grouped(events, 6)
    evaluated = set(grouped["user_id"].to_pylist())
    assert len(evaluated) == 70
    own = [f"own-{name}" if user in evaluated else name for user, name in zip(*columns(events), strict=True)]
    assert set(bench._grouped(events.set_column(2, "name", pa.array(own)), 6)["name"].to_pylist()) == {"uncategorised"}
    assert len(set(grouped["name"].to_pylist())) == 6
    found = bench_shifts(events, learn_groups=6, seeds=[0])
    assert (found.users, found.categories) == (70, 6)


def columns(events: pa.Table) -> tuple[list[str], list[str]]:
    return events["user_id"].to_pylist(), events["name"].to_pylist()


def test_a_log_that_cannot_rank_detectors_says_so(call: Call, tmp_path: Path) -> None:
    """All users have one taste: nobody can be distinguished from another."""
    file = write_log(tmp_path, tastes=1)
    printed = call("bench", "shifts", file, *COLUMNS, "--category", "kind", "--seeds", 1)
    assert printed.code == 0, printed.err
    assert "a replaced user can hardly be distinguished from an unchanged one" in printed.out.splitlines()[-1]
    (bound,) = [line for line in printed.out.splitlines() if "known_cut" in line and "100%" in line]
    assert bound.split("│")[6].strip() == "-"


def test_too_few_users_are_counted(tmp_path: Path) -> None:
    events = read_events(write_log(tmp_path, users=40), user="who", day="when", name="kind").events
    with pytest.raises(TooFewUsers, match="40 of 40 users have 16 active days; 60 are needed"):
        bench_shifts(events)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--columns", "user=who,day=when", "--category", "brand"), "no column 'brand'; there are: who, when, kind"),
        (("--columns", "user=who,day=when"), "give either --category COLUMN, or --learn-groups N"),
        (("--columns", "user=who,day=when", "--learn-groups", 4), "item is missing"),
        (("--columns", "user=who,time=when", "--category", "kind"), "expected user=U,item=I,day=D"),
        (("--columns", "user=who", "--category", "kind"), "expected user=U,item=I,day=D"),
    ],
)
def test_a_wrong_call_says_what_to_write(call: Call, tmp_path: Path, options: tuple[object, ...], message: str) -> None:
    refused = call("bench", "shifts", write_log(tmp_path, users=2), *options)
    assert (refused.code, refused.out) == (2, "")
    assert message in refused.err
