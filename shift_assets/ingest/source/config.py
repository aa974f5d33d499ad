"""The schema of a source YAML: how one shop's files map to the contract.

Users write these files. Unknown keys are refused, and an error names file, line, key and remedy.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cached_property
from typing import Annotated, Any, Literal, TypeVar
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from shift_assets.contracts.partition import SEGMENT_PATTERN
from shift_assets.ingest.source.columns import (
    COLUMN_TYPES,
    MAPPABLE_COLUMNS,
    REQUIRED_COLUMNS,
    Behavior,
    ConstantColumn,
    ContractColumn,
    ItemColumn,
    RuleReason,
)
from shift_assets.ingest.source.expressions import Expression, ExpressionError, check_binds, parse_expression

MAXIMUM_SEGMENTS = 16

Format = Literal["jsonl", "csv", "parquet"]


def _scalar_text(value: object) -> object:
    """Return numbers that YAML read from unquoted text as text; refuse booleans (unquoted yes, no, on, off)."""
    if isinstance(value, bool):
        raise ValueError("YAML reads yes, no, on, off, true and false as booleans; write this value in quotes")  # noqa: TRY004
    return str(value) if isinstance(value, int | float) else value


def _one_or_many(value: object) -> object:
    return value if isinstance(value, list | tuple) else [value]


Text = Annotated[str, BeforeValidator(_scalar_text)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_one_or_many)]


class _SourceModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CsvDialect(_SourceModel):
    """Delimiter-separated text with `"` as quote, doubled inside quotes."""

    delimiter: str = Field(default=",", min_length=1, max_length=1)
    header: bool = Field(default=True, description="Whether the first row names the columns")
    columns: tuple[Text, ...] | None = Field(
        default=None, description="Column names in order, where there is no header"
    )

    @model_validator(mode="after")
    def _named(self) -> CsvDialect:
        if self.delimiter in '"\r\n\0' or not self.delimiter.isascii():
            raise ValueError(f"delimiter {self.delimiter!r} is ambiguous; write a comma, tab, ; or |")
        if self.header and self.columns is not None:
            raise ValueError("columns are named by the header; remove `columns`, or write `header: false`")
        if not self.header and not self.columns:
            raise ValueError("without a header the columns must be named; add `columns: [first, second, …]`")
        duplicates = [name for name, times in Counter(self.columns or ()).items() if times > 1]
        if duplicates:
            raise ValueError(f"columns named twice: {', '.join(duplicates)}")
        return self


class TimestampFormat(_SourceModel):
    """Format of `event_ts`: an epoch in a unit, a strptime pattern, or ISO 8601 if neither is set.

    Times without an offset are wall-clock times of `zone`, or of the source's timezone.
    """

    unit: Literal["s", "ms", "us", "ns"] | None = None
    pattern: str | None = None
    zone: str | None = None

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, zone: str | None) -> str | None:
        return None if zone is None else _known_timezone(zone)

    @model_validator(mode="after")
    def _one_format(self) -> TimestampFormat:
        if self.unit and (self.pattern or self.zone):
            raise ValueError("an epoch in a unit has neither pattern nor zone; keep `unit`, or `pattern` and `zone`")
        if self.pattern is not None:
            try:
                check_binds("try_strptime(value, $text)", {"value": "varchar"}, text=self.pattern)
            except ExpressionError as error:
                raise ValueError(f"not a strptime pattern: {error}") from error
        return self


class TableFile(_SourceModel):
    """A table of the landing: its file format and its columns."""

    format: Format
    csv: CsvDialect | None = None

    @model_validator(mode="after")
    def _dialect_of_csv(self) -> TableFile:
        if self.format != "csv" and self.csv is not None:
            raise ValueError(f"`csv` belongs to `format: csv`, this is {self.format}; remove it")
        return self

    @property
    def dialect(self) -> CsvDialect:
        return self.csv or CsvDialect()

    def missing_from_csv(self, names: tuple[str, ...]) -> list[str]:
        """Return those of `names` that a CSV with listed columns does not have."""
        listed = self.csv.columns if self.csv else None
        return [] if listed is None else [name for name in names if name not in listed]


class Events(TableFile):
    """The event files of a source."""

    map: dict[ContractColumn, Text] = Field(default_factory=dict)
    timestamp: TimestampFormat = TimestampFormat()
    behaviors: dict[Text, Behavior] = Field(default_factory=dict)
    constant: dict[ConstantColumn, Text] = Field(default_factory=dict)
    derive: dict[ContractColumn, Text] = Field(default_factory=dict)
    reject: dict[RuleReason, Texts] = Field(default_factory=dict)
    identity: Annotated[tuple[Text, ...], BeforeValidator(_one_or_many)] = REQUIRED_COLUMNS

    @field_validator("derive")
    @classmethod
    def _allowed_derivations(cls, derive: dict[str, str]) -> dict[str, str]:
        for sql in derive.values():
            parse_expression(sql)
        return derive

    @field_validator("reject")
    @classmethod
    def _allowed_rules(cls, reject: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for rules in reject.values():
            for sql in rules:
                parse_expression(sql)
        return reject

    @model_validator(mode="after")
    def _complete(self) -> Events:
        duplicates = sorted(set(self.constant) & (set(self.map) | set(self.derive)))
        if duplicates:
            raise ValueError(f"{', '.join(duplicates)}: constant, and mapped or derived as well; keep one")
        absent = [name for name in REQUIRED_COLUMNS if name not in {*self.map, *self.constant, *self.derive}]
        if absent:
            raise ValueError(f"no value for {', '.join(absent)}; add to `map`, `derive` or `constant`")
        unlisted = self.missing_from_csv(self.source_columns)
        if unlisted:
            raise ValueError(f"`csv.columns` does not list {', '.join(unlisted)}, which map, rules or identity name")
        if self.format != "parquet":
            self._check_types()
        return self

    def _check_types(self) -> None:
        """Bind every expression against text columns, which CSV and JSON have."""
        types = dict.fromkeys(self.source_columns, "varchar") | COLUMN_TYPES
        for expression in (*self.derivations.values(), *(rule for _, rule in self.rules)):
            try:
                check_binds(expression.sql, {alias: types[name] for alias, name in expression.columns.items()})
            except ExpressionError as error:
                cast = (
                    f"; columns of {self.format} are text: write `cast(name as double)`" if "cast" in str(error) else ""
                )
                raise ValueError(f"`{expression.text}`: {error}{cast}") from error

    @cached_property
    def derivations(self) -> dict[str, Expression]:
        return {name: parse_expression(sql) for name, sql in self.derive.items()}

    @cached_property
    def rules(self) -> tuple[tuple[str, Expression], ...]:
        """Each rule with its rejection reason, in the order of the YAML."""
        return tuple((reason, parse_expression(sql)) for reason, rules in self.reject.items() for sql in rules)

    @cached_property
    def contract_columns(self) -> tuple[str, ...]:
        """Contract columns that this source fills, in the order of the contract."""
        return tuple(name for name in MAPPABLE_COLUMNS if name in {*self.map, *self.constant, *self.derive})

    @cached_property
    def source_columns(self) -> tuple[str, ...]:
        """Raw columns that mapping, expressions and identity read, each once."""
        names = list(self.map.values())
        for expression in (*self.derivations.values(), *(rule for _, rule in self.rules)):
            names += [name for name in expression.columns.values() if name not in self.contract_columns]
        if self.identity != ("row",):
            names += [name for name in self.identity if name not in self.contract_columns]
        return tuple(dict.fromkeys(names))


class Items(TableFile):
    """The items table: one row per item."""

    map: dict[ItemColumn, Text]

    @model_validator(mode="after")
    def _complete(self) -> Items:
        return _check_key(self, "item_id", self.map)


class Users(TableFile):
    """The users table: one row per user; every mapped name but `user_id` is a profile attribute."""

    map: dict[Text, Text]

    @model_validator(mode="after")
    def _complete(self) -> Users:
        return _check_key(self, "user_id", self.map)


Keyed = TypeVar("Keyed", Items, Users)


def _check_key(table: Keyed, key: str, mapping: dict[Any, str]) -> Keyed:
    if key not in mapping:
        raise ValueError(f"`map` does not say which column is {key}; add `{key}: …`")
    unlisted = table.missing_from_csv(tuple(mapping.values()))
    if unlisted:
        raise ValueError(f"`csv.columns` does not list {', '.join(unlisted)}, which `map` names")
    return table


class Segments(_SourceModel):
    """How users are divided into segments: by a column's values, or by a stable hash."""

    by: Literal["column", "hash"]
    table: Literal["users", "events"] | None = None
    column: Text | None = None
    values: dict[Text, Texts] | None = None
    other: Text | None = None
    shards: int | None = Field(None, ge=1, le=MAXIMUM_SEGMENTS)

    @model_validator(mode="after")
    def _complete(self) -> Segments:
        column_fields, hash_fields = ["table", "column", "values"], ["shards"]
        needed, not_allowed = (
            (hash_fields, [*column_fields, "other"]) if self.by == "hash" else (column_fields, hash_fields)
        )
        absent = [name for name in needed if getattr(self, name) is None]
        unused = [name for name in not_allowed if getattr(self, name) is not None]
        if absent:
            raise ValueError(f"segments by {self.by} need {', '.join(absent)}; add them")
        if unused:
            raise ValueError(f"segments by {self.by} have no {', '.join(unused)}; remove them")
        listed = Counter(value for values in (self.values or {}).values() for value in values)
        duplicates = [value for value, times in listed.items() if times > 1]
        if duplicates:
            raise ValueError(f"values listed in two segments: {', '.join(duplicates)}; keep each in one")
        if len(set(self.keys)) != len(self.keys):
            raise ValueError(f"segment {self.other!r} is both listed and the `other` one; rename one")
        if len(self.keys) > MAXIMUM_SEGMENTS:
            raise ValueError(
                f"{len(self.keys)} segments; at most {MAXIMUM_SEGMENTS}, as every day has a partition of each"
            )
        for key in self.keys:
            if not re.fullmatch(SEGMENT_PATTERN.strip("^$"), key):
                raise ValueError(f"segment {key!r} must be lower-case letters, digits, _ and -, at most 63 of them")
        return self

    @property
    def keys(self) -> tuple[str, ...]:
        """Every segment in listed order, with the segment of all other users last."""
        if self.by == "hash":
            return tuple(f"shard-{number}" for number in range(self.shards or 1))
        return (*(self.values or {}), self.other or "other")

    @property
    def segment_by_value(self) -> dict[str, str]:
        """Segment of each listed value."""
        return {value: key for key, values in (self.values or {}).items() for value in values}


