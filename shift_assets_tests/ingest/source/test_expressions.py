from __future__ import annotations

import pyarrow as pa
import pytest

from shift_assets.ingest.source.expressions import ExpressionError, evaluate, new_connection, parse_expression

COLUMNS = {
    "invoice": pa.array(["C1", "2", None, ""]),
    "price": pa.array([1.5, -1.0, None, 0.0]),
    "Weird Column": pa.array(["x", "Y", "z", "x"]),
    "c0": pa.array(["1", "2", "words", None]),
}


def value(sql: str, cast: str = "varchar") -> list[object]:
    connection = new_connection()
    try:
        found: list[object] = evaluate(connection, parse_expression(sql), COLUMNS, cast, 4).to_pylist()
        return found
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("sql", "cast", "expected"),
    [
        ("case when invoice like 'C%' then 'return' else 'purchase' end", "varchar", ["return", *["purchase"] * 3]),
        ("price <= 0", "boolean", [False, True, None, True]),
        ("not regexp_matches(invoice, '^[0-9]+$')", "boolean", [True, False, None, True]),
        ("invoice in ('C1', '2') and price between 0 and 2", "boolean", [True, False, None, False]),
        ("cast(c0 as int) * 2", "bigint", [2, 4, None, None]),
        ("cast(cast(c0 as double) as varchar)", "varchar", ["1.0", "2.0", None, None]),
        ("lower(\"Weird Column\") || '-' || coalesce(c0, '?')", "varchar", ["x-1", "y-2", "z-words", "x-?"]),
        ("abs(price)", "double", [1.5, 1.0, None, 0.0]),
        ("split_part(substr(invoice, 1, 2), 'C', 2)", "varchar", ["1", "", None, ""]),
        ("1 + 1", "bigint", [2, 2, 2, 2]),
        ("invoice is null or \"Weird Column\" = 'Y'", "boolean", [False, True, True, False]),
        ("9223372036854775807 + cast(c0 as bigint)", "bigint", [None, None, None, None]),
    ],
)
def test_an_allowed_expression_is_evaluated_row_by_row(sql: str, cast: str, expected: list[object]) -> None:
    """A row on which an expression cannot be evaluated gives null and harms no other row."""
    assert value(sql, cast) == expected


@pytest.mark.parametrize(
    "sql",
    [
        "(select 1)",
        "exists (select 1)",
        "price in (select 1)",
        "read_csv('/etc/passwd')",
        "read_text('/etc/passwd')",
        "getenv('SHIFT_PRIVACY_KEY')",
        "current_setting('threads')",
        "current_date",
        "now()",
        "random()",
        "count(*)",
        "sum(price)",
        "abs(price) filter (where true)",
        "row_number() over ()",
        "price; drop table x",
        "drop table x",
        "copy x to '/tmp/x'",
        "attach '/tmp/x'",
        "pragma version",
        "install httpfs",
        "t.price",
        "*",
        "columns(*)",
        "[price]",
        "{'a': price}",
        "price[1]",
        "x -> x",
        "$1",
        "?",
        "cast(price as struct(a int))",
        "cast(price as int[])",
        "repeat(invoice, 1000000000)",
        "lower(invoice order by price)",
        "invoice collate nocase",
        "(",
        "",
        "price <",
        "'" + "x" * 5000 + "'",
        "(" * 1500 + "1" + ")" * 1500,
    ],
)
def test_anything_that_leaves_its_row_is_refused(sql: str) -> None:
    """No subquery, aggregate, function off the list, file, setting, clock or statement."""
    with pytest.raises(ExpressionError):
        parse_expression(sql)


def test_columns_of_a_wrong_type_are_an_error_that_names_them() -> None:
    """An expression that does not fit the file's types says so in the file's own names."""
    with pytest.raises(ExpressionError, match="price"):
        value("price like 'x%' and lower(price) = 1")


def test_the_connection_reads_no_file() -> None:
    """Even a statement that slipped through could not leave the process."""
    connection = new_connection()
    for statement in (
        "from read_text('/etc/passwd')",
        "set enable_external_access = true",
        "copy (select 1) to '/tmp/x'",
    ):
        with pytest.raises(Exception, match=r"disabled|locked|[Cc]annot"):
            connection.execute(statement)
    connection.close()
