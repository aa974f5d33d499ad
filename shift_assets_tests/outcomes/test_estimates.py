"""Bootstrap intervals cover the truth, and without users there is no estimate."""

from __future__ import annotations

import numpy as np

from shift_assets.outcomes.estimates import ratio_estimate, resamples


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """Of 200 samples of 80 users, about 95 % of the intervals hold the true mean."""
    random = np.random.default_rng(2)
    covered = 0
    for seed in range(200):
        estimate = ratio_estimate((random.random(80) < 0.4).astype(float), np.ones(80), resamples(80, 200, seed))
        assert estimate is not None
        assert estimate.low <= estimate.value <= estimate.high
        covered += estimate.low <= 0.4 <= estimate.high
    assert 0.88 <= covered / 200 <= 0.99


def test_nobody_is_no_estimate() -> None:
    """Without users there is no value to estimate."""
    assert ratio_estimate(np.zeros(0), np.zeros(0), resamples(0, 20, 0)) is None
