"""Re-ranking: each rule has its effect, and none when it is off."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shift_assets.arrays import BoolArray, Float32Array, Int64Array
from shift_assets.recommend.ranking.rerank import SMOOTHING, fresh_items, rerank
from shift_assets.recommend.window import Window
from shift_assets.settings.config_file import ConfigError
from shift_assets.settings.root import RecommendationSettings, load_settings
from shift_assets_tests.event_logs import clean_events, day

ITEMS, CATEGORIES, DIMENSIONS = 12, 3, 4
SHORT = RecommendationSettings(k=4)


class Shop:
    """Twelve items of three categories with random vectors, and ranked items of three users."""

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        vectors = random.normal(size=(ITEMS, DIMENSIONS))
        self.vectors: Float32Array = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        self.categories: Int64Array = random.integers(CATEGORIES, size=ITEMS)
        self.mix: Float32Array = random.dirichlet(np.ones(CATEGORIES), 3).astype(np.float32)
        self.fresh: BoolArray = random.random(ITEMS) < 0.3
        self.items: Int64Array = np.stack([random.permutation(ITEMS) for _ in range(3)])
        self.items[0, 9:] = -1

    def slates(self, chosen: RecommendationSettings) -> Int64Array:
        """Items [user, rank], -1 where none is left."""
        positions = rerank(
            self.items,
            vectors=self.vectors,
            categories=self.categories,
            mix=self.mix,
            fresh=self.fresh,
            settings=chosen,
        )
        return np.where(positions >= 0, np.take_along_axis(self.items, np.maximum(positions, 0), axis=1), -1)


def rerank_one_user(shop: Shop, user: int, chosen: RecommendationSettings) -> list[int]:
    """The same greedy choice for one user, written as its definition."""
    given_positions: list[int] = []
    while len(given_positions) < chosen.k:
        left = [(position, int(item)) for position, item in enumerate(shop.items[user]) if item >= 0]
        left = [(position, item) for position, item in left if item not in given_positions]
        n_fresh = sum(bool(shop.fresh[item]) for item in given_positions)
        if chosen.fresh_slots - n_fresh >= chosen.k - len(given_positions):
            left = [pair for pair in left if shop.fresh[pair[1]]] or left
        if not left:
            break
        worth = []
        for position, item in left:
            similarity = max(
                (float(shop.vectors[item] @ shop.vectors[other]) for other in given_positions), default=0.0
            )
            category_counts = Counter(int(shop.categories[other]) for other in [*given_positions, item])
            divergence = 0.0
            for category, share in enumerate(shop.mix[user]):
                shown = (1 - SMOOTHING) * category_counts[category] / (len(given_positions) + 1) + SMOOTHING * share
                divergence += share * np.log(share / shown)
            weight = 1 - chosen.diversity - chosen.calibration
            worth.append(
                weight / np.log2(position + 2)
                - chosen.diversity * max(similarity, 0.0)
                - chosen.calibration * divergence
            )
        given_positions.append(left[int(np.argmax(worth))][1])
    return given_positions


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.floats(0, 0.5), st.floats(0, 0.5), st.integers(0, 4))
def test_all_users_at_once_is_each_user_alone(seed: int, diversity: float, calibration: float, fresh: int) -> None:
    """The vectorised choice equals the definition, whatever rules are on."""
    shop = Shop(seed)
    chosen = SHORT.model_copy(update={"diversity": diversity, "calibration": calibration, "fresh_slots": fresh})
    assert shop.slates(chosen).tolist() == [rerank_one_user(shop, user, chosen) for user in range(3)]


def test_without_rules_the_scores_decide() -> None:
    """With everything off the slate is the k best, in their order."""
    assert Shop(1).slates(SHORT).tolist() == Shop(1).items[:, :4].tolist()


def test_diversity_separates_similar_items() -> None:
    """The larger its weight, the less similar the items of a slate are."""

    def similarity(weight: float) -> float:
        found = 0.0
        for seed in range(30):
            shop = Shop(seed)
            for row in shop.slates(SHORT.model_copy(update={"diversity": weight})):
                found += (shop.vectors[row] @ shop.vectors[row].T).sum()
        return found

    assert similarity(0.0) > similarity(0.3) > similarity(0.9)


def test_calibration_approaches_the_mix_of_the_user() -> None:
    """A user of two interests gets both in their proportion where the scores alone would give one."""
    items = np.arange(ITEMS)[None, :]
    categories = np.repeat([0, 1, 2], 4)
    mix = np.array([[0.5, 0.5, 0.0]], dtype=np.float32)

    def counts(weight: float) -> list[int]:
        chosen = SHORT.model_copy(update={"calibration": weight})
        found = rerank(
            items,
            vectors=np.zeros((ITEMS, 1), dtype=np.float32),
            categories=categories,
            mix=mix,
            fresh=np.zeros(ITEMS, dtype=bool),
            settings=chosen,
        )
        return [int(count) for count in np.bincount(categories[found[0]], minlength=3)]

    assert counts(0.0) == [4, 0, 0]
    assert counts(0.7) == [2, 2, 0]


@pytest.mark.parametrize("seed", range(5))
def test_positions_are_reserved_for_new_items(seed: int) -> None:
    """As many new items as the settings ask for, or as there are; the first ranks keep the best items."""
    shop = Shop(seed)
    chosen = SHORT.model_copy(update={"fresh_slots": 2})
    plain, found = shop.slates(SHORT), shop.slates(chosen)
    for user in range(3):
        there = shop.items[user][shop.items[user] >= 0]
        assert shop.fresh[found[user]].sum() >= min(2, shop.fresh[there].sum())
        assert found[user, 0] == plain[user, 0]


def test_new_is_what_nobody_met_before() -> None:
    """An item of the last days is new only without an event before them; one without any event is new."""
    events = clean_events([(0, "a", "old-1", "view"), (9, "a", "old-1", "view"), (9, "a", "x-1", "view")])
    unmet = clean_events([(0, "a", "y-1", "view")]).select(["item_id", "category"])
    window = Window.of(events, day(10), SHORT, unmet)
    assert dict(zip(window.vocabulary.items, fresh_items(window, 3).tolist(), strict=True)) == {
        "old-1": False,
        "x-1": True,
        "y-1": True,
    }


def test_more_than_the_whole_weight_is_refused(tmp_path: Path) -> None:
    """Diversity and calibration share one weight with relevance."""
    (tmp_path / "settings.yaml").write_text("recommendations: {diversity: 0.7, calibration: 0.6}\n")
    with pytest.raises(ConfigError, match="together at most 1"):
        load_settings(tmp_path)
