"""Likelihood-ratio test of two windows' event counts, with a design effect for the clustering of events."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import xlogy

from shift_assets.arrays import Float64Array, Int64Array, sum_by
from shift_assets.interest.histories import Histories
from shift_assets.shift.baselines.sliding_windows import MINIMUM, RECENT, REFERENCE, event_counts, window_sums, windows


@dataclass
class GTest:
    """G statistic of the recent against the reference window, over the design effect, as a standard normal deviate.

    Events of a day are not independent draws: the variance of a day's shares is a multiple of the multinomial one.
    That multiple, the design effect, is estimated from all users' days up to the scored one, each against its user's
    reference window, and divides G. The deviate is Wilson and Hilferty's of chi-squared with (number of categories - 1)
    degrees of freedom; it is comparable between users and does not underflow as a p-value would.

    Source: Rao and Scott, "The analysis of categorical data from complex sample surveys", JASA 76 (1981); Wilson and
    Hilferty, "The distribution of chi-square", PNAS 17 (1931).
    """

    recent_active_days: int = RECENT
    reference_active_days: int = REFERENCE
    minimum_active_days: int = MINIMUM
    name: str = "g_test"

    def score(self, histories: Histories) -> Float64Array:
        """Return the deviate, [entry]; nan with fewer than `minimum_active_days` active days."""
        user_days, n_categories = histories.user_days, len(histories.codes)
        counts = event_counts(user_days)
        statistic, freedom, observed, expected = np.zeros((4, len(user_days.day)))
        for entries, reference, recent in windows(user_days, counts, n_categories, self):
            statistic[entries] = _g_statistic(reference, recent)
            freedom[entries] = ((reference + recent) > 0).sum(axis=1) - 1
            today = window_sums(user_days, counts, entries, entries + 1, n_categories)
            observed[entries], expected[entries] = _variances(today, reference)
        scaled = statistic / _design_effect(user_days.day, observed, expected)
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = 2.0 / (9.0 * freedom)
            deviate = (np.cbrt(scaled / freedom) - (1.0 - spread)) / np.sqrt(spread)
        return np.where(freedom > 0, deviate, np.nan)


def _g_statistic(reference: Float64Array, recent: Float64Array) -> Float64Array:
    """G = 2 sum O log(O / E) of the table of two windows by categories, [row]."""
    both = reference + recent
    cells = sum(xlogy(side, side).sum(axis=1) for side in (reference, recent)) - xlogy(both, both).sum(axis=1)
    totals = [side.sum(axis=1) for side in (reference, recent, both)]
    margins = xlogy(totals[0], totals[0]) + xlogy(totals[1], totals[1]) - xlogy(totals[2], totals[2])
    return np.asarray(2.0 * np.maximum(cells - margins, 0.0))


def _variances(today: Float64Array, reference: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Squared distance of today's shares to the reference's times today's events, and its multinomial expectation."""
    events, before = today.sum(axis=1), reference.sum(axis=1)
    known = (events > 0) & (before > 0)
    shares = reference / np.where(known, before, 1.0)[:, None]
    distance = today / np.where(known, events, 1.0)[:, None] - shares
    return (
        np.where(known, events * (distance**2).sum(axis=1), 0.0),
        np.where(known, 1.0 - (shares**2).sum(axis=1), 0.0),
    )


def _design_effect(day: Int64Array, observed: Float64Array, expected: Float64Array) -> Float64Array:
    """Ratio of the sums over all entries up to this day, at least 1, [entry]."""
    days, index = np.unique(day, return_inverse=True)
    so_far = [np.cumsum(sum_by(index, value, len(days))) for value in (observed, expected)]
    with np.errstate(invalid="ignore"):
        ratio = so_far[0] / so_far[1]
    return np.fmax(ratio, 1.0)[index]
