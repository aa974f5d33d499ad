"""Laws of the learned shift detector."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shift_assets.models.shift_detector import LearnedDetector, ShiftModel, fit, score_active
from shift_assets.models.shift_features import FEATURES, RECENT_DAYS, aligned_shares, features, fit_metric
from shift_assets.shift.histories import Histories
from shift_assets.shift.rings import offsets, ragged_index
from shift_assets_tests.shift.tastes import tasteful


@pytest.fixture(scope="module")
def log() -> Histories:
    return tasteful(80, seed=2, days=(18, 50))


@pytest.fixture(scope="module")
def model(log: Histories) -> ShiftModel:
    found = fit(log, 8, seed=1, cuts=80)
    assert found is not None
    return found


def until(log: Histories, days: int) -> Histories:
    """Every user's first `days` active days."""
    rings = log.rings
    length = np.minimum(rings.n_days, days)
    return replace(log, rings=rings.take_entries(ragged_index(rings.start[:-1], length), offsets(length)))


def test_a_reloaded_model_scores_alike_to_the_bit(log: Histories, model: ShiftModel) -> None:
    """And is the same bytes again."""
    content = model.to_bytes()
    again = ShiftModel.from_bytes(content)
    assert again.to_bytes() == content
    assert LearnedDetector(again).score(log).tobytes() == LearnedDetector(model).score(log).tobytes()


def test_the_same_log_and_seed_teach_the_same_model(log: Histories, model: ShiftModel) -> None:
    again = fit(log, 8, seed=1, cuts=80)
    assert again is not None
    assert again.to_bytes() == model.to_bytes()


def test_the_trees_are_those_that_were_fitted(log: Histories) -> None:
    """The margin out of plain arrays is scikit-learn's own."""
    from sklearn.ensemble import GradientBoostingClassifier

    from shift_assets.models import shift_detector

    random = np.random.default_rng(0)
    x = random.normal(size=(400, 5)).astype(np.float32)
    y = x[:, 0] + random.normal(size=400) > 0
    trees = shift_detector._boosted(x, y, seed=3)
    reference = GradientBoostingClassifier(
        n_estimators=shift_detector.TREES,
        max_depth=shift_detector.DEPTH,
        learning_rate=shift_detector.LEARNING_RATE,
        subsample=shift_detector.ROWS_PER_TREE,
        max_features=shift_detector.FEATURES_PER_SPLIT,
        min_samples_leaf=shift_detector.MINIMUM_LEAF,
        random_state=3,
    ).fit(x, y, shift_detector._even(y))
    np.testing.assert_allclose(shift_detector._margin(x, *trees), reference.decision_function(x), atol=1e-9)


def test_the_score_of_a_day_knows_nothing_of_later_days(log: Histories, model: ShiftModel) -> None:
    cut = until(log, 20)
    whole, early = (LearnedDetector(model).score(one) for one in (log, cut))
    rings = log.rings
    entries = ragged_index(rings.start[:-1], np.minimum(rings.n_days, 20))
    np.testing.assert_allclose(early, whole[entries], rtol=1e-9)


def test_a_nightly_partition_scores_as_the_whole_history_does(log: Histories, model: ShiftModel) -> None:
    """Rings of the last RECENT_DAYS active days hold all that the model looks at."""
    rings = log.rings
    length = np.minimum(rings.n_days, RECENT_DAYS)
    recent = rings.take_entries(ragged_index(rings.start[1:] - length, length), offsets(length))
    nightly = score_active(model, recent, log.codes)
    np.testing.assert_allclose(nightly, LearnedDetector(model).score(log)[rings.start[1:] - 1], rtol=1e-9)
    assert len(score_active(model, recent.take_users(np.zeros(0, dtype=np.int64)), log.codes)) == 0


def test_another_taste_scores_above_the_old_one(log: Histories, model: ShiftModel) -> None:
    """On users that the model never saw: five days of another user against five more of one's own."""
    unseen = tasteful(40, seed=2, days=(40, 41))
    categories = len(unseen.codes)
    shifted = replace(unseen, rings=replace(unseen.rings, category=unseen.rings.category.copy()))
    entry = unseen.rings.score_entry
    late = unseen.rings.age[entry] < 5
    shifted.rings.category[late] = (shifted.rings.category[late] + 5) % categories
    last = unseen.rings.start[1:] - 1
    before, after = (LearnedDetector(model).score(one)[last] for one in (unseen, shifted))
    assert (after > before).mean() > 0.9
    assert after.mean() > 0.8
    assert before.mean() < 0.4


def test_too_few_users_teach_nothing() -> None:
    assert fit(tasteful(6, seed=1), 8, seed=1) is None


def test_the_metric_weighs_what_differs_between_users(log: Histories) -> None:
    """Two days of one user speak for one user, days of two users on average for two."""
    categories = tuple(log.codes.names.to_pylist())
    shares = aligned_shares(log, categories)
    metric = fit_metric(shares, log.rings.user)
    days = (np.sqrt(shares) - metric.mean) @ metric.projection
    first, second = log.rings.start[:-1], log.rings.start[:-1] + 5
    one = np.ones((len(first), 1))
    same = metric.log_odds_of_change(days[first], days[second], one, one)
    other = metric.log_odds_of_change(days[first], np.roll(days[second], 1, axis=0), one, one)
    assert (same < 0).mean() > 0.75
    assert same.mean() < 0 < other.mean()


def test_a_category_the_model_never_met_is_unseen_interest(log: Histories) -> None:
    """It counts with all others of its kind, as a category of its own."""
    categories = tuple(log.codes.names.to_pylist())
    known = categories[:-1]
    assert aligned_shares(log, known)[:, -1].tolist() == aligned_shares(log, categories)[:, -2].tolist()
    metric = fit_metric(aligned_shares(log, known), log.rings.user)
    last = log.rings.start[1:] - 1
    found = features(log, last, known, metric)
    assert found.shape == (len(last), len(FEATURES))
    assert np.isfinite(found).all()


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(ValueError, match="no shift detector"):
        ShiftModel.from_bytes(b"something else")
