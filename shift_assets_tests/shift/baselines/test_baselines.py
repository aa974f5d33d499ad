"""Every baseline detector equals its slow definition."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import chi2_contingency

from shift_assets.arrays import CategoryCodes, offsets
from shift_assets.contracts.cleaning import BEHAVIORS
from shift_assets.interest.histories import Histories
from shift_assets.interest.user_days import UserDays
from shift_assets.shift.baselines.g_test import GTest
from shift_assets.shift.baselines.raw_bocpd import RawBocpd
from shift_assets.shift.baselines.registry import BASELINES
from shift_assets.shift.baselines.split_gain import SplitGain
from shift_assets.shift.baselines.window_distances import JensenShannonDistance, ShareGap
from shift_assets.shift.detector.base import Detector
from shift_assets.shift.detector.indicators import distribution_distance

pytestmark = pytest.mark.slow

CATEGORIES = 5
USERS = 6


def dense(histories: Histories) -> np.ndarray:
    """Scores as [entry, category]."""
    out = np.zeros((len(histories.user_days.day), CATEGORIES))
    out[histories.user_days.score_entry, histories.user_days.category] = histories.user_days.score
    return out


def random_histories(seed: int) -> Histories:
    """Users with 3 to 45 active days, each day of a few events in some categories."""
    random = np.random.default_rng(seed)
    length = random.integers(3, 46, USERS)
    length[0] = 45
    day = np.concatenate([np.sort(random.choice(90, n, replace=False)) for n in length]) + 20_000
    scores = random.poisson(0.9, (len(day), CATEGORIES)) * random.choice([1.0, 2.5], (len(day), CATEGORIES))
    scores[random.integers(0, len(day), 3)] = 0.0
    entry, category = np.nonzero(scores)
    counts = np.zeros((len(day), len(BEHAVIORS)), np.int32)
    counts[:, 0] = np.maximum((scores > 0).sum(axis=1) + random.integers(0, 5, len(day)), 1)
    return Histories(
        pa.array([f"u{user}" for user in range(USERS)]),
        CategoryCodes(pa.array([f"c{k}" for k in range(CATEGORIES)])),
        UserDays(
            start=offsets(length),
            day=day,
            score_start=offsets(np.bincount(entry, minlength=len(day))),
            category=category,
            score=scores[entry, category],
            counts=counts,
        ),
    )


def days_so_far(histories: Histories) -> list[tuple[int, list[int]]]:
    """Every entry with the entries of its user up to it."""
    start = histories.user_days.start
    return [(e, list(range(start[u], e + 1))) for u in range(USERS) for e in range(start[u], start[u + 1])]


def two_windows(entries: list[int], recent: int = 7, reference: int = 28) -> tuple[list[int], list[int]]:
    n = min(recent, len(entries) // 2)
    return entries[:-n][-reference:], entries[-n:]


def event_counts(histories: Histories) -> np.ndarray:
    score = dense(histories)
    total = score.sum(axis=1, keepdims=True)
    shares: np.ndarray = np.divide(score, total, out=np.zeros_like(score), where=total > 0)
    counts: np.ndarray = shares * histories.user_days.counts.sum(axis=1, keepdims=True)
    return counts


@pytest.mark.parametrize("seed", range(3))
def test_window_detectors_compare_the_recent_days_with_those_before_them(seed: int) -> None:
    histories = random_histories(seed)
    distance, gap = JensenShannonDistance().score(histories), ShareGap().score(histories)
    scores = dense(histories)
    for entry, entries in days_so_far(histories):
        if len(entries) < 12:
            assert np.isnan([distance[entry], gap[entry]]).all()
            continue
        reference, recent = (scores[days].sum(axis=0) for days in two_windows(entries))
        met = (reference + recent) > 0
        one = np.zeros(met.sum(), np.int64)
        expected = distribution_distance(recent[met], reference[met], one, 1, 0.5)[0]
        assert distance[entry] == pytest.approx(expected, abs=1e-12)
        assert gap[entry] == pytest.approx(np.abs(recent / recent.sum() - reference / reference.sum()).max())


@pytest.mark.parametrize("seed", range(3))
def test_the_g_test_is_scipys_over_the_design_effect_of_all_days_so_far(seed: int) -> None:
    histories = random_histories(seed)
    found = GTest().score(histories)
    counts, day = event_counts(histories), histories.user_days.day
    known = {entry: entries for entry, entries in days_so_far(histories) if len(entries) >= 12}
    for entry, entries in known.items():
        reference, recent = (counts[days].sum(axis=0) for days in two_windows(entries))
        met = (reference + recent) > 0
        statistic = chi2_contingency([reference[met], recent[met]], correction=False, lambda_="log-likelihood")
        observed = expected = 0.0
        for other, its in known.items():
            if day[other] <= day[entry] and counts[other].sum() > 0:
                share = counts[two_windows(its)[0]].sum(axis=0)
                share /= share.sum()
                events = counts[other].sum()
                observed += events * ((counts[other] / events - share) ** 2).sum()
                expected += 1 - (share**2).sum()
        freedom = met.sum() - 1
        chi2 = statistic.statistic / max(observed / expected if expected else 1.0, 1.0)
        spread = 2 / (9 * freedom)
        assert found[entry] == pytest.approx(((chi2 / freedom) ** (1 / 3) - 1 + spread) / math.sqrt(spread))
    assert np.isnan(np.delete(found, list(known))).all()


@pytest.mark.parametrize("seed", range(3))
def test_the_split_gain_is_the_largest_fall_of_the_squared_error(seed: int) -> None:
    histories = random_histories(seed)
    found = SplitGain(days=20).score(histories)
    scores = dense(histories)
    total = scores.sum(axis=1, keepdims=True)
    shares = np.divide(scores, total, out=np.zeros_like(scores), where=total > 0)

    def error(days: np.ndarray) -> float:
        return float(((days - days.mean(axis=0)) ** 2).sum())

    for entry, entries in days_so_far(histories):
        if len(entries) >= 12:
            days = shares[entries[-20:]]
            gains = [error(days) - error(days[:split]) - error(days[split:]) for split in range(2, len(days) - 1)]
            assert found[entry] == pytest.approx(max(gains), abs=1e-9)
        else:
            assert np.isnan(found[entry])


@pytest.mark.parametrize("seed", range(2))
def test_raw_bocpd_weighs_all_pasts_of_the_user(seed: int) -> None:
    """With room for every run length it equals the joint probability of the days, summed over all last changes."""
    histories = random_histories(seed)
    detector = RawBocpd(longest=100, hazard=0.05)
    found = detector.score(histories)
    counts = event_counts(histories)
    prior = np.full(CATEGORIES, detector.concentration / CATEGORIES)

    def log_evidence(days: np.ndarray) -> float:
        """Log probability of the days under one mix, without a term that is the same for every split."""
        after = prior + days.sum(axis=0)
        logs = sum(math.lgamma(a) for a in after) - sum(math.lgamma(a) for a in prior)
        return logs + math.lgamma(prior.sum()) - math.lgamma(after.sum())

    for user in range(USERS):
        mine = counts[histories.user_days.start[user] : histories.user_days.start[user + 1]]
        until = [0.0]  # log probability of the first n days
        for n in range(1, len(mine) + 1):
            paths = np.array(
                [
                    until[begin]
                    + (math.log(detector.hazard) if begin else 0.0)
                    + (n - begin - 1) * math.log1p(-detector.hazard)
                    + log_evidence(mine[begin:n])
                    for begin in range(n)
                ]
            )
            until.append(float(np.logaddexp.reduce(paths)))
            entry = histories.user_days.start[user] + n - 1
            if n < 12:
                assert np.isnan(found[entry])
            else:
                odds = np.logaddexp.reduce(paths[n - 7 :]) - np.logaddexp.reduce(paths[: n - 7])
                assert found[entry] == pytest.approx(odds, abs=1e-6)


@pytest.mark.parametrize("detector", BASELINES.values(), ids=BASELINES)
def test_no_detector_uses_a_later_day(detector: Detector) -> None:
    """A day's score is the same without all later days."""
    histories = random_histories(4)
    user_days = histories.user_days
    early = np.flatnonzero(user_days.day < 20_060)
    until = user_days.take_entries(early, offsets(np.bincount(user_days.user[early], minlength=USERS)))
    np.testing.assert_allclose(detector.score(replace(histories, user_days=until)), detector.score(histories)[early])


