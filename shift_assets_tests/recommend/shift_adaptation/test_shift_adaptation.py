"""Spliced histories, the shift classifier trained on them, and scores adapted to what it predicts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from shift_assets.contracts.day import day_number
from shift_assets.models.data.spliced_histories import SplicedHistories
from shift_assets.recommend.candidates.base import GeneratorInputs
from shift_assets.recommend.candidates.repeat_consumption import REPEAT_CONSUMPTION
from shift_assets.recommend.ranking.ranker import BlendedRanker
from shift_assets.recommend.shift_adaptation.adaptation import Adaptation
from shift_assets.recommend.shift_adaptation.shift_classifier import (
    TRAINING_EVENTS,
    EventShares,
    ShiftClassifier,
    fit_shift_classifier,
)
from shift_assets.recommend.shift_adaptation.spliced_histories import splice_window
from shift_assets.recommend.window import Window
from shift_assets.settings.root import AdaptationSettings, RecommendationSettings
from shift_assets_tests.event_logs import clean_events, day, random_log
from shift_assets_tests.recommend.one_category_log import LAST, one_category_log

CHOSEN = RecommendationSettings()


def window_until(events: pa.Table, number: int) -> Window:
    return Window.of(events, day(number), CHOSEN)


def spliced_at(events: pa.Table, border: int, seed: int = 0) -> tuple[SplicedHistories, Window]:
    spliced = splice_window(
        events, window_until(events, border - 1), days=7, minimum_days=3, maximum_pairs=50, seed=seed
    )
    assert spliced is not None
    return spliced


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1_000), st.integers(5, 15))
def test_spliced_histories_hold_one_users_past_and_anothers_future(seed: int, border: int) -> None:
    """Before the splice a history has the user's own events; after it, its own or those of one other user."""
    events = random_log(seed, users=10, days=20, per_day=25)
    spliced, window = spliced_at(events, border, seed)
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
    known = set(window.vocabulary.items)
    start = day_number(day(border))
    names = [*window.vocabulary.items, None]
    futures: list[tuple[bool, list[tuple[int, str | None]]]] = []
    for number, user in enumerate(window.sequences.users):
        first, last = window.sequences.offsets[number : number + 2]
        history = [
            (int(d), names[int(i)])
            for d, i in zip(window.sequences.days[first:last], window.items[first:last], strict=True)
        ]
        past = [event for event in history if event[0] < start]
        assert past == [event for event in own[user] if event[0] < start]
        assert spliced.first_event[number] == first + len(past)
        futures.append((bool(spliced.spliced[number]), history[len(past) :]))
        if not spliced.spliced[number]:
            expected = [(d, i if i in known else None) for d, i in own[user] if d >= start]
            assert history[len(past) :] == expected
    stable = sorted(str(future) for shifted, future in futures if not shifted)
    assert stable == sorted(str(future) for shifted, future in futures if shifted)


def test_the_shift_classifier_separates_another_interest_from_the_users_own() -> None:
    """Trained on earlier weeks, it ranks spliced histories of the last week above those that continue as they were."""
    events = one_category_log(1)
    window = window_until(events, LAST - 7)
    shift_classifier = fit_shift_classifier(events, window, CHOSEN, seed=1)
    assert shift_classifier is not None
    spliced, spliced_window = spliced_at(events, LAST - 6)
    users, ends = spliced.first_events(TRAINING_EVENTS)
    odds, since = shift_classifier.log_odds(spliced_window.prefixes(users, ends), EventShares.of(window))
    later = ends - spliced.first_event[users] >= 4
    assert roc_auc_score(spliced.spliced[users[later]], odds[later]) > 0.9
    found = later & (odds > 0) & spliced.spliced[users]
    late = np.abs(since[found] - spliced.splice_days[users[found]]) <= 2
    assert late.mean() > 0.6
    assert ShiftClassifier.from_json(shift_classifier.to_json()) == shift_classifier


def test_the_shift_classifier_is_deterministic_and_needs_users_to_learn_from() -> None:
    """The same log and seed give the same classifier; a handful of users gives none."""
    events = one_category_log(2)
    window = window_until(events, LAST)
    assert fit_shift_classifier(events, window, CHOSEN, seed=3) == fit_shift_classifier(events, window, CHOSEN, seed=3)
    few = one_category_log(2, users=6)
    assert fit_shift_classifier(few, window_until(few, LAST), CHOSEN, seed=3) is None


def test_no_shift_is_predicted_for_a_user_without_history() -> None:
    """One active day is no shift: the odds are zero, and the user is not adapted."""
    events = pa.concat_tables([one_category_log(1), clean_events([(LAST, "new", "c1-00", "purchase")])])
    window = window_until(events, LAST)
    shift_classifier = fit_shift_classifier(events, window, CHOSEN, seed=1)
    assert shift_classifier is not None
    odds, since = shift_classifier.log_odds(window, EventShares.of(window))
    alone = window.sequences.lengths == 1
    assert alone.sum() == 1
    assert (odds[alone] == -np.inf).all()
    assert (Adaptation.of(odds, since, window.today, AdaptationSettings()).weight[alone] == 0).all()


@settings(deadline=None, max_examples=15)
@given(st.floats(0, 1), st.integers(0, 25))
def test_scores_mix_the_whole_history_and_its_newest_part(weight: float, first: int) -> None:
    """Scores are the mixture by the weight; without weight those of the whole history."""
    window = window_until(random_log(4, users=12, per_day=20), 19)
    scorer_on = REPEAT_CONSUMPTION.fit(GeneratorInputs(window, CHOSEN, None))
    users = np.arange(len(window.sequences.users))
    since = np.full(len(users), day_number(day(first)))
    weights = np.where(users % 2 == 0, weight, 0).astype(np.float32)
    chosen = CHOSEN.model_copy(update={"weights": {"repeats": 1.0}})
    ranker = BlendedRanker(
        {"repeats": scorer_on},
        None,
        chosen,
        log=window,
        histories=window,
        allowed=np.arange(window.item_count),
        adaptation=Adaptation(weights, since),
    )
    found = ranker.score(users).scores

    def of_best(scores: np.ndarray) -> np.ndarray:
        best = scores.max(axis=1, keepdims=True)
        return scores / np.where(best > 0, best, 1)

    long, short = of_best(scorer_on(window)(users)), of_best(scorer_on(window.since(since))(users))
    expected = (1 - weights[:, None]) * long + weights[:, None] * short
    assert found == pytest.approx(expected, abs=1e-6)
    assert found[1::2] == pytest.approx(long[1::2])


def test_an_adaptation_fades_with_its_age() -> None:
    """The weight halves every half-life since the start, grows with the odds, and is 0 for a doubtful shift."""
    chosen = AdaptationSettings(short_term_weight=0.8, doubt=1.0, half_life_days=10)
    today = np.full(4, 100)
    found = Adaptation.of(np.array([50.0, 50.0, 1.0, -20.0]), np.array([100, 90, 100, 100]), today, chosen)
    assert found.weight == pytest.approx([0.8, 0.4, 0.4, 0.0], abs=1e-6)
