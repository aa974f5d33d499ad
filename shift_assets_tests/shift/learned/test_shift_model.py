"""The learned shift detector."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shift_assets.arrays import offsets, ragged_index
from shift_assets.errors import PermanentError
from shift_assets.interest.histories import Histories
from shift_assets.shift.learned.features import FEATURES, RECENT_DAYS, aligned_shares, features, fit_metric
from shift_assets.shift.learned.shift_model import LearnedDetector, ShiftModel, fit, score_active
from shift_assets_tests.shift.stationary_users import stationary_users


@pytest.fixture(scope="module")
def log() -> Histories:
    return stationary_users(80, seed=2, days=(18, 50))


@pytest.fixture(scope="module")
def model(log: Histories) -> ShiftModel:
    found = fit(log, 8, seed=1, n_splice_points=80)
    assert found is not None
    return found


def until(log: Histories, days: int) -> Histories:
    """Every user's first `days` active days."""
    user_days = log.user_days
    length = np.minimum(user_days.n_days, days)
    return replace(log, user_days=user_days.take_entries(ragged_index(user_days.start[:-1], length), offsets(length)))


def test_a_reloaded_model_scores_the_same_to_the_bit(log: Histories, model: ShiftModel) -> None:
    """And is the same bytes again."""
    content = model.to_bytes()
    again = ShiftModel.from_bytes(content)
    assert again.to_bytes() == content
    assert LearnedDetector(again).score(log).tobytes() == LearnedDetector(model).score(log).tobytes()


def test_the_same_log_and_seed_fit_the_same_model(log: Histories, model: ShiftModel) -> None:
    again = fit(log, 8, seed=1, n_splice_points=80)
    assert again is not None
    assert again.to_bytes() == model.to_bytes()


def test_the_trees_are_those_that_were_fitted(log: Histories) -> None:
    """The margin computed from plain arrays is scikit-learn's own."""
    from sklearn.ensemble import GradientBoostingClassifier

    from shift_assets.shift.learned import shift_model

    random = np.random.default_rng(0)
    x = random.normal(size=(400, 5)).astype(np.float32)
    y = x[:, 0] + random.normal(size=400) > 0
    trees = shift_model._boost(x, y, seed=3)
    reference = GradientBoostingClassifier(
        n_estimators=shift_model.TREES,
        max_depth=shift_model.DEPTH,
        learning_rate=shift_model.LEARNING_RATE,
        subsample=shift_model.ROWS_PER_TREE,
        max_features=shift_model.FEATURES_PER_SPLIT,
        min_samples_leaf=shift_model.MINIMUM_LEAF,
        random_state=3,
    ).fit(x, y, shift_model._balanced_weights(y))
    np.testing.assert_allclose(shift_model._margin(x, *trees), reference.decision_function(x), atol=1e-9)


def test_the_score_of_a_day_does_not_depend_on_later_days(log: Histories, model: ShiftModel) -> None:
    truncated = until(log, 20)
    whole, early = (LearnedDetector(model).score(one) for one in (log, truncated))
    user_days = log.user_days
    entries = ragged_index(user_days.start[:-1], np.minimum(user_days.n_days, 20))
    np.testing.assert_allclose(early, whole[entries], rtol=1e-9)


def test_a_nightly_partition_scores_as_the_whole_history_does(log: Histories, model: ShiftModel) -> None:
    """The last RECENT_DAYS active days are all that the model uses."""
    user_days = log.user_days
    length = np.minimum(user_days.n_days, RECENT_DAYS)
    recent = user_days.take_entries(ragged_index(user_days.start[1:] - length, length), offsets(length))
    nightly = score_active(model, recent, log.codes)
    np.testing.assert_allclose(nightly, LearnedDetector(model).score(log)[user_days.start[1:] - 1], rtol=1e-9)
    assert len(score_active(model, recent.take_users(np.zeros(0, dtype=np.int64)), log.codes)) == 0


def test_another_taste_scores_above_the_old_one(log: Histories, model: ShiftModel) -> None:
    """On unseen users: five days of another taste score above five more days of the own one."""
    unseen = stationary_users(40, seed=2, days=(40, 41))
    categories = len(unseen.codes)
    shifted = replace(unseen, user_days=replace(unseen.user_days, category=unseen.user_days.category.copy()))
    entry = unseen.user_days.score_entry
    late = unseen.user_days.age[entry] < 5
    shifted.user_days.category[late] = (shifted.user_days.category[late] + 5) % categories
    last = unseen.user_days.start[1:] - 1
    before, after = (LearnedDetector(model).score(one)[last] for one in (unseen, shifted))
    assert (after > before).mean() > 0.9
    assert after.mean() > 0.8
    assert before.mean() < 0.4


def test_too_few_users_fit_no_model() -> None:
    assert fit(stationary_users(6, seed=1), 8, seed=1) is None


def test_the_metric_weighs_what_differs_between_users(log: Histories) -> None:
    """Two days of one user favour one user, days of two users on average two."""
    categories = tuple(log.codes.names.to_pylist())
    shares = aligned_shares(log, categories)
    metric = fit_metric(shares, log.user_days.user)
    days = (np.sqrt(shares) - metric.mean) @ metric.projection
    first, second = log.user_days.start[:-1], log.user_days.start[:-1] + 5
    one = np.ones((len(first), 1))
    same = metric.log_odds_of_change(days[first], days[second], one, one)
    other = metric.log_odds_of_change(days[first], np.roll(days[second], 1, axis=0), one, one)
    assert (same < 0).mean() > 0.75
    assert same.mean() < 0 < other.mean()


def test_an_unknown_category_is_unseen_interest(log: Histories) -> None:
    """All unknown categories together are one category."""
    categories = tuple(log.codes.names.to_pylist())
    known = categories[:-1]
    assert aligned_shares(log, known)[:, -1].tolist() == aligned_shares(log, categories)[:, -2].tolist()
    metric = fit_metric(aligned_shares(log, known), log.user_days.user)
    last = log.user_days.start[1:] - 1
    found = features(log, last, known, metric)
    assert found.shape == (len(last), len(FEATURES))
    assert np.isfinite(found).all()


def test_bytes_that_are_no_model_are_refused() -> None:
    with pytest.raises(PermanentError, match="no shift detector"):
        ShiftModel.from_bytes(b"something else")
