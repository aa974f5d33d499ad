"""The SQL texts under `sql/`, found in a checkout and in the installed package alike."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def read_sql(name: str) -> str:
    """The text of `sql/<name>`, for example `clean/duplicates.sql`.

    `shift_assets/sql` is a link to the top-level folder, which a wheel carries as a folder of its own.
    Raises FileNotFoundError where there is no such text.
    """
    return files("shift_assets").joinpath("sql", *name.split("/")).read_text(encoding="utf-8")
