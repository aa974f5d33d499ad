"""Interest series: a user's events in a category on a day, as counts and as one interest score.

The definition of the score belongs here; anything that looks at more than one step of time does not.
"""

from __future__ import annotations

from functools import reduce
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.contracts.cleaning import BEHAVIORS
from shift_assets.contracts.columns import UNCATEGORISED
from shift_assets.contracts.interest import INTEREST_SERIES
from shift_assets.settings.root import InterestSettings

Step = Literal["hour", "day", "week"]

RATING_MIDPOINT = 3.0
"""Stars that express neither liking nor dislike on the usual scale of five."""

_KEYS = ("day", "segment", "user_id", "category")
_COUNTS = tuple(f"n_{behavior}" for behavior in BEHAVIORS)


def interest_series(
    events: pa.Table, settings: InterestSettings, timezone: str = "UTC", step: Step = "day"
) -> pa.Table:
    """Return `interest_series`: one row per day, segment, user and category with an event, sorted by these.

    Score, by `settings.score`:

    - `weighted`: sum over behaviours of weight x count, plus (stars - 3) for each rating; floored at 0;
    - `click_through`: n_click / max(n_view, n_click), the share 0..1 of views that were clicked; 0 without clicks;
    - `conversion`: n_purchase / max(n_view + n_click, n_purchase), the share 0..1 of visits that ended in a
      purchase; 0 without purchases;
    - `amount`: the column `amount`, floored at 0.

    `amount` is quantity x price of purchases minus that of returns, in the shop's currency. Shops deliver the
    quantity of a return with either sign, so its absolute value counts; a missing quantity is one unit, a missing
    price adds nothing.

    Args:
        events: columns of `clean_events` of any days and segments, in any order of rows.
        settings: the definition of the score.
        timezone: zone of the shop, for the step `hour`.
        step: `day` gives exactly the contract's columns; `week` the same with `day` the week's Monday; `hour` one row
            per hour, with the column `hour` (0 to 23, clock of `timezone`) added at the end.

    Raises:
        ValueError: the step is unknown.
    """
    if step not in ("hour", "day", "week"):
        raise ValueError(f"unknown step {step!r}; known: hour, day, week")
    keyed = _with_step(events, timezone, step)
    behavior = keyed["behavior"]
    is_purchase, is_return = pc.equal(behavior, "purchase"), pc.equal(behavior, "return")
    paid = pc.multiply(
        pc.abs(pc.fill_null(keyed["quantity"], 1.0)),
        pc.fill_null(keyed["price"], 0.0),
    )
    sign = pc.subtract(pc.cast(is_purchase, pa.float64()), pc.cast(is_return, pa.float64()))
    stars = pc.subtract(pc.fill_null(keyed["rating"], RATING_MIDPOINT), RATING_MIDPOINT)
    keys = [*_KEYS, *(["hour"] if step == "hour" else [])]
    measured = keyed.select(keys)
    for name, known in zip(_COUNTS, BEHAVIORS, strict=True):
        measured = measured.append_column(name, pc.cast(pc.equal(behavior, known), pa.int64()))
    measured = measured.append_column("amount", pc.multiply(paid, sign))
    measured = measured.append_column("stars", pc.multiply(stars, pc.cast(pc.equal(behavior, "rating"), pa.float64())))
    # One order of addition, whatever the order of the rows: float sums are the same to the last bit.
    measured = measured.sort_by([(name, "ascending") for name in (*keys, "amount", "stars")])
    sums = measured.group_by(keys, use_threads=False).aggregate(
        [(name, "sum") for name in (*_COUNTS, "amount", "stars")]
    )
    sums = sums.rename_columns([name.removesuffix("_sum") for name in sums.column_names])
    sums = sums.sort_by([(name, "ascending") for name in keys])
    sums = sums.append_column("score", _score(sums, settings))
    series = INTEREST_SERIES.conform(sums.select(INTEREST_SERIES.schema.names))
    return series.append_column("hour", sums["hour"]) if step == "hour" else series


def _with_step(events: pa.Table, timezone: str, step: Step) -> pa.Table:
    if step == "week":
        monday = pc.cast(pc.floor_temporal(events["day"], 1, "week"), pa.date32())
        return events.set_column(events.schema.get_field_index("day"), "day", monday)
    if step == "hour":
        return events.append_column("hour", pc.hour(local_time(events["event_ts"], timezone)))
    return events


def local_time(event_ts: pa.ChunkedArray, timezone: str) -> pa.ChunkedArray:
    """Wall-clock time (no zone) in `timezone` of UTC instants."""
    return pc.local_timestamp(pc.cast(event_ts, pa.timestamp("us", tz=timezone)))


def _score(sums: pa.Table, settings: InterestSettings) -> pa.ChunkedArray:
    if settings.score == "click_through":
        return _ratio(sums["n_click"], sums["n_view"])
    if settings.score == "conversion":
        return _ratio(sums["n_purchase"], pc.add(sums["n_view"], sums["n_click"]))
    if settings.score == "amount":
        return pc.max_element_wise(sums["amount"], 0.0)
    points = sums["stars"]
    for behavior, weight in sorted(settings.weights.items()):
        points = pc.add(points, pc.multiply(pc.cast(sums[f"n_{behavior}"], pa.float64()), float(weight)))
    return pc.max_element_wise(points, 0.0)


def _ratio(hits: pa.ChunkedArray, trials: pa.ChunkedArray) -> pa.ChunkedArray:
    """hits / max(trials, hits); 0 where there are no hits."""
    at_least_one = pc.max_element_wise(pc.max_element_wise(trials, hits), 1)
    return pc.divide(pc.cast(hits, pa.float64()), pc.cast(at_least_one, pa.float64()))


def uncategorised_share(series: pa.Table) -> float:
    """Return the share of events without a category in rows of `interest_series`; 0 where there are no events."""
    events = reduce(pc.add, (series[name] for name in _COUNTS))
    without = pc.sum(events.filter(pc.equal(series["category"], UNCATEGORISED))).as_py() or 0
    return float(without / max(pc.sum(events).as_py() or 0, 1))
