"""The expectations of each table: derived from its contract, with a few that only one table needs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from shift_assets.contracts.cleaning import BEHAVIORS, CLEAN_EVENTS
from shift_assets.contracts.columns import HEX_32, UNCATEGORISED
from shift_assets.contracts.interest import INTEREST_SERIES
from shift_assets.contracts.recommendations import RECOMMENDATIONS
from shift_assets.contracts.shift import INTEREST_STATE, SHIFT_ALERTS
from shift_assets.contracts.table import Column, Table

Severity = Literal["ERROR", "WARN"]

ACCOUNTING = "every delivered row is clean or rejected"
REJECTED_SHARE = "at most 5 % of the delivered rows are rejected"
REJECTED_SHARE_LIMIT = 0.05
VOLUME = "the number of rows is usual for the weekday"
SEGMENT_STABLE = "no user was in another segment before"
UNCATEGORISED_SHARES: tuple[tuple[float, Severity], ...] = ((0.1, "WARN"), (0.4, "ERROR"))
"""Shares of a partition's events above which its description in categories is blurred, and says little."""
MINIMUM_EVENTS = 100
"""Events that a partition needs before its uncategorised share counts."""
FRESHNESS = "the day is complete for every segment"

_SEPARATE_COLUMNS = 3
"""Up to this many columns with the same bound have an expectation each; more share one."""
_PATTERN_DESCRIPTIONS = {HEX_32: "is 32 hex characters", r"^[0-9a-f]{64}$": "is 64 hex characters"}


@dataclass(frozen=True, slots=True)
class Expectation:
    """A rule that a partition must meet. ERROR blocks the readers of the table, WARN does not."""

    name: str
    severity: Severity

    @property
    def blocking(self) -> bool:
        """Whether a failure holds back what is computed from the table."""
        return self.severity == "ERROR"


@dataclass(frozen=True, slots=True)
class RowsSatisfy(Expectation):
    """No row meets any of `violations`: (column at fault, DuckDB condition that is true for a bad row)."""

    violations: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class RowsUnique(Expectation):
    """No two rows of the partition are equal in all of `columns`."""

    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ShareAtMost(Expectation):
    """Rows that meet a DuckDB condition have at most `limit` of the partition's weight, if that is at least `minimum`.

    It never blocks: the rows are right, they only say little.
    """

    condition: str
    weight: str
    limit: float
    minimum: int

    @property
    def blocking(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class FactHolds(Expectation):
    """A rule that needs more than the partition's own rows; `facts` measures it, by the expectation's name."""


def expectations(table: Table, *, timezone: str = "UTC") -> list[Expectation]:
    """Return the expectations of `table` in a fixed order; their names do not depend on the shop's time zone."""
    return [*_from_contract(table), *_table_specific(table, timezone)]


def _from_contract(table: Table) -> Iterator[Expectation]:
    key = tuple(name for name in table.key if name not in ("day", "segment"))
    if key:
        yield RowsUnique(f"no {' and '.join(key)} occurs twice", "ERROR", key)
    required = [column.name for column in table.own_columns if not column.nullable]
    yield RowsSatisfy(
        "no null where none may be", "ERROR", tuple((name, f"{_quoted(name)} is null") for name in required)
    )
    fractional = [column.name for column in table.own_columns if pa.types.is_floating(column.type)]
    if fractional:
        yield RowsSatisfy(
            "every number is finite", "ERROR", tuple((name, f"not isfinite({_quoted(name)})") for name in fractional)
        )
    by_description: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for column in table.own_columns:
        for description, violation in _bounds(column):
            by_description[description].append((column.name, violation))
    for description, violations in by_description.items():
        if len(violations) <= _SEPARATE_COLUMNS:
            for name, violation in violations:
                yield RowsSatisfy(f"{name} {description}", "ERROR", ((name, violation),))
        else:
            first, last = violations[0][0], violations[-1][0]
            yield RowsSatisfy(f"each of {first} … {last} {description}", "ERROR", tuple(violations))


def _bounds(column: Column) -> Iterator[tuple[str, str]]:
    """Yield (description, condition of a bad row) of each bound in the column's contract; nulls meet every bound."""
    name = _quoted(column.name)
    if column.pattern is not None:
        description = _PATTERN_DESCRIPTIONS.get(column.pattern, f"matches {column.pattern}")
        yield (
            description if column.name != "user_id" else f"is a pseudonym of {description.removeprefix('is ')}",
            (f"not regexp_full_match({name}, {_literal(column.pattern)})"),
        )
    if column.allowed is not None:
        listed = ", ".join(_literal(value) for value in column.allowed)
        yield f"is one of {', '.join(column.allowed)}", f"{name} not in ({listed})"
    if column.minimum is not None and column.maximum is not None:
        yield (
            f"lies between {column.minimum:g} and {column.maximum:g}",
            f"not ({name} between {column.minimum!r} and {column.maximum!r})",
        )
    elif column.minimum is not None:
        yield f"is at least {column.minimum:g}", f"{name} < {column.minimum!r}"
    elif column.maximum is not None:
        yield f"is at most {column.maximum:g}", f"{name} > {column.maximum!r}"


def _table_specific(table: Table, timezone: str) -> Sequence[Expectation]:
    if table is CLEAN_EVENTS:
        other_day = f"cast(timezone({_literal(timezone)}, event_ts) as date) <> day"
        return (
            RowsSatisfy("event_ts lies on the partition's local day", "ERROR", (("event_ts", other_day),)),
            FactHolds(ACCOUNTING, "ERROR"),
            FactHolds(REJECTED_SHARE, "WARN"),
            FactHolds(VOLUME, "WARN"),
            FactHolds(SEGMENT_STABLE, "WARN"),
        )
    if table is INTEREST_SERIES:
        events = " + ".join(f"n_{behavior}" for behavior in BEHAVIORS)
        return (
            RowsSatisfy("a row stands for at least one event", "ERROR", (("n_view", f"{events} < 1"),)),
            *(
                ShareAtMost(
                    f"at most {limit:.0%} of the events are {UNCATEGORISED}".replace("%", " %"),
                    severity,
                    f"category = {_literal(UNCATEGORISED)}",
                    events,
                    limit,
                    MINIMUM_EVENTS,
                )
                for limit, severity in UNCATEGORISED_SHARES
            ),
        )
    if table is INTEREST_STATE:
        return (_not_after("last_active_day"),)
    if table is SHIFT_ALERTS:
        return (_not_after("onset_day"),)
    if table is RECOMMENDATIONS:
        return (RowsUnique("no item stands twice in a user's list", "ERROR", ("user_id", "item_id")),)
    return ()


def _not_after(name: str) -> RowsSatisfy:
    return RowsSatisfy(f"{name} is not after the day", "ERROR", ((name, f"{name} > day"),))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
