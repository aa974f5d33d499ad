"""Recommendations keep their contract and the exclusions, and follow an open alert."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shift_assets.contracts.cleaning import CLEAN_EVENTS
from shift_assets.contracts.recommendations import RECOMMENDATIONS
from shift_assets.contracts.shift import SHIFT_ALERTS
from shift_assets.models.network.interest_model import InterestModel
from shift_assets.models.training.train import train
from shift_assets.recommend.context import RecommendationContext
from shift_assets.recommend.pipeline import recommend
from shift_assets.recommend.shift_adaptation.rising_boost import boost_rising
from shift_assets.recommend.shift_adaptation.shift_classifier import ShiftClassifier, fit_shift_classifier
from shift_assets.recommend.window import Window
from shift_assets.settings.root import (
    AlertSettings,
    ExperimentSettings,
    ModelSettings,
    RecommendationSettings,
    Settings,
)
from shift_assets_tests.event_logs import clean_events, day, random_log, shuffled, user_id
from shift_assets_tests.recommend.one_category_log import LAST, one_category_log

TODAY = day(19)
ADJUSTED = {"shift_adjusted": 1.0}
NO_ALERTS = SHIFT_ALERTS.empty()
SHORT = RecommendationSettings(k=6)


def recommended(
    events: pa.Table,
    alerts: pa.Table = NO_ALERTS,
    model: InterestModel | None = None,
    chosen: RecommendationSettings = SHORT,
    *,
    arms: Mapping[str, float] = ADJUSTED,
    language: str = "en",
    shift_classifier: ShiftClassifier | None = None,
) -> pa.Table:
    used = Settings(
        home=Path("nowhere"),
        recommendations=chosen,
        experiments=ExperimentSettings(shares=dict(arms), maximum_exploring_share=1.0),
        alerts=AlertSettings(language="zh" if language == "zh" else "en"),
    )
    return recommend(
        RecommendationContext(events, alerts=alerts, model=model, shift_classifier=shift_classifier), TODAY, "all", used
    )


def alert(user: str, rising: dict[str, tuple[float, float]], status: str = "opened") -> pa.Table:
    row = {
        "day": TODAY,
        "segment": "all",
        "alert_id": user_id(f"alert of {user}"),
        "user_id": user_id(user),
        "status": status,
        "kind": "switch",
        "severity": "high",
        "magnitude": 0.8,
        "onset_day": TODAY,
        "rising": [{"category": c, "share_before": b, "share_after": a} for c, (b, a) in rising.items()],
        "falling": [],
        "explanation": "moved",
        "detector": "test",
    }
    return pa.Table.from_pylist([row], schema=SHIFT_ALERTS.schema)


@pytest.fixture(scope="module")
def model() -> InterestModel:
    trained = train(
        random_log(1), TODAY, ModelSettings(device="cpu", dimensions=16, maximum_steps=10, batch_size=16), seed=1
    )
    assert trained.model is not None
    return trained.model


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000), st.integers(0, 4), st.integers(0, 30), st.integers(1, 28))
def test_nothing_excluded_is_recommended(seed: int, bought: int, returned: int, catalogue: int) -> None:
    """Never an item that left the catalogue, nor to a user what it bought or returned within the set days."""
    chosen = SHORT.model_copy(
        update={"exclude_bought_days": bought, "exclude_returned_days": returned, "catalogue_days": catalogue}
    )
    events = random_log(seed, per_day=15)
    rows = recommended(events, chosen=chosen).select(["user_id", "item_id"]).to_pylist()
    taken: dict[tuple[str, str, str], int] = {}
    last_seen: dict[str, int] = {}
    for event in events.select(["day", "user_id", "item_id", "behavior"]).to_pylist():
        age = (TODAY - event["day"]).days
        key = (event["user_id"], event["item_id"], event["behavior"])
        taken[key] = min(age, taken.get(key, 999))
        if event["behavior"] != "return":
            last_seen[event["item_id"]] = min(age, last_seen.get(event["item_id"], 999))
    for row in rows:
        assert taken.get((row["user_id"], row["item_id"], "purchase"), 999) >= bought
        assert taken.get((row["user_id"], row["item_id"], "return"), 999) >= returned
        assert last_seen[row["item_id"]] < catalogue


def test_ranks_are_without_gaps_or_repeats(model: InterestModel) -> None:
    """The ranks of a slate are 1, 2, … to at most k, no item occurs twice, and scores never increase."""
    rows = recommended(random_log(1), model=model)
    assert RECOMMENDATIONS.conform(rows).equals(rows)
    for user in pc.unique(rows["user_id"]).to_pylist():
        own = rows.filter(pc.field("user_id") == user)
        assert own["rank"].to_pylist() == list(range(1, own.num_rows + 1))
        assert own.num_rows <= SHORT.k
        assert pc.count_distinct(own["item_id"]).as_py() == own.num_rows
        assert (np.diff(own["score"].to_numpy()) <= 0).all()


def test_every_active_user_gets_recommendations() -> None:
    """Users active within the days of the settings are served, and no others."""
    events = pa.concat_tables([random_log(1), clean_events([(0, "gone", "c0-00", "view")])])
    chosen = SHORT.model_copy(update={"active_within_days": 5})
    active = events.filter(pc.field("day") > day(14))
    assert set(recommended(events, chosen=chosen)["user_id"].to_pylist()) == set(active["user_id"].to_pylist())


def test_order_of_input_rows_does_not_matter(model: InterestModel) -> None:
    """The same events and alerts in another order give the same table."""
    alerts = pa.concat_tables([alert("user 1", {"c1": (0.1, 0.5)}), alert("user 2", {"c2": (0.1, 0.5)})])
    one = recommended(random_log(1), alerts, model)
    assert one.equals(recommended(shuffled(random_log(1)), shuffled(alerts, 1), model))


def test_later_days_change_nothing() -> None:
    """The recommendations of a day do not depend on what comes after it."""
    events = random_log(1, days=25)
    assert recommended(events).equals(recommended(events.filter(pc.field("day") <= TODAY)))


def test_an_alerted_user_gets_more_of_what_rises(model: InterestModel) -> None:
    """An open alert moves its user's slate to the rising category, and no other user's slate."""
    user, events = "user 1", random_log(1)
    plain = recommended(events, model=model)
    moved = recommended(events, alert(user, {"c4": (0.0, 0.7), "c3": (0.1, 0.2)}), model)

    def rising(rows: pa.Table) -> float:
        own = rows.filter(pc.field("user_id") == user_id(user)).select(["rank", "item_id"]).to_pylist()
        return sum(1 / int(row["rank"]) for row in own if row["item_id"].startswith("c4"))

    assert rising(moved) > rising(plain)
    own, others = (moved.filter(expression) for expression in _split(user))
    assert others.equals(plain.filter(_split(user)[1]))
    for row in own.to_pylist():
        caused = row["item_id"][:2] in ("c3", "c4")
        assert (row["alert_id"] == user_id(f"alert of {user}")) == caused
        assert ("rising interest: c" in row["reason"]) == caused


def _split(user: str) -> tuple[pc.Expression, pc.Expression]:
    return pc.field("user_id") == user_id(user), pc.field("user_id") != user_id(user)


@pytest.mark.parametrize(
    "alerts",
    [
        alert("user 1", {"c4": (0.0, 0.7)}, status="closed"),
        alert("user 1", {}),
        alert("user 1", {"no such category": (0.0, 0.7)}),
        alert("nobody", {"c4": (0.0, 0.7)}),
    ],
    ids=["closed", "nothing rises", "unknown category", "unknown user"],
)
def test_an_alert_without_recommendable_categories_changes_nothing(alerts: pa.Table) -> None:
    """Closed alerts, alerts of users who are not served, and categories without items change no slate."""
    columns = ["user_id", "rank", "item_id", "score", "alert_id", "policy"]
    assert recommended(random_log(1), alerts).select(columns).equals(recommended(random_log(1)).select(columns))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.floats(0, 1))
def test_the_boost_lets_no_falling_item_overtake_a_rising_one(seed: int, weight: float) -> None:
    """An item of the category that rises most stays above the items that it ranked above before the boost."""
    random = np.random.default_rng(seed)
    blended = random.random((1, 12)).astype(np.float32)
    gains = (random.random((1, 12)) < 0.4).astype(np.float32)
    boosted = boost_rising(blended, gains, weight)
    for rising in np.flatnonzero(gains[0]):
        for other in range(12):
            if blended[0, rising] > blended[0, other]:
                assert boosted[0, rising] >= boosted[0, other] - 1e-6


def test_reasons_are_in_the_language_of_the_settings() -> None:
    """Every row has a reason, in the language of the alerts."""
    reasons = set(recommended(random_log(1), language="zh")["reason"].to_pylist())
    assert "曾经选购，适合再次选购" in reasons


def test_propensities_are_those_of_the_arms_and_of_exploration() -> None:
    """Without exploration a policy shows its slate with probability 1; the arm's share is a column of its own."""
    rows = recommended(random_log(1), arms={"unadjusted": 0.25, "shift_adjusted": 0.75})
    assert set(rows["propensity"].to_pylist()) == {1.0}
    for policy, share in (("unadjusted", 0.25), ("shift_adjusted", 0.75)):
        own = rows.filter(pc.field("policy") == policy)
        assert own.num_rows
        assert set(own["policy_propensity"].to_pylist()) == {share}


