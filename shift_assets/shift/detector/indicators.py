"""The three classic indicators of an interest shift, without any threshold.

Scores are sparse: arrays over cells, a cell being one user and one category with a score in either window; `user[cell]`
is its user, ascending.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64

from shift_assets.arrays import Float64Array, Int64Array, sum_by


def change_rate(
    count_recent: Float64Array, count_reference: Float64Array, days_recent: Int64Array, days_reference: Int64Array
) -> Float64Array:
    """Relative change of the mean daily number of events: recent mean / reference mean - 1, at least -1.

    All arrays have the same shape (or broadcast), which is returned. nan where a window has no day, or the reference
    window no event.

    >>> change_rate(np.array([14.0]), np.array([28.0]), np.array([7]), np.array([28])).tolist()
    [1.0]
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = (count_recent / days_recent) / (count_reference / days_reference) - 1.0
    return np.where((days_recent > 0) & (count_reference > 0), rate, np.nan)


def interest_gap(
    share_recent: Float64[Float64Array, " cell"],
    share_reference: Float64[Float64Array, " cell"],
    user: Int64[Int64Array, " cell"],
    n_users: int,
) -> tuple[Float64[Float64Array, " user"], Float64[Float64Array, " user"]]:
    """Largest (0..1) and sum (0..2) of |share recent - share reference| over categories.

    Args:
        share_recent: share of the recent window's score.
        share_reference: share of the reference window's score.
        user: user of every cell.
        n_users: number of users.

    Returns:
        The largest gap and the sum of gaps; nan for a user without score in a window.
    """
    gap = np.abs(share_recent - share_reference)
    largest = np.full(n_users, -np.inf)
    with np.errstate(invalid="ignore"):  # a nan makes its user's maximum nan, as intended
        np.maximum.at(largest, user, gap)
    largest = np.where(np.isneginf(largest), np.nan, largest)
    total = np.where(np.isnan(largest), np.nan, sum_by(user, gap, n_users))
    return np.clip(largest, 0.0, 1.0), np.clip(total, 0.0, 2.0)


def distribution_distance(
    recent: Float64[Float64Array, " cell"],
    reference: Float64[Float64Array, " cell"],
    user: Int64[Int64Array, " cell"],
    n_users: int,
    smoothing: float,
) -> Float64[Float64Array, " user"]:
    """Jensen-Shannon distance (base 2, 0..1) of the two smoothed category distributions.

    The square root of the Jensen-Shannon divergence (Lin 1991) is a metric: Endres and Schindelin, "A new metric for
    probability distributions", IEEE Trans. Inf. Theory 49 (2003).

    Args:
        recent: score summed over the recent window.
        reference: score summed over the reference window.
        user: user of every cell.
        n_users: number of users.
        smoothing: added to every category of the user in either window, so that the result does not depend on the
            size of the catalogue.

    Returns:
        The distance; nan for a user without score in a window.
    """
    n_categories = np.bincount(user, minlength=n_users)
    totals = [sum_by(user, score, n_users) for score in (recent, reference)]
    p, q = (
        (score + smoothing) / (total + smoothing * n_categories)[user]
        for score, total in zip((recent, reference), totals, strict=True)
    )
    middle = (p + q) / 2
    terms = (p * np.log2(p / middle) + q * np.log2(q / middle)) / 2
    divergence = sum_by(user, terms, n_users)
    known = (totals[0] > 0) & (totals[1] > 0)
    return np.where(known, np.sqrt(np.clip(divergence, 0.0, 1.0)), np.nan)


def ewma(previous: Float64Array, value: Float64Array, half_life: float | None) -> Float64Array:
    """Exponentially weighted mean after one more active day; `value` itself without a half-life.

    Where `previous` is nan the mean restarts at `value`; where `value` is nan it is nan.

    >>> ewma(np.array([1.0, np.nan]), np.array([0.0, 3.0]), half_life=1.0).tolist()
    [0.5, 3.0]
    """
    if half_life is None:
        return value
    keep = 2.0 ** (-1.0 / half_life)
    return np.where(np.isnan(previous), value, keep * previous + (1.0 - keep) * value)
