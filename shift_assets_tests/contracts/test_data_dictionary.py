"""Laws of the data dictionary."""

from __future__ import annotations

from pathlib import Path

from shift_assets.contracts.data_dictionary import dictionary
from shift_assets.contracts.marts import MARTS, PUBLIC
from shift_assets.contracts.registry import TABLES


def test_the_file_is_up_to_date() -> None:
    stored = (Path(__file__).parents[2] / "docs" / "data_dictionary.md").read_text(encoding="utf-8")
    assert stored == dictionary(), "run: python -m shift_assets.contracts.data_dictionary > docs/data_dictionary.md"


def test_every_table_and_column_is_in_it() -> None:
    text = dictionary()
    for table in (*TABLES.values(), *MARTS.values(), *PUBLIC.values()):
        assert f"\n### {table.name}\n" in text
        for column in table.columns:
            assert column.meaning
            assert f"| `{column.name}` |" in text
