"""Check and evaluate the SQL expressions of a source YAML.

An expression comes from a user and runs on every raw row, so it may only compute a value of its own row: no
subquery, no table, no file, no setting, no clock. DuckDB evaluates it inside the parser, on both engines. A row on
which it fails (an impossible cast, an overflow) gives null.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import duckdb
import pyarrow as pa
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from shift_assets.errors import UserError

MAXIMUM_LENGTH = 4000
"""Maximum characters of an expression; keeps the parser's recursion in bounds."""

FUNCTIONS = frozenset(
    (
        *("lower", "upper", "trim", "ltrim", "rtrim", "length", "substr", "substring", "left", "right", "replace"),
        *("concat", "split_part", "contains", "starts_with", "ends_with"),
        *("regexp_matches", "regexp_extract", "regexp_replace"),
        *("coalesce", "nullif", "if", "greatest", "least", "abs", "round", "floor", "ceil"),
        *("cast", "try_cast", "strptime", "try_strptime"),
    )
)
"""Functions that an expression may call."""

_NODES: tuple[type[exp.Expression], ...] = (
    exp.Column, exp.Identifier, exp.Literal, exp.Boolean, exp.Null, exp.Paren, exp.Tuple,
    exp.Case, exp.If, exp.Not, exp.And, exp.Or, exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE,
    exp.Like, exp.ILike, exp.In, exp.Between, exp.Is, exp.Escape,
    exp.Add, exp.Sub, exp.Mul, exp.Div, exp.IntDiv, exp.Mod, exp.Neg, exp.DPipe,
    exp.Cast, exp.TryCast, exp.DataType,
)  # fmt: skip

_CAST_TYPES = frozenset(
    {
        exp.DataType.Type.TEXT,
        exp.DataType.Type.VARCHAR,
        exp.DataType.Type.INT,
        exp.DataType.Type.BIGINT,
        exp.DataType.Type.SMALLINT,
        exp.DataType.Type.DOUBLE,
        exp.DataType.Type.FLOAT,
        exp.DataType.Type.BOOLEAN,
        exp.DataType.Type.DATE,
        exp.DataType.Type.TIMESTAMP,
    }
)


class ExpressionError(UserError, ValueError):
    """An expression is not allowed or does not fit its columns; a ValueError too, for pydantic validators raise it."""


@dataclass(frozen=True, slots=True)
class Expression:
    """An allowed expression: its text, its DuckDB form, and the column behind each alias of that form."""

    text: str
    sql: str
    columns: dict[str, str]


@lru_cache(maxsize=256)
def parse_expression(text: str) -> Expression:
    """Check and translate an expression.

    Column names are case-sensitive. Aliases replace them in the DuckDB form, so that DuckDB's rules for names never
    apply to raw names; casts become casts that give null where they fail.

    Raises:
        ExpressionError: The text is not a single allowed expression.
    """
    if len(text) > MAXIMUM_LENGTH:
        raise ExpressionError(f"{len(text)} characters; an expression has at most {MAXIMUM_LENGTH}")
    try:
        statements = sqlglot.parse(text, read="duckdb")
    except (SqlglotError, RecursionError) as error:
        raise ExpressionError(f"not an SQL expression: {str(error).splitlines()[0]}") from error
    if len(statements) != 1 or statements[0] is None:
        raise ExpressionError("exactly one SQL expression is expected, without semicolon")
    tree = statements[0]
    for node in tree.walk():
        _check(node)
    aliases: dict[str, str] = {}

    tree = exp.Paren(this=tree.copy())
    for column in list(tree.find_all(exp.Column)):
        column.replace(exp.column(aliases.setdefault(column.name, f"c{len(aliases)}"), quoted=True))
    for cast in reversed([node for node in tree.find_all(exp.Cast) if type(node) is exp.Cast]):
        cast.replace(exp.TryCast(this=cast.this, to=cast.args["to"]))
    sql = tree.this.sql(dialect="duckdb")
    return Expression(text, f"try({sql})", {alias: name for name, alias in aliases.items()})


def _check(node: exp.Expr) -> None:
    if isinstance(node, exp.DataType):
        if node.this not in _CAST_TYPES or node.expressions:
            raise ExpressionError(
                f"cast to {node.sql('duckdb')} is not allowed; "
                "cast to varchar, bigint, double, boolean, date or timestamp"
            )
    elif isinstance(node, exp.Column):
        if node.table or isinstance(node.this, exp.Star):
            raise ExpressionError(f"{node.sql('duckdb')}: name a column alone, without a table")
    elif isinstance(node, exp.In):
        if (
            node.args.get("query") is not None
            or node.args.get("unnest") is not None
            or node.args.get("field") is not None
        ):
            raise ExpressionError("`in` takes a list of values, no subquery and no column")
    elif isinstance(node, _NODES):
        return
    elif isinstance(node, exp.Func):
        name = node.sql(dialect="duckdb").partition("(")[0].strip().lower()
        if name not in FUNCTIONS:
            raise ExpressionError(f"function {name} is not allowed; allowed are {', '.join(sorted(FUNCTIONS))}")
    elif not isinstance(node, exp.Var):
        raise ExpressionError(
            f"{type(node).__name__.lower()} is not allowed: "
            "an expression compares, combines and converts the columns of one row"
        )


def new_connection() -> duckdb.DuckDBPyConnection:
    """Open an in-memory DuckDB with one thread, no file access, no extensions and locked settings."""
    connection = duckdb.connect(
        ":memory:",
        config={
            "threads": "1",
            "enable_external_access": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "python_enable_replacements": "false",
        },
    )
    connection.execute("set timezone = 'UTC'")
    connection.execute("set lock_configuration = true")
    return connection


def check_binds(sql: str, types: dict[str, str], **parameters: str) -> None:
    """Check that DuckDB can evaluate `sql` over columns of these types.

    Raises:
        ExpressionError: It cannot; the message is DuckDB's.
    """
    columns = ", ".join(f'null::{kind} as "{alias}"' for alias, kind in types.items()) or "1 as nothing"
    connection = new_connection()
    try:
        connection.execute(f"select {sql} from (select {columns})", parameters or None)  # noqa: S608
    except duckdb.Error as error:
        raise ExpressionError(_first_line(error, {})) from error
    finally:
        connection.close()


def evaluate(
    connection: duckdb.DuckDBPyConnection,
    expression: Expression,
    columns: dict[str, pa.Array],
    cast: str,
    count: int,
) -> pa.Array:
    """Return the value of an expression on each row.

    Args:
        connection: From `new_connection`.
        expression: The expression.
        columns: The values of each column that it names.
        cast: DuckDB type of the result.
        count: Number of rows.

    Raises:
        ExpressionError: The types of the columns do not fit the expression.
    """
    named = {alias: columns[name] for alias, name in expression.columns.items()}
    rows = pa.table(named or {"nothing": pa.nulls(count)})
    connection.register("raw_rows", rows)
    try:
        answer = connection.execute(f"select cast({expression.sql} as {cast}) from raw_rows").to_arrow_table()  # noqa: S608
    except duckdb.Error as error:
        raise ExpressionError(f"{expression.text}: {_first_line(error, expression.columns)}") from error
    finally:
        connection.unregister("raw_rows")
    return answer.column(0).combine_chunks()


def _first_line(error: duckdb.Error, aliases: dict[str, str]) -> str:
    line = str(error).splitlines()[0]
    for alias, name in aliases.items():
        line = line.replace(f'"{alias}"', name)
    return line
