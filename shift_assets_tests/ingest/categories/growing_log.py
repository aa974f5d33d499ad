"""A landed log of three tastes in which new items of each taste keep appearing."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np

from shift_assets.ingest.categories.category_model import CategoryModel
from shift_assets.ingest.cleaning.category_window import fit_landed_categories
from shift_assets.ingest.rows.parse_context import ParseContext
from shift_assets_tests.ingest.dirty_data import JSON_SOURCE, context_of, deliver, good_line, source_of

FIRST = date(2026, 2, 2)
FITTED_DAYS = 28
SOURCE = JSON_SOURCE + "categories: {from: cooccurrence, clusters: 3}\n"
USERS = 30


def day(number: int) -> date:
    """The landed day of this number, from 0."""
    return FIRST + timedelta(days=number)


def growing_landing(home: Path, days: int, first: int = 0) -> ParseContext:
    """Land the days of the log from the one numbered `first` up to and without the one numbered `days`.

    On each day after the fit one new item of each taste appears, and four users of the taste meet it within two days.
    """
    context = context_of(home / "landing", source_of(home / "landing", SOURCE))
    for number in range(first, days):
        land_day(context, number)
    return context


def land_day(context: ParseContext, number: int) -> None:
    """Land one day of the log."""
    random = np.random.default_rng(number)
    noon = int(datetime(*day(number).timetuple()[:3], 12, tzinfo=UTC).timestamp())
    lines = []
    for user in range(USERS):
        taste = "abc"[user % 3]
        items = [f"{taste}{item}" for item in random.integers(0, 8, 3)]
        for age in (0, 1):
            if number - age >= FITTED_DAYS and user // 3 % 5 in (2 * age, 2 * age + 1):
                items.append(f"{taste}-new-{number - age}")
        lines += [good_line(user=f"u{user}", item=item, t=noon + position) for position, item in enumerate(items)]
    deliver(context.landing, "a.jsonl", b"\n".join(lines) + b"\n", day(number))


def folder_of(context: ParseContext, number: int) -> Path:
    """The landing folder of a day."""
    return context.landing / "events" / f"day={day(number).isoformat()}"


def fitted(context: ParseContext) -> CategoryModel:
    """The groups of the first landed days."""
    return fit_landed_categories(
        context, FIRST, seed=1, engine="embedded", spark_remote="local[*]", staging=context.landing.parent / "staging"
    )
