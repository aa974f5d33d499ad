"""Calendar days as numbers, as Arrow's date32 and the arrays of the domain have them."""

from __future__ import annotations

from datetime import date, timedelta

EPOCH = date(1970, 1, 1)


def day_number(day: date) -> int:
    """Days from 1970-01-01 to `day`."""
    return (day - EPOCH).days


def date_of(number: int) -> date:
    """The day that is `number` days after 1970-01-01."""
    return EPOCH + timedelta(days=number)
