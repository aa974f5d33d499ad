"""Features of the learned shift detector: a user's last active days compared with the days before them.

Everything is computed from at most RECENT_DAYS active days that end with the scored day, so that a model has the same
input in a nightly partition as in training. Rate and volume of visits are context only: a user who comes more often
has not changed interest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from shift_assets.arrays import Float64Array, Int64Array
from shift_assets.interest.histories import Histories
from shift_assets.interest.user_days import UserDays

RECENT_DAYS = 28
"""Active days that features are computed from, including the scored one."""
SPLITS = (1, 2, 3, 5, 8)
"""Number of days on the near side of each comparison."""
MINIMUM_BEFORE = 3
"""Days on the far side below which a comparison is 0."""
CONCENTRATION = 8.0
"""Pseudo-days of the segment's mix in the Bayes factor: about the spread of users' profiles around it."""
RIDGE = 0.01
"""Share of the mean variance of a day that is added to every dimension."""
CHUNK_CELLS = 8_000_000
"""Entries times categories held at once: 64 MB per array."""

_COMPARED = ("distance", "divergence", "bayes_factor", "between_within", "same_user", "unseen")
_CONTEXT = ("days", "categories_per_day", "dispersion", "entropy", "events_per_day")
FEATURES = (
    *_CONTEXT,
    *(f"{name}_{days}" for days in SPLITS for name in _COMPARED),
    "same_user_largest",
    "same_user_split",
)


@dataclass(frozen=True, slots=True)
class Metric:
    """Variation between a segment's users, and of one user from day to day.

    Two-covariance model of probabilistic linear discriminant analysis (Ioffe, ECCV 2006; for speaker verification
    Kenny, Odyssey 2010): a day's root shares are normal around the user's own mean with one common covariance, the
    users' means are normal around the segment's. In the basis `projection` days have unit covariance and the means
    `spread`, so the log odds that two sets of days are of one user are a sum over dimensions.
    """

    mix: Float64[Float64Array, " category"]  # the segment's mean share, nowhere 0
    mean: Float64[Float64Array, " category"]  # of root shares
    projection: Float64[Float64Array, "category dimension"]
    spread: Float64[Float64Array, " dimension"]  # variance between users in units of the variance between days

    def log_odds_of_change(
        self,
        near: Float64[Float64Array, "row dimension"],
        far: Float64[Float64Array, "row dimension"],
        n_near: Float64[Float64Array, "row 1"],
        n_far: Float64[Float64Array, "row 1"],
    ) -> Float64[Float64Array, " row"]:
        """log p(two users) - log p(one user), given the means of projected days and their numbers of days."""
        total_near, total_far = self.spread + 1 / n_near, self.spread + 1 / n_far
        determinant = total_near * total_far - self.spread**2
        together = (
            np.log(determinant)
            + (total_far * near**2 - 2 * self.spread * near * far + total_near * far**2) / determinant
        )
        apart = np.log(total_near * total_far) + near**2 / total_near + far**2 / total_far
        return np.asarray(0.5 * (together - apart).sum(axis=1))


def fit_metric(shares: Float64[Float64Array, "entry category"], user: Int64[Int64Array, " entry"]) -> Metric:
    """Fit the metric by moments.

    Args:
        shares: shares of each day; days without a score are ignored.
        user: user of each day; users with at most MINIMUM_BEFORE days are ignored.
    """
    from scipy.linalg import eigh

    scored = shares.sum(axis=1) > 0
    scored &= np.bincount(user[scored], minlength=int(user.max(initial=0)) + 1)[user] > MINIMUM_BEFORE
    n_categories = shares.shape[1]
    mix = shares[scored].sum(axis=0) + 1.0
    days, owner = np.sqrt(shares[scored]), np.unique(user[scored], return_inverse=True)[1]
    n_days = np.bincount(owner)
    if len(n_days) <= 1:
        return Metric(mix / mix.sum(), np.zeros(n_categories), np.eye(n_categories), np.zeros(n_categories))
    means = np.zeros((len(n_days), n_categories))
    np.add.at(means, owner, days)
    means /= n_days[:, None]
    off = days - means[owner]
    within = off.T @ off / (len(days) - len(n_days))
    within += np.eye(n_categories) * (RIDGE * np.trace(within) / n_categories + 1e-9)
    mean = means.mean(axis=0)
    between = (means - mean).T @ (means - mean) / (len(n_days) - 1) - within * np.mean(1 / n_days)
    spread, projection = eigh(between, within)
    return Metric(mix / mix.sum(), mean, projection, np.maximum(spread, 1e-6))


def features(
    histories: Histories, entries: Int64[Int64Array, " row"], categories: tuple[str, ...], metric: Metric
) -> Float64[Float64Array, "row feature"]:
    """Return FEATURES of these entries; a comparison with too few days is 0, as if nothing had changed.

    Args:
        histories: histories of any users of the segment.
        entries: entries of `histories.user_days` to compute features of.
        categories: categories of the model; all others are one.
        metric: metric of the model.
    """
    user_days = histories.user_days
    out = np.zeros((len(entries), len(FEATURES)), dtype=np.float64)
    owner = user_days.user[entries]
    users = np.unique(owner)
    block_of_user = np.cumsum(user_days.n_days[users]) * (len(categories) + 1) // CHUNK_CELLS
    for block in np.unique(block_of_user):
        chosen = users[block_of_user == block]
        rows = np.flatnonzero((owner >= chosen[0]) & (owner <= chosen[-1]))
        part = histories.take_users(chosen)
        position = np.searchsorted(chosen, owner[rows])
        local = part.user_days.start[position] + entries[rows] - user_days.start[owner[rows]]
        out[rows] = _features(part.user_days, aligned_shares(part, categories), local, metric)
    return out


def aligned_shares(histories: Histories, categories: tuple[str, ...]) -> Float64Array:
    """Return day shares [entry, category] in the order of `categories`; the last column sums all other categories."""
    position = {name: column for column, name in enumerate(categories)}
    columns = [position.get(name, len(categories)) for name in histories.codes.names.to_pylist()]
    known = histories.user_days.dense_share(len(columns))
    shares = np.zeros((len(known), len(categories) + 1))
    for code, column in enumerate(columns):
        shares[:, column] += known[:, code]
    return shares


def _features(user_days: UserDays, shares: Float64Array, entries: Int64Array, metric: Metric) -> Float64Array:
    user = user_days.user[entries]
    end = entries + 1
    begin = np.maximum(user_days.start[user], end - RECENT_DAYS)
    has_score = shares.sum(axis=1) > 0
    root = np.sqrt(shares)
    n_days = _Sums(has_score[:, None].astype(np.float64))
    sums = _Sums(shares)
    roots = _Sums(root)
    squares = _Sums((root**2).sum(axis=1, keepdims=True))
    days = _Sums(np.where(has_score[:, None], (root - metric.mean) @ metric.projection, 0.0))
    context = _Sums(np.column_stack([(shares > 0).sum(axis=1), np.log1p(user_days.counts.sum(axis=1))]))
    whole, root_whole, square_whole = (each.of(begin, end) for each in (sums, roots, squares))
    n_whole = n_days.of(begin, end)
    scatter = square_whole - (root_whole**2).sum(axis=1, keepdims=True) / np.maximum(n_whole, 1)
    found: dict[str, Float64Array] = {
        "days": n_whole,
        "categories_per_day": context.of(begin, end)[:, :1] / np.maximum(n_whole, 1),
        "dispersion": scatter / np.maximum(n_whole - 1, 1),
        "entropy": _entropy(whole / np.maximum(n_whole, 1)),
        "events_per_day": context.of(begin, end)[:, 1:] / (end - begin)[:, None],
    }
    odds = np.full((len(entries), len(SPLITS)), -np.inf)
    for position, split in enumerate(SPLITS):
        near_start = np.maximum(end - split, begin)
        near, n_near = sums.of(near_start, end), n_days.of(near_start, end)
        far, n_far = whole - near, n_whole - n_near
        is_comparable = (n_near > 0) & (n_far >= MINIMUM_BEFORE)
        n_near, n_far = np.maximum(n_near, 1), np.maximum(n_far, 1)
        near_share, far_share = near / n_near, far / n_far
        unseen = (near_share * (far < 1e-9)).sum(axis=1, keepdims=True)
        root_near = roots.of(near_start, end)
        within = square_whole - _norm(root_near) / n_near - _norm(root_whole - root_near) / n_far
        day_near = days.of(near_start, end)
        same_user = metric.log_odds_of_change(
            day_near / n_near, (days.of(begin, end) - day_near) / n_far, n_near, n_far
        )[:, None]
        odds[:, position] = np.where(is_comparable, same_user, -np.inf)[:, 0]
        compared = {
            "distance": 0.5 * np.abs(near_share - far_share).sum(axis=1, keepdims=True),
            "divergence": _entropy((near_share + far_share) / 2) - (_entropy(near_share) + _entropy(far_share)) / 2,
            "bayes_factor": _bayes_factor(near, far, n_near, n_far, CONCENTRATION * metric.mix),
            "between_within": (scatter - within) / np.maximum(within, 1e-3) * np.maximum(n_near + n_far - 2, 1),
            "same_user": same_user,
            "unseen": unseen,
        }
        found |= {f"{name}_{split}": np.where(is_comparable, value, 0.0) for name, value in compared.items()}
    largest = odds.max(axis=1, keepdims=True)
    found["same_user_largest"] = np.where(np.isfinite(largest), largest, 0.0)
    found["same_user_split"] = np.where(np.isfinite(largest), np.array(SPLITS)[odds.argmax(axis=1)][:, None], 0.0)
    return np.hstack([found[name] for name in FEATURES])


class _Sums:
    """Sums over runs of entries, from running totals."""

    def __init__(self, values: Float64Array) -> None:
        self._until = np.vstack([np.zeros(values.shape[1]), np.cumsum(values, axis=0)])

    def of(self, begin: Int64Array, end: Int64Array) -> Float64Array:
        """Sums [row, column] over the entries `begin[row] <= e < end[row]`."""
        return np.asarray(self._until[end] - self._until[begin])


def _bayes_factor(
    near: Float64Array, far: Float64Array, n_near: Float64Array, n_far: Float64Array, prior: Float64Array
) -> Float64Array:
    """Dirichlet-multinomial log odds [row, 1] that two sums of unit days are of two profiles rather than one."""
    from scipy.special import gammaln

    total = prior.sum()

    def evidence(mass: Float64Array, days: Float64Array) -> Float64Array:
        spread = gammaln(mass + prior) - gammaln(prior)
        return np.asarray(spread.sum(axis=1, keepdims=True) + gammaln(total) - gammaln(days + total))

    return evidence(near, n_near) + evidence(far, n_far) - evidence(near + far, n_near + n_far)


def _entropy(share: Float64Array) -> Float64Array:
    """Entropy in bits, [row, 1]."""
    return np.asarray(-(share * np.log2(np.maximum(share, 1e-300))).sum(axis=1, keepdims=True))


def _norm(vector: Float64Array) -> Float64Array:
    """Squared norm, [row, 1]."""
    return np.asarray((vector**2).sum(axis=1, keepdims=True))
