"""Shares of a segment's interest by category, recent against reference window, with the pairs of items that rise."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.arrays import CategoryCodes, Float64Array, Int64Array, sum_by
from shift_assets.contracts.shift import SEGMENT_SHIFTS
from shift_assets.shift.segment.rising_pairs import rising_pairs

RECENT_DAYS = 7
"""Calendar days of the recent window; both windows are whole weeks, so that weekdays weigh the same."""
REFERENCE_DAYS = 28
STEADY_Z = 3.0
"""Standard errors below which a category counts as steady.

With a t distribution of about six degrees of freedom, 2.4 % of the categories without a change are beyond 3.
"""


def segment_shifts(series: pa.Table, events: pa.Table, day: date, segment: str) -> pa.Table:
    """Return `segment_shifts` of one day and segment: one row per category with interest in either window.

    Shares are the category's part of the score of all users. z is the change of share over its standard error, each
    window's share being a ratio estimate with days as clusters (Cochran, "Sampling Techniques", 3rd ed., section 6.3):
    the events of a day are not independent draws. It is null where a window has fewer than two days with interest or
    no variation. A category is rising or falling from `STEADY_Z` standard errors.

    Args:
        series: `interest_series` of the segment over the 35 calendar days up to `day`; other rows are ignored.
            Recent are the 7 days up to `day`, reference the 28 before.
        events: `clean_events` of the same days, for the rising pairs.
        day: day of the rows.
        segment: the segment.
    """
    recent = _window(series, day, segment, first=0, length=RECENT_DAYS)
    reference = _window(series, day, segment, first=RECENT_DAYS, length=REFERENCE_DAYS)
    codes = CategoryCodes(recent["category"], reference["category"])
    if len(codes) == 0:
        return SEGMENT_SHIFTS.empty()
    before, error_before = _share_and_error(reference, codes)
    after, error_after = _share_and_error(recent, codes)
    error = np.sqrt(error_before**2 + error_after**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        z_score = np.where(error > 1e-12, (after - before) / error, np.nan)
    direction = np.where(z_score >= STEADY_Z, "rising", np.where(z_score <= -STEADY_Z, "falling", "steady"))
    interested = recent.filter(pc.greater(recent["score"], 0))
    users = interested.group_by(["category", "user_id"]).aggregate([])
    pairs = rising_pairs(
        _window(events, day, segment, first=0, length=RECENT_DAYS),
        _window(events, day, segment, first=RECENT_DAYS, length=REFERENCE_DAYS),
    )
    return SEGMENT_SHIFTS.conform(
        pa.table(
            {
                "day": pa.repeat(pa.scalar(day, pa.date32()), len(codes)),
                "segment": pa.repeat(pa.scalar(segment), len(codes)),
                "category": codes.names,
                "share_before": pa.array(np.clip(before, 0.0, 1.0)),
                "share_after": pa.array(np.clip(after, 0.0, 1.0)),
                "z_score": pa.array(z_score, from_pandas=True),
                "direction": pa.array(direction.tolist()),
                "n_users": pa.array(np.bincount(codes.encode(users["category"]), minlength=len(codes))),
                "rising_pairs": pa.array(
                    [pairs.get(name, []) for name in codes.names.to_pylist()],
                    type=SEGMENT_SHIFTS.column("rising_pairs").type,
                ),
            }
        )
    )


def _window(table: pa.Table, day: date, segment: str, *, first: int, length: int) -> pa.Table:
    """Rows of the segment on the `length` days that end `first` days before `day`."""
    last_day = day - timedelta(days=first)
    inside = pc.and_(
        pc.greater(table["day"], pa.scalar(last_day - timedelta(days=length), pa.date32())),
        pc.less_equal(table["day"], pa.scalar(last_day, pa.date32())),
    )
    return table.filter(pc.and_(inside, pc.equal(table["segment"], segment)))


def _share_and_error(series: pa.Table, codes: CategoryCodes) -> tuple[Float64Array, Float64Array]:
    """Score share [category] of a window and its standard error, nan with fewer than two days of interest."""
    series = series.sort_by([("day", "ascending"), ("user_id", "ascending"), ("category", "ascending")])
    days, day = np.unique(series["day"].cast(pa.int32()).to_numpy(), return_inverse=True)
    cell: Int64Array = day * len(codes) + codes.encode(series["category"])
    mass = sum_by(cell, series["score"].to_numpy(), len(days) * len(codes)).reshape(len(days), len(codes))
    mass = mass[mass.sum(axis=1) > 0]
    total = mass.sum()
    if total == 0:
        return np.zeros(len(codes)), np.full(len(codes), np.nan)
    share = mass.sum(axis=0) / total
    n_days = len(mass)
    if n_days < 2:
        return share, np.full(len(codes), np.nan)
    residual = mass - share * mass.sum(axis=1, keepdims=True)
    return share, np.sqrt(n_days / (n_days - 1) * (residual**2).sum(axis=0)) / total
