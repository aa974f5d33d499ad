"""The learned blend: what it is fitted to, its lower bound on held-out users, and its stored form."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shift_assets.arrays import Float32Array
from shift_assets.errors import PermanentError
from shift_assets.recommend.candidates.registry import GENERATORS
from shift_assets.recommend.exclusions import in_catalogue
from shift_assets.recommend.ranking import blend_training
from shift_assets.recommend.ranking.blend import Blend
from shift_assets.recommend.ranking.blend_training import LEARNED, fit_blend
from shift_assets.recommend.ranking.features import GENERATOR_FEATURES, ContextFeatures, candidate_pairs, feature_names
from shift_assets.recommend.ranking.training_snapshot import TrainingSnapshot
from shift_assets.recommend.window import Window
from shift_assets.settings.root import GeneratorName, RecommendationSettings
from shift_assets_tests.event_logs import Row, clean_events, day, random_log, ring_log, shuffled
from shift_assets_tests.recommend.generator_inputs import generator_inputs

NAMES: tuple[GeneratorName, ...] = ("repeats", "transitions", "item_neighbours", "popularity")
CHOSEN = RecommendationSettings(
    k=5,
    validation_days=3,
    candidate_generators=NAMES,
    candidates=10,
    exclude_bought_days=0,
    weights={"popularity": 1.0},
)


def snapshot_at(events: pa.Table, last: date, chosen: RecommendationSettings = CHOSEN) -> TrainingSnapshot:
    known = events.filter(pc.field("day") <= last)
    return TrainingSnapshot.of(generator_inputs(known, Window.of(known, last, chosen), chosen), events)


def fitted(events: pa.Table, days: list[int], chosen: RecommendationSettings = CHOSEN, seed: int = 7) -> Blend:
    found = fit_blend([snapshot_at(events, day(number), chosen) for number in days], chosen, seed)
    assert found is not None
    return found


def recall_of(blend: Blend, snapshot: TrainingSnapshot) -> float:
    """Recall of the top k of `blend` on the snapshot, over the users who took something."""
    window = snapshot.inputs.window
    users = np.flatnonzero(snapshot.relevant)
    allowed = np.flatnonzero(in_catalogue(window, CHOSEN.catalogue_days))
    scores = {name: GENERATORS[name].fit(snapshot.inputs)(window)(users)[:, allowed] for name in blend.generators}
    ranked = blend.score(scores, ContextFeatures.of(window, window), users, allowed)
    best = np.argsort(-ranked.scores, axis=1, kind="stable")[:, : CHOSEN.k]
    hits = np.take_along_axis(snapshot.taken[users][:, allowed].toarray(), best, axis=1)
    return float((hits.sum(axis=1) / np.minimum(snapshot.relevant[users], CHOSEN.k)).mean())


def test_the_blend_learns_that_item_order_predicts() -> None:
    """Where only the order predicts, the fitted weights use the order and beat the fixed ones on later days."""
    events = ring_log(days=18)
    blend = fitted(events, [8, 11])
    later = snapshot_at(events, day(14))
    position = NAMES.index("popularity")
    fixed_weights = np.eye(len(feature_names(NAMES)))[len(GENERATOR_FEATURES) * position]
    assert blend.metrics["transitions"].recall > blend.metrics["popularity"].recall
    assert recall_of(blend, later) > recall_of(replace(blend, weights=tuple(fixed_weights)), later)
    assert recall_of(blend, later) == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(4))
def test_never_worse_than_the_best_generator_on_users_held_out(seed: int) -> None:
    """On held-out users the chosen option is at least as good as each generator alone and the fixed weights."""
    blend = fitted(random_log(seed), [10, 13])
    quality = {name: sum(found) for name, found in blend.metrics.items()}
    assert set(quality) == {LEARNED, "fixed", *NAMES}
    assert quality[blend.chosen] == max(quality.values())


def test_a_single_generator_that_wins_keeps_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no learned weights beat it, the blend ranks exactly as its best generator does."""
    monkeypatch.setattr(blend_training, "_fit_weights", lambda examples, selected: -np.ones(examples.features.shape[1]))
    events = ring_log(days=14)
    blend = fitted(events, [8])
    assert blend.chosen == "transitions"
    snapshot = snapshot_at(events, day(10))
    window = snapshot.inputs.window
    users, items = window.target_users, np.arange(window.item_count)
    scores = {name: GENERATORS[name].fit(snapshot.inputs)(window)(users) for name in NAMES}
    ranked = blend.score(scores, ContextFeatures.of(window, window), users, items)
    own = np.where(scores["transitions"] > 0, scores["transitions"], -1)
    for row in range(len(users)):
        order = np.argsort(-own[row], kind="stable")[: CHOSEN.k]
        assert (np.diff(ranked.scores[row, order]) <= 0).all()
        assert ranked.scores[row, order[0]] == ranked.scores[row].max() == 1


def test_weights_are_plain_numbers() -> None:
    """A blend is read back as it was written, and features of another version are refused."""
    blend = fitted(random_log(1, users=60, per_day=80), [12])
    assert Blend.from_json(blend.to_json()) == blend
    with pytest.raises(PermanentError, match="fit it again"):
        Blend.from_json(blend.to_json().replace("newness", "novelty"))


