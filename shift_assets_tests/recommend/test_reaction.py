"""Joined histories, the gate taught on them, and lists that lean on what it lets through."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from shift_assets.days import day_number
from shift_assets.recommend.gate import TAUGHT_EVENTS, Gate, Shares, fit_gate
from shift_assets.recommend.joined import Cases, join
from shift_assets.recommend.mixing import Mixer, leaning
from shift_assets.recommend.reaction import Reaction
from shift_assets.recommend.repeats import REPEATS
from shift_assets.recommend.source import Inputs
from shift_assets.recommend.window import Window
from shift_assets.settings import ReactionSettings, RecommendationSettings
from shift_assets_tests.models.events import Row, clean_events, day, random_log

CHOSEN = RecommendationSettings()
LAST = 27


def tastes_log(seed: int, users: int = 40, tastes: int = 4, own: float = 0.9) -> pa.Table:
    """Users of one taste each: `own` of what they take is of its category, a few items of it more than others."""
    random = np.random.default_rng(seed)
    rows: list[Row] = []
    for number in range(LAST + 1):
        for user in range(users):
            for _ in range(3 if random.random() < 0.6 else 0):
                taste = user % tastes if random.random() < own else int(random.integers(tastes))
                rows.append((number, f"user {user}", f"c{taste}-{int(random.exponential(4)):02d}", "purchase"))
    return clean_events(rows)


def window_until(events: pa.Table, number: int) -> Window:
    return Window.of(events, day(number), CHOSEN)


def cases_of(events: pa.Table, border: int, seed: int = 0) -> Cases:
    cases = join(events, window_until(events, border - 1), days=7, minimum_days=3, maximum_pairs=50, seed=seed)
    assert cases is not None
    return cases


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1_000), st.integers(5, 15))
def test_joined_histories_hold_one_users_past_and_anothers_future(seed: int, border: int) -> None:
    """Before the border stand the user's own events; from it on, its own or those of one other user."""
    events = random_log(seed, users=10, days=20, per_day=25)
    cases = cases_of(events, border, seed)
    whole = window_until(events, border + 6)
    items = dict(enumerate(whole.vocabulary.items))
    own = {
        user: [
            (int(d), items[int(i)])
            for d, i in zip(whole.sequences.days[first:last], whole.items[first:last], strict=True)
        ]
        for user, first, last in zip(
            whole.sequences.users, whole.sequences.offsets[:-1], whole.sequences.offsets[1:], strict=True
        )
    }
    known = set(cases.window.vocabulary.items)
    start = day_number(day(border))
    names = [*cases.window.vocabulary.items, None]
    futures: list[tuple[bool, list[tuple[int, str | None]]]] = []
    for number, user in enumerate(cases.window.sequences.users):
        first, last = cases.window.sequences.offsets[number : number + 2]
        history = [
            (int(d), names[int(i)])
            for d, i in zip(cases.window.sequences.days[first:last], cases.window.items[first:last], strict=True)
        ]
        past = [event for event in history if event[0] < start]
        assert past == [event for event in own[user] if event[0] < start]
        assert cases.first_event[number] == first + len(past)
        futures.append((bool(cases.shifted[number]), history[len(past) :]))
        if not cases.shifted[number]:
            expected = [(d, i if i in known else None) for d, i in own[user] if d >= start]
            assert history[len(past) :] == expected
    stable = sorted(str(future) for shifted, future in futures if not shifted)
    assert stable == sorted(str(future) for shifted, future in futures if shifted)


def test_the_gate_tells_another_interest_from_the_own() -> None:
    """Taught on earlier weeks, it ranks joined histories of the last week above those that went on as they were."""
    events = tastes_log(1)
    window = window_until(events, LAST - 7)
    gate = fit_gate(events, window, CHOSEN, seed=1)
    assert gate is not None
    cases = cases_of(events, LAST - 6)
    users, ends = cases.moments(TAUGHT_EVENTS)
    odds, since = gate.log_odds(cases.window.prefixes(users, ends), Shares.of(window))
    later = ends - cases.first_event[users] >= 4
    assert roc_auc_score(cases.shifted[users[later]], odds[later]) > 0.9
    found = later & (odds > 0) & cases.shifted[users]
    late = np.abs(since[found] - day_number(cases.border)) <= 2
    assert late.mean() > 0.6
    assert Gate.from_json(gate.as_json()) == gate


def test_the_gate_is_deterministic_and_needs_users_to_learn_from() -> None:
    """The same log and seed teach the same gate; a handful of users teaches none."""
    events = tastes_log(2)
    window = window_until(events, LAST)
    assert fit_gate(events, window, CHOSEN, seed=3) == fit_gate(events, window, CHOSEN, seed=3)
    few = tastes_log(2, users=6)
    assert fit_gate(few, window_until(few, LAST), CHOSEN, seed=3) is None


def test_nothing_is_said_of_a_user_without_a_past() -> None:
    """One active day can be no shift: the odds are nothing, and the reaction stays out."""
    events = pa.concat_tables([tastes_log(1), clean_events([(LAST, "new", "c1-00", "purchase")])])
    window = window_until(events, LAST)
    gate = fit_gate(events, window, CHOSEN, seed=1)
    assert gate is not None
    odds, since = gate.log_odds(window, Shares.of(window))
    alone = window.sequences.lengths == 1
    assert alone.sum() == 1
    assert (odds[alone] == -np.inf).all()
    assert (Reaction.of(odds, since, window.today, ReactionSettings()).weight[alone] == 0).all()


@settings(deadline=None, max_examples=15)
@given(st.floats(0, 1), st.integers(0, 25))
def test_a_list_leans_between_the_whole_history_and_its_newest_part(weight: float, first: int) -> None:
    """Scores are the mixture that the weight says; without weight they are the plain ones."""
    window = window_until(random_log(4, users=12, per_day=20), 19)
    scorer_on = REPEATS.fit(Inputs(window, CHOSEN, None))
    users = np.arange(len(window.sequences.users))
    since = np.full(len(users), day_number(day(first)))
    weights = np.where(users % 2 == 0, weight, 0).astype(np.float32)
    chosen = CHOSEN.model_copy(update={"weights": {"repeats": 1.0}})
    mixer = Mixer({"repeats": scorer_on}, None, chosen, window, np.arange(window.item_count))
    found = leaning(mixer.on, window, Reaction(weights, since))(users).scores

    def of_best(scores: np.ndarray) -> np.ndarray:
        best = scores.max(axis=1, keepdims=True)
        return scores / np.where(best > 0, best, 1)

    long, short = of_best(scorer_on(window)(users)), of_best(scorer_on(window.since(since))(users))
    expected = (1 - weights[:, None]) * long + weights[:, None] * short
    assert found == pytest.approx(expected, abs=1e-6)
    assert found[1::2] == pytest.approx(long[1::2])


def test_a_reaction_fades_with_its_age() -> None:
    """The weight halves with each half-life since the start, grows with the odds, and ignores what is doubtful."""
    chosen = ReactionSettings(short_term_weight=0.8, doubt=1.0, half_life_days=10)
    today = np.full(4, 100)
    found = Reaction.of(np.array([50.0, 50.0, 1.0, -20.0]), np.array([100, 90, 100, 100]), today, chosen)
    assert found.weight == pytest.approx([0.8, 0.4, 0.4, 0.0], abs=1e-6)
