from __future__ import annotations

from pathlib import Path

import pytest

from shift_assets.contracts.sql_text import read_sql

TOP = Path(__file__).parents[2] / "sql"


def test_every_text_under_sql_is_found_through_the_package() -> None:
    """What the package reads is what lies in the top-level folder."""
    names = [path.relative_to(TOP).as_posix() for path in TOP.glob("*/*.sql")]
    assert "clean/clean.sql" in names
    for name in names:
        assert read_sql(name) == (TOP / name).read_text(encoding="utf-8")


def test_a_missing_text_is_named() -> None:
    """The error says which file."""
    with pytest.raises(FileNotFoundError, match=r"clean/no-such\.sql"):
        read_sql("clean/no-such.sql")