def test_stored_names_of_features_do_not_change() -> None:
    """Weights that an older version stored are read: by name and in this order."""
    stored = json.loads(fitted(random_log(1, users=60, per_day=80), [12]).to_json())
    own = [f"repeats: {name}" for name in ("score", "rank", "listed", "score x activity", "rank x activity")]
    context = ["popularity", "newness", "rest", "category share", "recent category share"]
    context += ["times", "recency", "turn", "bought", "kept"]
    assert list(stored["weights"])[: len(own)] == own
    assert list(stored["weights"])[-20:] == [*context, *(f"{name} x activity" for name in context)]
    assert set(stored) == {"sources", "weights", "candidates", "chosen", "users", "judged"}


def test_the_same_log_and_seed_give_the_same_weights() -> None:
    """The order of the rows does not matter, nor does anything after the days of the labels."""
    events = random_log(2, users=60, per_day=80)
    one = fitted(events, [9, 12])
    assert fitted(shuffled(events), [9, 12]) == one
    assert fitted(events.filter(pc.field("day") <= day(15)), [9, 12]) == one


def test_too_few_users_fit_nothing() -> None:
    """With few users, or nothing taken, there is no blend."""
    rows: list[Row] = [(number, "a", f"x-{number % 3}", "view") for number in range(10)]
    alone = clean_events(rows)
    assert fit_blend([snapshot_at(alone, day(5))], CHOSEN, 1) is None
    assert fit_blend([snapshot_at(random_log(1), day(19))], CHOSEN, 1) is None
    assert fit_blend([snapshot_at(random_log(1, users=12), day(12))], CHOSEN, 1) is None
    assert fit_blend([], CHOSEN, 1) is None


def test_labels_are_what_users_took_within_the_days_other_than_returns() -> None:
    """Labels end with the last day; a new item counts as relevant though no generator could propose it."""
    rows: list[Row] = [
        (0, "a", "x-1", "view"),
        (0, "a", "x-2", "view"),
        (1, "a", "x-1", "purchase"),
        (3, "a", "new-1", "purchase"),
        (3, "a", "x-2", "return"),
        (4, "a", "x-2", "purchase"),
        (2, "b", "x-2", "purchase"),
    ]
    snapshot = snapshot_at(clean_events(rows), day(0))
    assert snapshot.relevant.tolist() == [2]
    assert snapshot.taken.toarray().tolist() == [[1.0, 0.0]]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 6))
def test_candidates_are_the_top_k_of_every_generator(seed: int, top_k: int) -> None:
    """A pair is a candidate exactly when some generator has it among its best, and its features say so."""
    events = random_log(3, users=40, per_day=60)
    window = Window.of(events, day(19), CHOSEN)
    random = np.random.default_rng(seed)
    shape = (4, window.item_count)
    blocks: list[Float32Array] = [
        (random.random(shape) * (random.random(shape) < 0.3)).astype(np.float32) for _ in range(2)
    ]
    users, items = np.arange(4), np.arange(window.item_count)
    pairs = candidate_pairs(blocks, ContextFeatures.of(window, window), users, items, top_k)
    expected = set()
    for position, block in enumerate(blocks):
        for row in range(4):
            best = [column for column in np.argsort(-block[row], kind="stable")[:top_k] if block[row, column] > 0]
            expected |= {(row, int(column)) for column in best}
            for rank, column in enumerate(best):
                pair = np.flatnonzero((pairs.rows == row) & (pairs.columns == column))[0]
                own = pairs.features[pair, len(GENERATOR_FEATURES) * position :]
                assert own[0] == pytest.approx(block[row, column] / block[row].max())
                assert own[1] == pytest.approx(6 / (6 + rank))
                assert pairs.nominated[pair, position]
    assert set(zip(pairs.rows.tolist(), pairs.columns.tolist(), strict=True)) == expected
    assert np.isfinite(pairs.features).all()


def test_a_position_is_attributed_to_a_generator_that_proposed_the_item() -> None:
    """The generator of a candidate has it among its best, and an item that no generator proposes has score 0."""
    events = random_log(4, users=60, per_day=80)
    blend = fitted(events, [12])
    window = snapshot_at(events, day(16)).inputs.window
    inputs = generator_inputs(events, window, CHOSEN)
    users, items = window.target_users, np.arange(window.item_count)
    scores = {name: GENERATORS[name].fit(inputs)(window)(users) for name in NAMES}
    ranked = blend.score(scores, ContextFeatures.of(window, window), users, items)
    assert ranked.scores.min() >= 0
    assert ranked.scores.max() == 1
    for row, column in zip(*np.nonzero(ranked.scores), strict=True):
        assert scores[NAMES[ranked.generators[row, column]]][row, column] > 0
    named = np.sum([block > 0 for block in scores.values()], axis=0) > 0
    assert not ranked.scores[~named].any()
    without: dict[GeneratorName, Float32Array] = {name: block for name, block in scores.items() if name != "popularity"}
    assert not (blend.score(without, ContextFeatures.of(window, window), users, items).scores > 0)[
        np.sum([block > 0 for block in without.values()], axis=0) == 0
    ].any()
