"""Resources of the assets: the DuckDB file of the warehouse, opened by Dagster's own resource."""

from __future__ import annotations

from dagster_duckdb import DuckDBResource

from shift_assets.storage.warehouse import Warehouse
from shift_assets.workspace.workspace import Workspace

DUCKDB = "duckdb"
"""Name of the resource; an asset takes it as a parameter of that name."""

__all__ = ["DUCKDB", "DuckDBResource", "duckdb_resource", "warehouse_of"]


def duckdb_resource(workspace: Workspace) -> DuckDBResource:
    """The private DuckDB file of the installation."""
    return DuckDBResource(database=str(workspace.warehouse_file))


def warehouse_of(workspace: Workspace, duckdb: DuckDBResource) -> Warehouse:
    """The warehouse, opened through the resource."""
    return Warehouse(workspace.warehouse_file, workspace.settings.public.minimum_users, duckdb.get_connection)
