"""Laws of the public file: no cell of too few users is shown, or follows from what is shown."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from shift_assets.contracts.interest import INTEREST_SERIES
from shift_assets.contracts.outcomes import ALERT_OUTCOMES
from shift_assets.contracts.partition import Partition
from shift_assets.contracts.shift import ALERT_KINDS, INTEREST_MOVES, OPEN_ALERTS, SHIFT_ALERTS
from shift_assets.storage.warehouse import Warehouse
from shift_assets_tests.lakes import FIRST_DAY, new_lake, pseudonym, rows_of

pytestmark = pytest.mark.slow

MINIMUM_USERS = 3
CATEGORIES = ("a", "b", "c", "d", "e")


@dataclass
class Shown:
    """The public tables, as rows by column name, and the truth behind them."""

    public: dict[str, list[dict[str, Any]]]
    users_of_kind: dict[tuple[str, str], set[str]]
    users_of_category: dict[tuple[str, str], set[str]]


@pytest.fixture(params=range(4))
def shown(request: pytest.FixtureRequest, tmp_path: Path) -> Shown:
    """Twelve segments of one day, from almost empty to well filled, with users and alerts at random."""
    random = np.random.default_rng(request.param)
    series, alerts, outcomes = [], [], []
    kinds, categories = defaultdict(set), defaultdict(set)
    partitions = [Partition(FIRST_DAY, f"s{number}") for number in range(12)]
    for number, partition in enumerate(partitions):
        for user in range(number * 2):
            user_id = pseudonym(partition.segment, user)
            met = [c for place, c in enumerate(CATEGORIES) if random.random() < 0.8 / (place + 1)] or ["a"]
            key = partition._asdict() | {"user_id": user_id}
            series += [key | {"category": category, "score": random.integers(1, 9)} for category in met]
            kind = random.choice([*ALERT_KINDS, "none"], p=[0.3, 0.15, 0.1, 0.05, 0.1, 0.3])
            if kind != "none":
                alert_id = pseudonym("alert", user_id)
                alerts.append(key | {"kind": kind, "alert_id": alert_id})
                outcomes.append({"alert_id": alert_id, "confirmed": random.random() < 0.6} | partition._asdict())
            kinds[partition.segment, "no_shift" if kind in ("none", "churn_risk") else kind].add(user_id)
            for category in met:
                categories[partition.segment, category].add(user_id)
    lake = new_lake(tmp_path)
    tables = ((INTEREST_SERIES, series), (SHIFT_ALERTS, alerts), (OPEN_ALERTS, alerts), (ALERT_OUTCOMES, outcomes))
    for table, rows in tables:
        plausible = rows_of(table, partitions[0], 1).to_pylist()[0] | {"status": "opened"}
        filled = [{name: {**plausible, **row}[name] for name in table.schema.names} for row in rows]
        lake.publish(table, pa.Table.from_pylist(filled, schema=table.schema), lake.claim(table, partitions, "test"))
    warehouse = Warehouse(tmp_path / "bi" / "warehouse.duckdb", MINIMUM_USERS)
    warehouse.load(lake)
    names = ("shift_overview", "shift_kinds", "segment_trends", "outcomes")
    with warehouse.connection() as connection:
        public = {name: connection.table(f"public.{name}").to_arrow_table().to_pylist() for name in names}
    return Shown(public, kinds, categories)


def determined(equations: np.ndarray) -> list[int]:
    """Unknowns (columns) that the linear `equations` (rows) fix: unit vectors in their row space."""
    rank = np.linalg.matrix_rank(equations) if equations.size else 0
    units = np.eye(equations.shape[1])
    return [n for n, unit in enumerate(units) if np.linalg.matrix_rank(np.vstack([equations, unit])) == rank]


def margin(cells: list[dict[str, Any]], total_is_shown: bool) -> tuple[np.ndarray, list[int]]:
    """One equation (cells sum to their total) in the withheld cells, and the total where it is withheld."""
    withheld = [n for n, cell in enumerate(cells) if cell["suppressed"]]
    unknowns = len(withheld) + (not total_is_shown)
    equation = np.ones((1 if unknowns else 0, unknowns))
    if not total_is_shown and unknowns:
        equation[0, -1] = -1
    return equation, withheld


def test_what_is_shown_is_true_and_of_enough_users(shown: Shown) -> None:
    for table, column, truth in (
        ("shift_kinds", "kind", shown.users_of_kind),
        ("segment_trends", "category", shown.users_of_category),
    ):
        rows = shown.public[table]
        assert {(row["segment"], row[column]) for row in rows} == {key for key, users in truth.items() if users}
        for row in rows:
            users = len(truth[row["segment"], row[column]])
            assert row["users"] == (None if row["suppressed"] else users)
            assert row["suppressed"] or users >= MINIMUM_USERS
    assert {row["suppressed"] for row in shown.public["segment_trends"]} == {True, False}


def test_no_withheld_class_follows_from_the_total(shown: Shown) -> None:
    cells = defaultdict(list)
    for row in shown.public["shift_kinds"]:
        cells[row["segment"]].append(row)
    for row in shown.public["shift_overview"]:
        equation, withheld = margin(cells[row["segment"]], total_is_shown=row["users_active"] is not None)
        empty = not cells[row["segment"]]  # a total of nobody follows from no class being listed
        assert empty or determined(equation) == [], row["segment"]
        if withheld and row["users_active"] is not None:
            group = [cells[row["segment"]][n]["kind"] for n in withheld]
            together = set().union(*(shown.users_of_kind[row["segment"], kind] for kind in group))
            assert len(together) >= MINIMUM_USERS


def test_no_withheld_share_follows_from_the_sum_of_shares(shown: Shown) -> None:
    cells = defaultdict(list)
    for row in shown.public["segment_trends"]:
        cells[row["segment"]].append(row)
    for segment, rows in cells.items():
        assert [row["interest_share"] is None for row in rows] == [row["suppressed"] for row in rows]
        equation, withheld = margin(rows, total_is_shown=True)
        alone = len(rows) == 1  # the share of an only category is one, of however many users
        assert alone or determined(equation) == [], segment
        if withheld and len(withheld) < len(rows):
            together = set().union(*(shown.users_of_category[segment, rows[n]["category"]] for n in withheld))
            assert len(together) >= MINIMUM_USERS


def test_totals_are_withheld_of_small_segments(shown: Shown) -> None:
    active = Counter(dict.fromkeys({row["segment"] for row in shown.public["shift_overview"]}, 0))
    for (segment, _), users in shown.users_of_kind.items():
        active[segment] += len(users)
    for row in shown.public["shift_overview"]:
        count = active[row["segment"]]
        assert row["users_active"] == (count if count >= MINIMUM_USERS else None)
        assert row["suppressed"] == (count < MINIMUM_USERS)
        assert row["users_churn_risk"] is None or row["users_churn_risk"] >= MINIMUM_USERS


def test_users_with_an_open_alert_are_counted_in_steps_of_the_fewest_shown(shown: Shown) -> None:
    """So that no difference to the active users with an alert is a count of few."""
    alerted: Counter[str] = Counter()
    for (segment, kind), users in shown.users_of_kind.items():
        alerted[segment] += len(users) if kind != "no_shift" else 0
    found = {row["segment"]: row["users_with_shift_alert"] for row in shown.public["shift_overview"]}
    assert found == {segment: alerted[segment] // MINIMUM_USERS * MINIMUM_USERS or None for segment in found}
    assert set(found.values()) > {None, MINIMUM_USERS}


def test_a_confirmed_share_has_many_users_on_both_sides(shown: Shown) -> None:
    for row in shown.public["outcomes"]:
        if row["confirmed_share"] is not None:
            confirmed = round(row["confirmed_share"] * row["users_judged"])
            assert min(confirmed, row["users_judged"] - confirmed) >= MINIMUM_USERS


def test_a_public_move_has_many_users_on_both_sides(tmp_path: Path) -> None:
    """Moves of too few users are not listed; the share of leavers is shown only where those who stayed are many.

    A category that is called as if it were two is one.
    """
    partition = Partition(FIRST_DAY, "uk")
    sizes = [(users, users + stayed) for users in (1, 2, 3, 9) for stayed in (0, 1, 2, 3, 8)]
    plain = [
        {"antecedent": f"fell:c + {n}", "consequent": "rose:garden", "n_users": users, "n_antecedent": leavers}
        for n, (users, leavers) in enumerate(sizes)
    ]
    other = [
        {
            "antecedent": "fell:mugs + fell:toys",
            "antecedent_items": 2,
            "consequent": "rose:garden",
            "n_users": 9,
            "n_antecedent": 20,
        },
        {"antecedent": "rose:garden", "consequent": "fell:mugs", "n_users": 9, "n_antecedent": 20},
    ]
    common = {**partition._asdict(), "antecedent_items": 1, "support": 0.1, "confidence": 0.5, "lift": 2.0}
    rows = [{**common, **row} for row in plain + other]
    lake = new_lake(tmp_path)
    claim = lake.claim(INTEREST_MOVES, [partition], "test")
    lake.publish(INTEREST_MOVES, INTEREST_MOVES.conform(pa.Table.from_pylist(rows)), claim)
    warehouse = Warehouse(tmp_path / "bi" / "warehouse.duckdb", MINIMUM_USERS)
    warehouse.load(lake)
    with warehouse.connection() as connection:
        public = connection.table("public.interest_moves").to_arrow_table().to_pylist()
    shown = {row["from_category"]: row for row in public}
    many = {f"c + {n}": leavers - users for n, (users, leavers) in enumerate(sizes) if users >= MINIMUM_USERS}
    assert shown.keys() == many.keys()
    for name, stayed in many.items():
        published = (shown[name]["share_of_leavers"], shown[name]["lift"])
        assert published == ((0.5, 2.0) if stayed >= MINIMUM_USERS else (None, None))


def test_the_audit_finds_a_cell_that_is_withheld_alone() -> None:
    cells = [{"suppressed": True}, {"suppressed": False}, {"suppressed": False}]
    equation, _ = margin(cells, total_is_shown=True)
    assert determined(equation) == [0]
