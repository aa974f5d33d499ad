"""The three classic indicators of an interest shift, as defined; nothing here knows a threshold.

Scores are sparse: arrays over cells, a cell being one user and one category that the user met in either window;
`user[cell]` says whose it is, ascending.
"""

from __future__ import annotations

import numpy as np

from shift_assets.arrays import Float64Array, Int64Array, sum_by


def change_rate(
    count_recent: Float64Array, count_reference: Float64Array, days_recent: Int64Array, days_reference: Int64Array
) -> Float64Array:
    """Relative change of the mean daily number of behaviours: recent mean / reference mean - 1, at least -1.

    All arrays have the same shape (or broadcast), which is returned. nan where a window has no day, or the
    reference window no behaviour, since nothing can be relative to it.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = (count_recent / days_recent) / (count_reference / days_reference) - 1.0
    return np.where((days_recent > 0) & (count_reference > 0), rate, np.nan)


def interest_gap(
    share_recent: Float64Array, share_reference: Float64Array, user: Int64Array, n_users: int
) -> tuple[Float64Array, Float64Array]:
    """|share recent - share reference| per category: the largest (0..1) and the sum (0..2), [user] each.

    share_recent, share_reference: [cell], share of the window's score. nan for a user whose windows hold no score.
    """
    gap = np.abs(share_recent - share_reference)
    largest = np.full(n_users, -np.inf)
    with np.errstate(invalid="ignore"):  # a nan makes its user's maximum nan, which is meant
        np.maximum.at(largest, user, gap)
    largest = np.where(np.isneginf(largest), np.nan, largest)
    total = np.where(np.isnan(largest), np.nan, sum_by(user, gap, n_users))
    return np.clip(largest, 0.0, 1.0), np.clip(total, 0.0, 2.0)


def distribution_distance(
    recent: Float64Array, reference: Float64Array, user: Int64Array, n_users: int, smoothing: float
) -> Float64Array:
    """Jensen-Shannon distance (base 2, 0..1) of the two smoothed category distributions, [user].

    recent, reference: [cell], score summed over the window. `smoothing` is added to every category that the user
    met in either window, so the result does not depend on how large the catalogue is. nan for a user one of whose
    windows holds no score.

    Source: Endres and Schindelin, "A new metric for probability distributions", IEEE Trans. Inf. Theory 49 (2003):
    the square root of the Jensen-Shannon divergence (Lin, 1991) is a metric.
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
    """Exponentially weighted mean after one more active day, [user]; `value` itself without a half-life.

    nan in `previous` starts anew; nan in `value` stays nan, because there is nothing to smooth.
    """
    if half_life is None:
        return value
    keep = 2.0 ** (-1.0 / half_life)
    return np.where(np.isnan(previous), value, keep * previous + (1.0 - keep) * value)