class Categories(_SourceModel):
    """Where interest categories come from."""

    origin: Literal["text", "cooccurrence", "delivered"] = Field(alias="from")
    clusters: int = Field(40, ge=2, le=1000)


def _known_timezone(zone: str) -> str:
    if zone not in available_timezones():
        raise ValueError(f"unknown timezone {zone!r}; write an IANA name such as Europe/London or Asia/Shanghai")
    return zone


class Source(_SourceModel):
    """One shop's data source, as its YAML describes it."""

    name: Text = Field(alias="source", pattern=SEGMENT_PATTERN)
    timezone: str
    events: Events
    items: Items | None = None
    users: Users | None = None
    segments: Segments = Segments(by="hash", shards=1)
    categories: Categories | None = None

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        return _known_timezone(zone)

    @model_validator(mode="after")
    def _consistent(self) -> Source:
        if self.segments.table == "users":
            attributes = [name for name in (self.users.map if self.users else {}) if name != "user_id"]
            if self.segments.column not in attributes:
                raise ValueError(
                    f"segments need column {self.segments.column!r} of the users table, which maps "
                    f"{', '.join(attributes) or 'nothing'}; add it to `users.map`"
                )
        elif self.segments.table == "events" and self.events.missing_from_csv((self.segments.column or "",)):
            raise ValueError(f"segments need column {self.segments.column!r}, which `events.csv.columns` does not list")
        return self

    @property
    def segment_keys(self) -> tuple[str, ...]:
        """Every segment of this source, in listed order; at most MAXIMUM_SEGMENTS."""
        return self.segments.keys

    @property
    def zone(self) -> ZoneInfo:
        """The shop's time zone."""
        return ZoneInfo(self.timezone)

    @property
    def columns_to_read(self) -> tuple[str, ...]:
        """Raw event columns that cleaning reads."""
        names = self.events.source_columns
        if self.segments.table == "events" and self.segments.column not in names:
            names = (*names, self.segments.column or "")
        return names

    @property
    def category_origin(self) -> Literal["text", "cooccurrence", "delivered"]:
        """The origin that the YAML sets, or the best one that its columns allow."""
        if self.categories is not None:
            return self.categories.origin
        mapped = {*self.events.contract_columns, *(self.items.map if self.items else ())}
        return "delivered" if "category" in mapped else "text" if "text" in mapped else "cooccurrence"
