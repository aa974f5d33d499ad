"""Laws of the lines that name the readers of a table: each reader exists, and what reads it is named."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import dagster as dg
import pytest
import typer

from shift_assets.cli.app import app
from shift_assets.contracts.bi_files import ACTIVATION_FILE, BI_FILES
from shift_assets.contracts.marts import GENERATION, LOADED_PARTITIONS, MARTS, PUBLIC
from shift_assets.contracts.registry import TABLES
from shift_assets.contracts.table import Table
from shift_assets.definitions import build_definitions
from shift_assets_tests.workspaces import new_workspace

SQL = Path(__file__).parents[1] / "sql"
FILES = {f"{file.name}.duckdb" for file in BI_FILES}
PUBLISHING = {"warehouse", "bi_files"}
"""Assets that take every table, so that no table names them."""
ASSET_OF = {"model_registry": "interest_model"}
"""Assets named otherwise than their table."""
UNDECLARED = {("model_registry", "interest_model"), ("recommendation_outcomes", "recommendations")}
"""Readers of earlier days only, which are upstream of what they read: no dependency of Dagster's graph."""


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    return build_definitions(new_workspace(tmp_path_factory.mktemp("home")))


def specs(definitions: dg.Definitions) -> dict[str, dg.AssetSpec]:
    assets = [asset for asset in definitions.assets or [] if isinstance(asset, dg.AssetsDefinition)]
    return {spec.key.to_user_string(): spec for asset in assets for spec in asset.specs}


def commands() -> set[str]:
    """Every command, such as `shift-assets evaluate shifts`."""
    found: set[str] = set()

    def collect(command: object, path: str) -> None:
        found.add(path)
        for name, inner in getattr(command, "commands", {}).items():
            collect(inner, f"{path} {name}")

    collect(typer.main.get_command(app), "shift-assets")
    return found


def named(text: str) -> set[str]:
    """The names in backticks."""
    return set(re.findall(r"`([^`]+)`", text))


def every_table() -> list[Table]:
    return [*TABLES.values(), *MARTS.values(), *PUBLIC.values(), LOADED_PARTITIONS, GENERATION]


def readers_in_sql(folder: str, schema: str, table: str) -> set[str]:
    """The SQL files of `folder` that read a table of the warehouse."""
    pattern = re.compile(rf"\b{schema}\.{table}\b")
    return {file.stem for file in (SQL / folder).glob("*.sql") if pattern.search(file.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("table", every_table(), ids=lambda table: table.name)
def test_every_named_reader_exists(definitions: dg.Definitions, table: Table) -> None:
    """An asset, a mart, a published file, a sensor or a command; every reader of the line has such a name."""
    sensors = {sensor.name for sensor in definitions.sensors or []}
    known = {*specs(definitions), *MARTS, *FILES, *sensors, *commands()}
    assert named(table.consumer) <= known, named(table.consumer) - known
    readers = re.sub(r"\([^)]*\)", "", table.consumer).split(", ")
    assert named(readers[0]), table.consumer


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_a_table_names_exactly_the_assets_marts_and_files_that_read_it(
    definitions: dg.Definitions, table: Table
) -> None:
    """The asset graph, the SQL of the marts and the list of published tables say the same as the contract."""
    assets, names = specs(definitions), named(table.consumer)
    asset = ASSET_OF.get(table.name, table.name)
    if asset in assets:
        reading = {
            key for key, spec in assets.items() if asset in {dep.asset_key.to_user_string() for dep in spec.deps}
        }
        undeclared = {reader for read, reader in UNDECLARED if read == table.name}
        assert names & assets.keys() == (reading - PUBLISHING) | undeclared
    assert names & MARTS.keys() - {table.name} == readers_in_sql("marts", "base", table.name) - {table.name}
    published = ("base", table.name) in {(schema, each.name) for schema, each in ACTIVATION_FILE.tables}
    assert ("bi_activation.duckdb" in names) == published
    assert ("bi_public.duckdb" in names) == bool(readers_in_sql("public", "base", table.name))


@pytest.mark.parametrize("table", MARTS.values(), ids=lambda table: table.name)
def test_a_mart_names_the_files_that_it_reaches(table: Table) -> None:
    """Every mart is published; some feed the public aggregates."""
    read = bool(readers_in_sql("public", "marts", table.name))
    assert named(table.consumer) & FILES == {"bi_activation.duckdb", *(["bi_public.duckdb"] if read else [])}


def sentences(texts: Iterable[str]) -> list[str]:
    return [text for text in texts if not re.match(r"[A-Z][^.\n]{20,}", text)]


def test_every_table_and_asset_says_first_what_it_is(definitions: dg.Definitions) -> None:
    """A sentence without labels; grain, key and readers follow."""
    assert sentences(table.description for table in every_table() if table is not GENERATION) == []
    assert sentences(spec.description or "" for spec in specs(definitions).values()) == []
