"""Content-based candidates: cold items are reachable, external vectors and texts of users are used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from shift_assets.arrays import Float32Array
from shift_assets.errors import UserError
from shift_assets.recommend.candidates.base import GeneratorInputs
from shift_assets.recommend.candidates.content import CONTENT
from shift_assets.recommend.candidates.item_content import Content, read_item_vectors
from shift_assets.recommend.candidates.reviews import REVIEWS
from shift_assets.recommend.candidates.user_signals import SIGNAL_TYPES, UserSignals, read_signals
from shift_assets.recommend.exclusions import in_catalogue
from shift_assets.recommend.window import Window
from shift_assets.settings.root import RecommendationSettings
from shift_assets_tests.event_logs import Row, clean_events, day, random_log, shuffled, user_id
from shift_assets_tests.recommend.generator_inputs import ITEMS

CHOSEN = RecommendationSettings()
TEXTS = {
    "tea-1": "red tea pot",
    "tea-2": "tea cups for the garden",
    "tea-3": "green tea pot with cups",
    "lamp-1": "desk lamp",
    "lamp-2": "floor lamp for a desk",
}
NEW = "tea-9"
CATALOGUE = pa.Table.from_pylist(
    [{"item_id": NEW, "category": "tea", "price": 2.0, "text": "blue tea pot and cups"}], schema=ITEMS
)


def log() -> pa.Table:
    rows: list[Row] = [(position % 3, f"of {item}", item, "purchase") for position, item in enumerate(TEXTS)]
    rows += [(0, "ann", "tea-1", "purchase"), (1, "ann", "tea-3", "purchase"), (1, "bob", "lamp-1", "purchase")]
    events = clean_events(rows)
    texts = pa.array([TEXTS[item] for item in events["item_id"].to_pylist()])
    return events.set_column(events.schema.get_field_index("text"), events.schema.field("text"), texts)


def scored(
    events: pa.Table,
    *,
    external: pa.Table | None = None,
    signals: UserSignals | None = None,
    generator: str = "content",
) -> tuple[Window, Float32Array]:
    window = Window.of(events, day(2), CHOSEN, CATALOGUE)
    content = Content.of(events, window.vocabulary, items=CATALOGUE, external=external, seed=0)
    fitted = (CONTENT if generator == "content" else REVIEWS).fit(
        GeneratorInputs(window, CHOSEN, None, content, signals)
    )
    return window, fitted(window)(np.arange(len(window.sequences.users)))


def of_user(window: Window, scores: Float32Array, name: str) -> dict[str, float]:
    row = window.sequences.users.index(user_id(name))
    return dict(zip(window.vocabulary.items, scores[row].tolist(), strict=True))


def test_an_item_without_interactions_is_found_by_its_text() -> None:
    """A new item similar to those of a user ranks above old items that are not, and is in the catalogue."""
    window, scores = scored(log())
    ann, bob = of_user(window, scores, "ann"), of_user(window, scores, "bob")
    assert ann[NEW] > max(ann["lamp-1"], ann["lamp-2"])
    assert bob["lamp-2"] > bob[NEW]
    allowed = in_catalogue(window, CHOSEN.catalogue_days)
    assert allowed[window.vocabulary.items.index(NEW)]


def test_an_item_last_seen_long_ago_is_not_new() -> None:
    """Only items of the items table without any event are in the catalogue; an old item stays out."""
    events = clean_events([(0, "ann", "old-1", "view"), (19, "ann", "x-1", "view")])
    catalogue = pa.Table.from_pylist([{"item_id": "old-1", "category": "old"}], schema=ITEMS)
    window = Window.of(events, day(19), CHOSEN, catalogue)
    assert in_catalogue(window, 5).tolist() == [item == "x-1" for item in window.vocabulary.items]


def test_external_vectors_decide_similarity() -> None:
    """With vectors of another model the texts have no effect."""
    lamps = ["lamp-1", "tea-1", "tea-3"]
    table = pa.table(
        {"item_id": list(TEXTS), "vector": [[1.0, 0.0] if item in lamps else [0.0, 1.0] for item in TEXTS]}
    )
    window, scores = scored(log(), external=table)
    ann = of_user(window, scores, "ann")
    assert ann["lamp-1"] > 0
    assert ann["tea-2"] == ann["lamp-2"] == ann[NEW] == 0


def test_the_order_of_rows_does_not_matter() -> None:
    """Texts and prices are those of the newest event, in any order of the rows."""
    assert np.array_equal(scored(log())[1], scored(shuffled(log()))[1])


def test_a_log_without_texts_is_described_by_category_and_price() -> None:
    """Items of one category are similar, those of others are not."""
    events = random_log(1)
    window = Window.of(events, day(19), CHOSEN)
    vectors = Content.of(events, window.vocabulary, items=None, external=None, seed=0).vectors
    similarity = vectors @ vectors.T
    same = np.equal.outer(window.vocabulary.item_categories[1:], window.vocabulary.item_categories[1:])
    assert similarity[same].min() > similarity[~same].max()


@pytest.mark.parametrize(
    ("columns", "message"),
    [({"item_id": ["a"]}, "expected columns item_id and vector"), ({"vector": ["1"]}, "expected columns")],
)
def test_a_file_that_holds_no_vectors_is_refused(
    tmp_path: Path, columns: dict[str, list[object]], message: str
) -> None:
    """The message names the file and its expected columns."""
    pq.write_table(pa.table(columns), tmp_path / "vectors.parquet")
    with pytest.raises(UserError, match=message):
        read_item_vectors(tmp_path / "vectors.parquet")


def test_vectors_of_different_lengths_are_refused() -> None:
    """Vectors of two models in one table have no common space."""
    table = pa.table({"item_id": ["tea-1", "tea-2"], "vector": [[1.0], [1.0, 2.0]]})
    with pytest.raises(UserError, match="different lengths: 1, 2"):
        scored(log(), external=table)


def signals_of(rows: list[dict[str, object]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=pa.schema(SIGNAL_TYPES))


def test_a_signal_proposes_the_items_that_it_describes() -> None:
    """An external text, and a category, each propose their items; a user without signals gets none."""
    signals = signals_of(
        [
            {"day": day(1), "user_id": user_id("bob"), "text": "looking for a tea pot", "weight": 1.0},
            {"day": day(1), "user_id": user_id("of tea-1"), "category": "lamp", "weight": 1.0},
            {"day": day(3), "user_id": user_id("ann"), "text": "a lamp, tomorrow", "weight": 1.0},
        ]
    )
    window, scores = scored(log(), signals=UserSignals.of(log(), signals), generator="reviews")
    bob, other = of_user(window, scores, "bob"), of_user(window, scores, "of tea-1")
    assert min(bob["tea-1"], bob["tea-3"]) > max(bob["lamp-1"], bob["lamp-2"])
    assert min(other["lamp-1"], other["lamp-2"]) > max(other["tea-1"], other["tea-3"])
    assert not any(of_user(window, scores, "ann").values())


def test_a_good_review_proposes_similar_items_and_a_bad_one_does_not() -> None:
    """Five stars for a lamp propose lamps; one star does not."""
    ratings = clean_events([(1, "ann", "lamp-1", "rating"), (1, "bob", "lamp-1", "rating")])
    stars = pa.array([5.0 if user == user_id("ann") else 1.0 for user in ratings["user_id"].to_pylist()])
    ratings = ratings.set_column(ratings.schema.get_field_index("rating"), ratings.schema.field("rating"), stars)
    events = pa.concat_tables([log(), ratings])
    window, scores = scored(events, signals=UserSignals.of(events, None), generator="reviews")
    assert of_user(window, scores, "ann")["lamp-2"] > 0
    assert of_user(window, scores, "bob")["lamp-2"] == 0


def test_a_signal_file_is_read_with_either_text_or_category(tmp_path: Path) -> None:
    """One of the two may be absent; both, or a weight, may not."""
    path = tmp_path / "signals.parquet"
    good = signals_of([{"day": day(1), "user_id": "u", "text": "tea", "weight": 1.0}])
    pq.write_table(good.drop(["category"]), path)
    assert read_signals(path).equals(good)
    for columns, message in ((["text", "category"], "needs a text or a category"), (["weight"], "weight is absent")):
        pq.write_table(good.drop(columns), path)
        with pytest.raises(UserError, match=message):
            read_signals(path)


def test_reviews_are_no_item_texts() -> None:
    """What a user wrote about an item does not change the vector of the item."""
    review = clean_events([(2, "bob", "tea-1", "review")])
    words = pa.array(["a lamp, I thought; a desk lamp"])
    review = review.set_column(review.schema.get_field_index("text"), review.schema.field("text"), words)
    events = pa.concat_tables([log(), review])
    window = Window.of(events, day(2), CHOSEN)
    with_review = Content.of(events, window.vocabulary, items=None, external=None, seed=0)
    without = Content.of(log(), window.vocabulary, items=None, external=None, seed=0)
    assert np.array_equal(with_review.vectors, without.vectors)
    assert pc.any(pc.equal(UserSignals.of(events, None).rows["text"], words[0])).as_py()
