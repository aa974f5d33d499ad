"""The evidence equals the slow definitions of e-value and posterior, and uses no later day."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from shift_assets.arrays import offsets
from shift_assets.interest.histories import Histories, histories
from shift_assets.interest.user_days import UserDays
from shift_assets.settings.root import Settings
from shift_assets.shift.detector.evidence import EvidenceParameters, segment_mix, trace, trace_user_days
from shift_assets.shift.detector.memory import watched_categories
from shift_assets.shift.detector.recursion import ALERT_PRIOR_DAYS, POSTERIOR_PRIOR_DAYS
from shift_assets_tests.shift.logs import series_of, states_of

SETTINGS = EvidenceParameters(starts=5, posterior_window=3, minimum_days_before=2, half_life_active_days=6)
VISIT = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 9), max_size=3)
LOG = st.dictionaries(st.sampled_from(["ann", "bob", "cy"]), st.lists(VISIT, min_size=1, max_size=14), min_size=1)


def reference_evidence(  # noqa: PLR0915 - the definition in one piece, to be compared with the recursion
    log: Histories, settings: EvidenceParameters
) -> tuple[dict[int, float], dict[int, float]]:
    """M and the posterior by their definitions, every product recomputed every day; no response to platform moves."""
    user_days, n = log.user_days, len(log.codes)
    shares = user_days.dense_share(n)
    own = shares.copy()  # without the platform's part, once the day is done
    seen: dict[int, list[int]] = {user: [] for user in range(user_days.n_users)}
    ratios: dict[tuple[int, int], float] = {}
    out_m: dict[int, float] = {}
    out_posterior: dict[int, float] = {}
    run: dict[int, dict[int | str, float]] = {user: {"before": 1.0} for user in range(user_days.n_users)}

    def profile(user: int) -> np.ndarray:
        ages = range(len(seen[user]) - 1, -1, -1)
        weighted = (settings.decay**age * own[e] for age, e in zip(ages, seen[user], strict=True))
        total: np.ndarray = sum(weighted, np.zeros(n))
        return total

    def normal(weights: np.ndarray) -> np.ndarray:
        shares: np.ndarray = weights / weights.sum()
        return shares

    for today in np.unique(user_days.day):
        entries = [int(e) for e in np.flatnonzero(user_days.day == today) if shares[e].sum() > 0]
        users = {e: int(user_days.user[e]) for e in entries}
        mix = segment_mix(sum((profile(u) for u in range(user_days.n_users)), np.zeros(n)))
        predicted = {e: normal(profile(users[e]) + settings.prior_days * mix) for e in entries}
        tilted = {}
        for e in entries:
            others = [x for x in entries if x != e]
            shrunk = settings.platform_prior_users * sum(predicted.values()) / len(entries)
            tilted[e] = (sum((shares[x] for x in others), np.zeros(n)) + shrunk) / (
                sum((predicted[x] for x in others), np.zeros(n)) + shrunk
            )
        for e in entries:
            user, f, tilt = users[e], shares[e], tilted[e]
            days = seen[user]
            old, whole = predicted[e], profile(user)
            base = (old + mix) / 2

            def log_share(weights: np.ndarray, f: np.ndarray = f, tilt: np.ndarray = tilt) -> float:
                with np.errstate(divide="ignore", invalid="ignore"):
                    return float(np.where(f > 0, f * np.log(normal(weights * tilt)), 0.0).sum())

            starts = days[-(settings.starts - 1) :]
            total = sum(run[user].values())
            for fallen in [start for start in run[user] if start != "before" and start not in starts]:
                run[user]["before"] += run[user].pop(fallen)
            run[user]["before"] *= (1 - settings.hazard) * np.exp(log_share(old))
            e_values = []
            for j in starts:
                since = days[days.index(j) :]
                since_start = sum((own[x] for x in since), np.zeros(n))
                decayed = sum((settings.decay**age * own[x] for age, x in enumerate(reversed(since))), np.zeros(n))
                run[user][j] *= (1 - settings.hazard) * np.exp(log_share(since_start + POSTERIOR_PRIOR_DAYS * mix))
                if days.index(j) >= settings.minimum_days_before:
                    null = np.maximum(whole - (1 - settings.null_learning) * decayed, 0) + settings.prior_days * mix
                    ratio = log_share(since_start + ALERT_PRIOR_DAYS * base) - log_share(null)
                    ratios[user, j] = ratios.get((user, j), 0.0) + min(ratio, np.log(settings.day_cap))
                    e_values.append(np.exp(ratios[user, j]))
            run[user][e] = settings.hazard * total * np.exp(log_share(mix))
            if len(days) >= settings.minimum_days_before:
                ratios[user, e] = min(log_share(base) - log_share(old), np.log(settings.day_cap))
                e_values.append(np.exp(ratios[user, e]))
            weight = sum(run[user].values())
            run[user] = {start: w / weight for start, w in run[user].items()}
            recent = [*days, e][-settings.posterior_window :]
            out_m[e] = np.log(max(sum(e_values) / settings.starts, 1e-12))
            out_posterior[e] = sum(run[user].get(j, 0.0) for j in recent)
        for e in entries:
            own[e] = normal(np.where(shares[e] > 0, shares[e] / tilted[e], 0.0))
            seen[users[e]].append(e)
    return out_m, out_posterior


@given(LOG)
@hypothesis_settings(max_examples=40, deadline=None)
def test_the_recursion_is_the_definition(log: dict[str, list[dict[str, int]]]) -> None:
    """M and posterior of every day equal products and sums over all days since every start."""
    whole = histories(series_of(log))
    flat = SETTINGS.model_copy(update={"platform_prior_users": 1e9})  # no platform move, no response
    found = trace(whole, flat)
    m, posterior = reference_evidence(whole, flat)
    assert set(np.flatnonzero(~np.isnan(found.log_e))) == set(m)
    for entry in m:
        assert found.log_e[entry] == pytest.approx(m[entry], abs=2e-4)
        assert found.posterior[entry] == pytest.approx(posterior[entry], abs=2e-4)


@given(LOG)
@hypothesis_settings(max_examples=25, deadline=None)
def test_the_state_carries_the_same_evidence(log: dict[str, list[dict[str, int]]]) -> None:
    """Day by day through the state, the evidence is that of the whole history at once."""
    settings = Settings(
        evidence=SETTINGS,
        state={"recent_active_days": 3, "reference_active_days": 5},
        alerts={"detector": "threshold", "minimum_active_days": 4},  # an alert of the evidence resets it once settled
    )
    log = {**log, "zed": [dict.fromkeys("abcd", 1)]}  # every category is known from the first day on
    whole = histories(series_of(log))
    found = trace(whole, settings.evidence)
    states = states_of(log, settings)
    for row in states[-1].to_pylist():
        user = whole.users.to_pylist().index(row["user_id"])
        entries = np.arange(whole.user_days.start[user], whole.user_days.start[user + 1])
        scored = entries[~np.isnan(found.log_e[entries])]
        if len(scored) == 0:
            assert row["evidence"] is None
            continue
        # Shares and evidence are stored on grids.
        assert row["evidence"] == pytest.approx(found.log_e[scored[-1]], abs=0.05)
        assert row["confidence"] == pytest.approx(found.posterior[scored[-1]], abs=0.05)


def population(taste: np.ndarray, days: int, seed: int, focus: float = 4.0) -> UserDays:
    """Users who come every day, with a clustered day around `taste` [user, category] or [user, day, category]."""
    random = np.random.default_rng(seed)
    n_users, n = taste.shape[0], taste.shape[-1]
    mixes = np.broadcast_to(taste[:, None, :] if taste.ndim == 2 else taste, (n_users, days, n)).reshape(-1, n)
    drawn = random.standard_gamma(focus * mixes + 1e-9)
    counts = random.multinomial(1 + random.poisson(4, len(mixes)), drawn / drawn.sum(axis=1, keepdims=True))
    entry, category = np.nonzero(counts)
    return UserDays(
        start=np.arange(n_users + 1) * days,
        day=np.tile(np.arange(days), n_users),
        score_start=offsets(np.bincount(entry, minlength=len(counts))),
        category=category,
        score=counts[entry, category].astype(float),
        counts=np.zeros((len(counts), 1), dtype=np.int32),
    )


TASTES = np.random.default_rng(5).dirichlet(np.full(8, 0.6), 400)


@pytest.mark.parametrize("focus", [4.0, 1.0])
def test_steady_users_rarely_pass_the_threshold(focus: float) -> None:
    """Of the active days of steady users, at most one in A has M at A or above, however bursty their days are."""
    found = trace_user_days(population(TASTES, 40, seed=6, focus=focus), 8, EvidenceParameters())
    for threshold in (5, 10, 30):
        assert (found.log_e >= np.log(threshold)).mean() <= 1 / threshold


def test_a_change_is_found_and_dated() -> None:
    """Users whose taste changes pass A = 10 within ten days, and the likeliest start is the day of the change."""
    days = np.repeat(TASTES[:, None, :], 40, axis=1)
    days[:100, 30:] = np.roll(days[:100, 30:], 4, axis=2)
    user_days = population(days, 40, seed=7)
    found = trace_user_days(user_days, 8, EvidenceParameters())
    log_e, onset = (values.reshape(400, 40) for values in (found.log_e, found.onset))
    moved = np.abs(TASTES[:100] - np.roll(TASTES[:100], 4, axis=1)).sum(axis=1) / 2 > 0.6
    passed = (log_e[:100, 30:] >= np.log(10)).any(axis=1)
    assert passed[moved].mean() > 0.85
    assert np.median(np.abs(user_days.day[onset[:100, 37]] - 30)[moved & passed]) <= 1
    confident = found.posterior.reshape(400, 40)[:, 36] > 0.5
    assert confident[:100][moved].mean() > 10 * confident[100:].mean()


def test_a_move_of_everybody_is_no_evidence() -> None:
    """A lasting move of the whole segment leaves nearly all users below the threshold."""
    days = np.repeat(TASTES[:, None, :], 40, axis=1)
    factor = np.exp(np.array([1.5, -1.5, 1, -1, 0, 0, 0, 0]))
    days[:, 25:] *= factor
    days /= days.sum(axis=2, keepdims=True)
    together = trace_user_days(population(days, 40, seed=8), 8, EvidenceParameters())
    assert (together.log_e >= np.log(10)).mean() < 0.002
    assert together.platform_move.reshape(400, 40)[0, 30] > 0.15


def test_one_odd_day_is_capped() -> None:
    """Whatever a single day contains, it multiplies the evidence by the cap at most."""
    days = np.repeat(TASTES[:1, None, :], 30, axis=1)
    days[:, 20] = np.eye(8)[np.argmin(TASTES[0])]
    found = trace_user_days(population(days, 30, seed=9), 8, EvidenceParameters())
    assert np.exp(found.log_e[20]) <= EvidenceParameters().day_cap * max(np.exp(found.log_e[19]), 1.0) + 1e-6


@given(LOG, st.integers(1, 13))
@hypothesis_settings(max_examples=25, deadline=None)
def test_no_day_uses_a_later_one(log: dict[str, list[dict[str, int]]], n_days: int) -> None:
    """The evidence of the first days is the same with and without the days after them."""
    short = {name: days[:n_days] for name, days in log.items()}
    whole, first = histories(series_of(log)), histories(series_of(short))
    if not len(first.users):
        return
    now, then = trace_by_name(whole), trace_by_name(first)
    for key, value in then.items():
        assert now[key] == pytest.approx(value, abs=1e-4, nan_ok=True)


def trace_by_name(log: Histories) -> dict[tuple[str, int], float]:
    """log M by user and day, with one code per letter: a category of later days only has its part of the mix too."""
    names, user_days = log.users.to_pylist(), log.user_days
    wide = UserDays(
        user_days.start,
        user_days.day,
        user_days.score_start,
        np.array([ord(name) - ord("a") for name in log.codes.names.to_pylist()], dtype=np.int64)[user_days.category],
        user_days.score,
        user_days.counts,
    )
    values = trace_user_days(wide, 4, SETTINGS).log_e
    return {
        (names[user], int(day)): value for user, day, value in zip(user_days.user, user_days.day, values, strict=True)
    }


def test_small_categories_are_watched_as_one() -> None:
    """Categories below the least share of the segment's profiles get one number together, the others their own."""
    number, n_watched = watched_categories(np.array([50.0, 0.05, 49.0, 0.05]), 0.002)
    assert (number.tolist(), n_watched) == ([0, 2, 1, 2], 3)
    assert watched_categories(np.zeros(3), 0.002)[1] == 3