def test_only_the_policies_that_react_follow_an_alert() -> None:
    """An unadjusted user's slate is the same with and without an alert, and no item is attributed to one."""
    alerts, plain = alert("user 1", {"c4": (0.0, 0.7)}), {"unadjusted": 1.0}
    assert recommended(random_log(1), alerts, arms=plain).equals(recommended(random_log(1), arms=plain))
    assert not recommended(random_log(1), alerts).equals(recommended(random_log(1)))


def test_an_exploring_slate_draws_its_last_positions_at_random() -> None:
    """Rising categories get one of the last ranks with a probability below 1; the first ranks are unchanged."""
    alerts = pa.concat_tables([alert(f"user {n}", {"c4": (0.0, 0.7), "c3": (0.0, 0.4)}) for n in range(30)])
    explored, unexplored = (
        recommended(random_log(1), alerts, arms={arm: 1.0}) for arm in ("exploring", "shift_adjusted")
    )
    drawn = explored.filter(pc.field("source") == "exploration")
    assert drawn.num_rows
    assert max(drawn["propensity"].to_pylist()) < 1
    first = pc.field("rank") <= 2
    columns = ["user_id", "rank", "item_id"]
    assert explored.filter(first).select(columns).equals(unexplored.filter(first).select(columns))


def test_the_reason_of_an_adapted_slate_names_the_day_and_both_interests() -> None:
    """A user who switched to another category gets a reason with the day, the new interest and the old one."""
    events = one_category_log(1)
    switched = clean_events([(n, "user 0", f"c1-{n % 5:02d}", "purchase") for n in range(16, 20) for _ in range(6)])
    events = pa.concat_tables([events.filter(pc.field("day") <= TODAY), switched])
    shift_classifier = fit_shift_classifier(
        one_category_log(1), Window.of(one_category_log(1), day(LAST), SHORT), SHORT, seed=1
    )
    assert shift_classifier is not None
    own = recommended(events, shift_classifier=shift_classifier).filter(pc.field("user_id") == user_id("user 0"))
    reported = [reason for reason in own["reason"].to_pylist() if "since " in reason]
    assert reported
    assert all(reason.endswith("mostly c1, before that c0") for reason in reported)
    unadjusted = recommended(events, shift_classifier=shift_classifier, arms={"unadjusted": 1.0})
    assert not any("since " in reason for reason in unadjusted["reason"].to_pylist())


def test_without_a_model_the_other_generators_make_the_recommendations(model: InterestModel) -> None:
    """No row is attributed to a missing model; with a model, some are."""
    sources = set(recommended(random_log(1))["source"].to_pylist())
    assert sources
    assert "interest_model" not in sources
    only = SHORT.model_copy(update={"weights": {"interest_model": 1.0}})
    assert set(recommended(random_log(1), model=model, chosen=only)["source"].to_pylist()) == {"interest_model"}


@pytest.mark.parametrize(
    "events",
    [
        CLEAN_EVENTS.empty(),
        clean_events([(19, "a", "x-1", "return")]),
        clean_events([(1, "a", "x-1", "view")]),
    ],
    ids=["nothing", "returns only", "nobody active"],
)
def test_no_candidates_is_an_empty_table(events: pa.Table, model: InterestModel) -> None:
    """A day without users to serve or items to recommend has no rows, and no error."""
    chosen = SHORT.model_copy(update={"active_within_days": 5})
    assert recommended(events, model=model, chosen=chosen).equals(RECOMMENDATIONS.empty())
