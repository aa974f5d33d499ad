"""Laws of the taste clusters: what a user is expected to like, borrowed from similar users."""

from __future__ import annotations

import numpy as np
import pytest

from shift_assets.arrays import Float64Array, Int64Array
from shift_assets.shift.detector.evidence import segment_mix
from shift_assets.shift.learned.taste_clusters import USERS_PER_CLUSTER, TasteClusters, fit_taste_clusters

TWO_TASTES = np.array([[0.45, 0.45, 0.04, 0.03, 0.03], [0.03, 0.04, 0.03, 0.45, 0.45]])


def two_tastes(users: int = 120, seed: int = 3) -> tuple[Float64Array, Int64Array]:
    """Sums of daily shares of ten days of each user, and the taste of each, one of two."""
    random = np.random.default_rng(seed)
    taste = np.arange(users, dtype=np.int64) % 2
    days = np.array([random.multinomial(6, TWO_TASTES[one], 10).sum(axis=0) / 6.0 for one in taste])
    return days, taste


def fitted(days: Float64Array, seed: int = 1) -> TasteClusters:
    return fit_taste_clusters(days, segment_mix(days.sum(axis=0)), seed)


def test_shares_and_weights_sum_to_one() -> None:
    """Every cluster's, the overall mix, and what is expected of any user; nowhere 0."""
    days, _ = two_tastes()
    clusters = fitted(days)
    assert clusters.weight.sum() == pytest.approx(1)
    assert clusters.share.sum(axis=1) == pytest.approx(1)
    assert clusters.mix.sum() == pytest.approx(1)
    expected = clusters.expected(np.vstack([days, np.zeros(5), 1e4 * np.eye(5)]))
    assert expected.sum(axis=1) == pytest.approx(1)
    assert (expected > 0).all()


def test_the_same_days_and_seed_give_the_same_clusters() -> None:
    days, _ = two_tastes()
    one, same, other = fitted(days), fitted(days), fitted(days, seed=2)
    assert one.share.tobytes() == same.share.tobytes()
    assert one.weight.tobytes() == same.weight.tobytes()
    assert one.share.tobytes() != other.share.tobytes()


def test_two_planted_tastes_are_separated() -> None:
    """Two days of a new user suffice to expect the rest of its taste, also in a category that was not yet seen."""
    clusters = fitted(two_tastes()[0])
    expected = clusters.expected(np.array([[2.0, 0, 0, 0, 0], [0, 0, 0, 0, 2.0]]))
    assert expected[0] == pytest.approx(TWO_TASTES[0], abs=0.1)
    assert expected[1] == pytest.approx(TWO_TASTES[1], abs=0.1)


def test_of_an_unknown_user_the_mix_of_all_is_expected() -> None:
    """Every user counts alike: ten times the days of one taste move it little."""
    days, taste = two_tastes()
    busy = np.where(taste[:, None] == 0, 10 * days, days)
    clusters = fitted(busy)
    assert clusters.expected(np.zeros((1, 5)))[0] == pytest.approx(clusters.mix)
    assert clusters.mix == pytest.approx(TWO_TASTES.mean(axis=0), abs=0.1)


def test_few_users_are_one_cluster() -> None:
    """Of which everybody is expected to have the segment's mix, whatever the user's days."""
    days, _ = two_tastes(users=2 * USERS_PER_CLUSTER - 1)
    mix = segment_mix(days.sum(axis=0))
    clusters = fit_taste_clusters(days, mix, seed=1)
    assert clusters.share == pytest.approx(mix[None, :])
    assert clusters.expected(days) == pytest.approx(np.tile(mix, (len(days), 1)))


def test_users_with_too_few_days_shape_no_cluster() -> None:
    days, _ = two_tastes()
    rare = np.tile([0.0, 0, 2.0, 0, 0], (50, 1))
    mix = segment_mix(days.sum(axis=0))
    assert (
        fit_taste_clusters(np.vstack([days, rare]), mix, 1).share.tobytes()
        == fit_taste_clusters(days, mix, 1).share.tobytes()
    )
