"""Events of a whole segment: one per change, opened once, with the right onset."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from shift_assets.contracts.partition import Partition
from shift_assets.contracts.shift import SEGMENT_EVENTS
from shift_assets.shift.segment.change_points import RECENT
from shift_assets.shift.segment.segment_events import WINDOW_DAYS, segment_events
from shift_assets_tests.shift.logs import SEGMENT, day, series_of

pytestmark = pytest.mark.slow

CHANGE, N_DAYS, N_USERS = 120, 150, 40


def segment(users_after: int = N_USERS, garden_after: float = 0.2, closed_on: int | None = None) -> pa.Table:
    """Forty users who come less often at weekends and divide twenty views over three categories."""
    random = np.random.default_rng(5)
    log = {}
    for user in range(max(users_after, N_USERS)):
        days = []
        for number in range(N_DAYS):
            known = user < (users_after if number >= CHANGE else N_USERS)
            comes = known and random.random() < (0.4 if number % 7 in (5, 6) else 0.8) and number % 7 != closed_on
            garden = garden_after if number >= CHANGE else 0.2
            views = random.multinomial(20, [garden, 0.5, 0.5 - garden]) if comes else [0, 0, 0]
            days.append({name: int(n) for name, n in zip(("garden", "mugs", "toys"), views, strict=True) if n})
        log[f"user {user}"] = days
    return series_of(log)


def events(
    series: pa.Table, first: int = 60, last: int = N_DAYS - 1, language: Literal["en", "zh"] = "en"
) -> list[dict[str, Any]]:
    partitions = [Partition(day(number), SEGMENT) for number in range(first, last + 1)]
    rows: list[dict[str, Any]] = segment_events(series, partitions, language).to_pylist()
    return rows


def test_a_move_of_the_whole_segment_is_one_event_per_category() -> None:
    """Garden doubles at the cost of toys: each is reported within days, opens once, has the right onset, and ends."""
    found = events(segment(garden_after=0.4))
    assert {(row["measure"], row["category"]) for row in found} == {
        ("category_share", "garden"),
        ("category_share", "toys"),
    }
    garden = [row for row in found if row["category"] == "garden"]
    assert [row["status"] for row in garden] == ["opened", *["continued"] * (len(garden) - 1)]
    assert garden[0]["day"] <= day(CHANGE + 4)
    assert garden[-1]["day"] < day(CHANGE + 2 * RECENT)
    assert {row["onset_day"] for row in garden} == {day(CHANGE)}
    assert garden[-1]["before"] == pytest.approx(0.2, abs=0.02)
    assert garden[-1]["after"] == pytest.approx(0.4, abs=0.02)


def test_more_users_are_no_change_of_interest() -> None:
    """Twice the users: volume and active users have events, the shares none."""
    found = events(segment(users_after=2 * N_USERS))
    assert {row["measure"] for row in found} == {"volume", "active_users"}
    opened = Counter(row["measure"] for row in found if row["status"] == "opened")
    assert opened == {"volume": 1, "active_users": 1}
    last = [row for row in found if row["measure"] == "active_users"][-1]
    assert last["after"] == pytest.approx(2 * last["before"], rel=0.1)


@pytest.mark.parametrize("closed_on", [None, 6])
def test_a_weekly_rhythm_is_no_event(closed_on: int | None) -> None:
    """Weekends, and weekdays on which the shop is closed, are no events, and neither is a steady segment."""
    assert events(segment(closed_on=closed_on)) == []


def test_every_run_gives_the_same_events() -> None:
    """Whether days are computed together or alone, from no more than their window, the rows are the same."""
    series = segment(garden_after=0.4)
    together = events(series, CHANGE - 15, CHANGE + 14)
    alone = []
    for number in range(CHANGE - 15, CHANGE + 15):
        window = pc.and_(
            pc.greater(series["day"], pa.scalar(day(number) - timedelta(days=WINDOW_DAYS), pa.date32())),
            pc.less_equal(series["day"], pa.scalar(day(number), pa.date32())),
        )
        alone += events(series.filter(window), number, number)
    assert together == alone
    assert together


def test_the_asset_reads_what_the_function_needs() -> None:
    """The windows that the asset graph names are those of the functions."""
    from shift_assets.defs.assets import shift as assets
    from shift_assets.shift.segment import alert_clusters

    assert (assets.EVENT_WINDOW_DAYS, assets.MOVE_WINDOW_DAYS) == (WINDOW_DAYS, alert_clusters.WINDOW_DAYS)


def test_a_silent_segment_is_reported() -> None:
    """When nobody comes any more, volume and users fall to zero; an unknown segment has no rows."""
    series = segment()
    silent = series.filter(pc.less(series["day"], pa.scalar(day(CHANGE), pa.date32())))
    found = events(silent, CHANGE, CHANGE + 5)
    assert {row["measure"] for row in found} == {"volume", "active_users"}
    assert {row["after"] for row in found} == {0.0}
    assert events(series.slice(0, 0)) == []


def test_the_event_is_one_sentence_in_either_language() -> None:
    """The sentence names category, onset and both shares."""
    rows = {language: events(segment(garden_after=0.4), language=language)[0] for language in ("en", "zh")}
    assert rows["en"]["explanation"].startswith("Since 1 Mar more of all interest goes to garden: ")
    assert rows["zh"]["explanation"].startswith("自3月1日起garden 的兴趣占比上升:")
    assert SEGMENT_EVENTS.conform(pa.Table.from_pylist(list(rows.values()), schema=SEGMENT_EVENTS.schema)).num_rows == 2
