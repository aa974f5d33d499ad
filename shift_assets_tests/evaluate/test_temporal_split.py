"""Recommendations evaluated on past days: no training on test days, and adaptation improves them after a shift."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from shift_assets.evaluate.after_shift import report as report_after_shift
from shift_assets.evaluate.temporal_split import (
    NEXT_ITEM,
    WINDOW,
    WINDOW_NEW,
    NothingToEvaluate,
    TemporalSplit,
    report,
    tasks_after,
)
from shift_assets.recommend.context import RecommendationContext
from shift_assets.settings.root import ModelSettings, RecommendationSettings, Settings
from shift_assets_tests.event_logs import clean_events, day
from shift_assets_tests.recommend.one_category_log import LAST, one_category_log

pytestmark = pytest.mark.slow

SETTINGS = Settings(
    home=Path("nowhere"),
    model=ModelSettings(device="cpu", dimensions=8, maximum_steps=4, batch_size=32),
    recommendations=RecommendationSettings(
        validation_rounds=1, candidate_generators=("repeats", "transitions", "popularity")
    ),
)


def quiet(_: str) -> None:
    return None


def test_splits_are_at_days_of_the_log_and_stray_events_make_no_day() -> None:
    """A short log gives a fourth to the test and as much to the validation, however early a stray event lies."""
    events = one_category_log(1)
    stray = clean_events([(-300, "user 0", "c0-00", "view")])
    borders = TemporalSplit.of(pa.concat_tables([events, stray])["day"], 7)
    assert borders == TemporalSplit.of(events["day"], 7)
    assert borders.end == day(LAST + 1)
    assert borders.test == borders.end - timedelta(days=7)
    assert borders.validation == borders.test - timedelta(days=7)
    with pytest.raises(NothingToEvaluate, match="3 days"):
        TemporalSplit.of(events.filter(pc.field("day") < day(3))["day"], 7)


def test_labels_are_what_came_after_and_histories_end_before() -> None:
    """Window tasks use the history of the day before; next items all events before them, and no later one."""
    events = one_category_log(1)
    tasks = tasks_after(events, day(21), day(28), RecommendationSettings(), 1)
    later = events.filter(pc.field("day") >= day(21))
    window = tasks[WINDOW].window
    taken = set(zip(later["user_id"].to_pylist(), later["item_id"].to_pylist(), strict=True))
    names = window.vocabulary.items
    found = {
        (window.sequences.users[user], names[item])
        for user, item in zip(tasks[WINDOW].owners.tolist(), tasks[WINDOW].items.tolist(), strict=True)
        if item >= 0
    }
    assert found == {(user, item) for user, item in taken if item in set(names)}
    assert tasks[WINDOW_NEW].unreachable_share > tasks[WINDOW].unreachable_share
    following = tasks[NEXT_ITEM]
    assert len(following.items) == later.num_rows
    assert (following.window.sequences.lengths > 0).all()


def test_nothing_is_fitted_to_the_test_days() -> None:
    """Other events on the test days change neither the blend nor what it was chosen by."""
    events = one_category_log(1)
    borders = TemporalSplit.of(events["day"], SETTINGS.outcomes.horizon_days)
    before = events.filter(pc.field("day") < borders.test)
    other = one_category_log(2).filter(pc.field("day") >= borders.test)
    one = report(RecommendationContext(events), SETTINGS, seed=1, on_progress=quiet)
    two = report(RecommendationContext(pa.concat_tables([before, other])), SETTINGS, seed=1, on_progress=quiet)
    assert one.blend == two.blend
    assert one.blend is not None
    names = {row.contender for row in one.evaluated}
    assert {"interest_model", "repeats", "fixed_blend", "blend"} <= names
    assert {row.task for row in one.evaluated} == {WINDOW, WINDOW_NEW, NEXT_ITEM}


def test_after_a_shift_the_adaptation_gains_and_costs_stable_users_little() -> None:
    """Users who go on as others get more of what they take now; who shows no shift loses little."""
    found = report_after_shift(one_category_log(1, own=0.95), SETTINGS, seed=1, on_progress=quiet)
    gains = {
        (row.policy, row.users): row.recall_gain.value
        for row in found.rows
        if row.recall_gain
        and row.serving == "live"
        and (row.users == "stable" or (row.unit, row.last) == ("events", 15))
    }
    assert gains["unadjusted", "shifted"] == 0
    assert gains["shift_adjusted", "shifted"] > 0.1
    assert gains["shift_adjusted", "stable"] > -0.05
    assert found.pairs > 10
    assert set(found.events_to_recover) == {"unadjusted", "recency_reweighted", "shift_adjusted", "known_start"}
