"""The state of every user from day to day: profiles, recent days, evidence, smoothed indicators, the open alert.

`interest_state` of a day is `advance(interest_state of the day before, interest_series of the day)`. Only users
active that day are computed; all others are carried as Arrow rows.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.contracts.day import day_number
from shift_assets.contracts.shift import DETECTOR_SELF_CHECK, INTEREST_STATE
from shift_assets.settings.root import Settings
from shift_assets.shift.alerts.detector_selection import DetectorSelection, detector_selection, newest_check
from shift_assets.shift.detector.active_users import ActiveUsers, advance_active
from shift_assets.shift.detector.carry import carry_inactive, merge_active, rows_of_active, sorted_by_user
from shift_assets.shift.detector.statistics import CalibratedDetector

_log = logging.getLogger(__name__)


def advance(
    state: pa.Table | None,
    series_of_day: pa.Table,
    day: date,
    segment: str,
    settings: Settings,
    *,
    model: CalibratedDetector | None = None,
    with_p_values: bool = True,
) -> pa.Table:
    """Return the state as of the end of `day`, one row per user ever active, sorted by user.

    For users active on the day, the day is appended to their recent days, their profile is decayed and added to, and
    their indicators and alert are evaluated. All others keep everything, but an alert that closed on the day before
    is dropped, and one not renewed for `alerts.close_after_days` closes.

    Args:
        state: `interest_state` of the day before, in any order of rows; None or empty at the beginning.
        series_of_day: `interest_series` of this day and segment, in any order of rows; empty where nobody came.
        day: day to advance to.
        segment: the segment of both.
        settings: settings of evidence, indicators and alerts.
        model: the learned detector, which gives confidence and p-values; without it the posterior is the confidence.
        with_p_values: whether p-values are computed from shuffled days where no learned detector gives them; it changes
            nothing else. By the alert rule `discovery` they always are.

    Raises:
        ValueError: `state` is not that of the day before, or the series is of another day or segment.
    """
    begin = time.perf_counter()
    known = sorted_by_user(INTEREST_STATE.empty() if state is None else state)
    _require(known, day - timedelta(days=1), segment, "interest_state")
    _require(series_of_day, day, segment, "interest_series")
    series = series_of_day.sort_by([("user_id", "ascending"), ("category", "ascending")])
    active = pc.unique(series["user_id"])
    today = carry_inactive(known, day, settings.alerts)
    if len(active):
        row_of_active = pc.index_in(active, value_set=known["user_id"])
        users = ActiveUsers.read(
            known, rows_of_active(known, row_of_active), active, series, day=day, segment=segment, settings=settings
        )
        advanced = advance_active(users, settings, model, with_p_values=with_p_values)
        today = merge_active(today, advanced, row_of_active)
    seconds = time.perf_counter() - begin
    _log.info("interest state %s %s: %d users, %d active, %.2f s", day, segment, len(today), len(active), seconds)
    return today


def advance_range(
    state: pa.Table | None,
    series: pa.Table,
    days: Iterable[date],
    segment: str,
    settings: Settings,
    *,
    checks: pa.Table | None = None,
    model_of: Callable[[DetectorSelection], CalibratedDetector | None] = lambda _: None,
    p_values_from: date | None = None,
) -> Iterator[tuple[date, pa.Table]]:
    """Advance the state over consecutive days, and yield every day with its state.

    Args:
        state: `interest_state` of the day before the first, as in `advance`.
        series: `interest_series` of these days and this segment; other days in it are ignored.
        days: the days, ascending.
        segment: the segment.
        settings: as in `advance`.
        checks: rows of `detector_self_check`; the newest of the segment before a day chooses that day's windows and
            its learned detector.
        model_of: reads the learned detector that a self-check chose.
        p_values_from: first day whose p-values are computed; None for all days.
    """
    day_numbers = series["day"].cast(pa.int32()).to_numpy()
    order = np.argsort(day_numbers, kind="stable")
    series, day_numbers = series.take(pa.array(order)), day_numbers[order]
    for day in days:
        first, last = np.searchsorted(day_numbers, [day_number(day), day_number(day) + 1])
        wanted = p_values_from is None or day >= p_values_from
        rows = series.slice(int(first), int(last - first))
        chosen = _selection(settings, checks, segment, day)
        state = advance(
            state,
            rows,
            day,
            segment,
            settings.model_copy(update={"evidence": chosen.evidence(settings.evidence)}),
            model=model_of(chosen),
            with_p_values=wanted,
        )
        yield day, state


def _selection(settings: Settings, checks: pa.Table | None, segment: str, day: date) -> DetectorSelection:
    """What the newest self-check before `day` chose; the settings' own windows if there is none."""
    rows = DETECTOR_SELF_CHECK.empty() if checks is None else newest_check(checks, segment, day)
    return detector_selection(rows, settings.evidence)


def _require(table: pa.Table, day: date, segment: str, name: str) -> None:
    for column, wanted in (("day", day), ("segment", segment)):
        found = [value for value in pc.unique(table[column]).to_pylist() if value != wanted]
        if found:
            raise ValueError(f"{name} has {column} {found[0]}, expected {wanted} only")