@pytest.mark.parametrize("detector", BASELINES.values(), ids=BASELINES)
def test_every_detector_suspects_a_clean_break_most(detector: Detector) -> None:
    """Of twenty users who keep to two categories, the one who leaves both for two others is the most suspicious."""
    random = np.random.default_rng(0)
    users, days = 20, 40
    category = random.integers(0, 2, (users, days, 4))
    category[7, 33:] += 2
    scores = np.zeros((users * days, CATEGORIES))
    np.add.at(scores, (np.repeat(np.arange(users * days), 4), category.ravel()), 1.0)
    entry, kind = np.nonzero(scores)
    counts = np.zeros((users * days, len(BEHAVIORS)), np.int32)
    counts[:, 0] = 4
    user_days = UserDays(
        start=np.arange(users + 1) * days,
        day=np.tile(np.arange(days), users),
        score_start=offsets(np.bincount(entry, minlength=users * days)),
        category=kind,
        score=scores[entry, kind],
        counts=counts,
    )
    codes = CategoryCodes(pa.array([f"c{k}" for k in range(CATEGORIES)]))
    histories = Histories(pa.array([f"u{user:02d}" for user in range(users)]), codes, user_days)
    assert int(detector.score(histories)[user_days.start[1:] - 1].argmax()) == 7
