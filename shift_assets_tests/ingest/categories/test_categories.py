from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from shift_assets.contracts.columns import UNCATEGORISED
from shift_assets.ingest.categories.category_model import CategoryModel, CategoryModelError
from shift_assets.ingest.categories.fit import FIT_DAYS, fit_categories
from shift_assets.ingest.categories.item_terms import term, terms, words
from shift_assets.ingest.categories.text_categories import consensus_texts
from shift_assets.ingest.cleaning import category_window
from shift_assets_tests.ingest.cleaned_landing import cleaned
from shift_assets_tests.ingest.dirty_data import (
    DAY,
    JSON_SOURCE,
    context_of,
    days_before,
    deliver,
    good_line,
    source_of,
)

KINDS = {
    "mug": ["{} COFFEE MUG", "{} TEA MUG", "MUG {} CAT", "LARGE MUG {}"],
    "necklace": ["{} BEAD NECKLACE", "GLASS NECKLACE {}", "{} NECKLACE SHELL", "LONG {} NECKLACE"],
    "candle": ["{} SCENTED CANDLE", "CANDLE {} VANILLA", "{} PILLAR CANDLE", "S/4 {} CANDLES"],
}
SEED = 20260101
COLOURS = ("RED", "BLUE", "GREEN", "PINK", "IVORY")


def item_texts() -> pa.Table:
    """Sixty items of three kinds in five colours, each text once."""
    rows = [
        {"item_id": f"{kind}-{number}-{colour}", "text": text.format(colour), "events": 1 + number}
        for kind, texts in KINDS.items()
        for number, text in enumerate(texts)
        for colour in COLOURS
    ]
    return pa.Table.from_pylist(rows)


def interactions(seed: int, users: int = 60) -> pa.Table:
    """Users who each meet units of one of three groups, and now and then one of another."""
    random = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        units = {f"{'abc'[user % 3]}{unit}" for unit in random.integers(0, 8, 6)} | {f"{'abc'[(user + 1) % 3]}0"}
        rows += [{"user_id": f"u{user:03d}", "unit": unit, "events": 2} for unit in sorted(units)]
    return pa.Table.from_pylist(rows)


def groups(model: CategoryModel) -> dict[str, str]:
    return dict(zip(model.assignments["unit"].to_pylist(), model.assignments["category"].to_pylist(), strict=True))


def test_items_of_one_kind_are_one_category_whatever_their_colour() -> None:
    """Clusters follow what a thing is; their names say it; an unseen text of the kind joins them."""
    model = fit_categories("text", item_texts(), 3, seed=1)
    found = groups(model)
    for kind in KINDS:
        assert {category for item, category in found.items() if item.startswith(kind)} == {found[f"{kind}-0-RED"]}
        assert kind in found[f"{kind}-0-RED"]
        assert model.predict([f"TURQUOISE {kind}"]) == [found[f"{kind}-0-RED"]]
    assert len(set(model.names)) == 3
    assert model.predict(["helicopter", "", "pink"]) == [UNCATEGORISED] * 3


def test_cooccurrence_groups_are_units_of_the_same_users() -> None:
    """Units met together share a group, named by rank and largest member; every unit has one."""
    found = groups(fit_categories("cooccurrence", interactions(1), 3, seed=1))
    assert set(found) == {f"{group}{unit}" for group in "abc" for unit in range(8)}
    for group in "abc":
        assert len({found[f"{group}{unit}"] for unit in range(1, 8)}) == 1
    assert {name.split("-")[1] for name in found.values()} == {"01", "02", "03"}


def test_groups_are_named_by_their_items_texts_or_by_typical_units() -> None:
    """By the heaviest terms where most units have a text, otherwise by number and by units close to the centre."""
    rows = interactions(1)
    things = {"a": "RED COFFEE MUG", "b": "GLASS NECKLACE", "c": "SCENTED CANDLES"}
    texts = [{"unit": f"{group}{unit}", "text": things[group], "events": 1} for group in "ab" for unit in range(8)]
    texts += [{"unit": "c0", "text": things["c"], "events": 1}]
    found = groups(fit_categories("cooccurrence", rows, 3, 1, pa.Table.from_pylist(texts)))
    assert found["a1"].startswith("coffee-mug")
    assert found["b1"].startswith("glass-necklace")
    assert re.fullmatch(r"group-0[123](-[ac][0-7]){3}", found["c1"])
    assert re.fullmatch(r"group-0[123](-[ab][0-7]){3}", groups(fit_categories("cooccurrence", rows, 3, 1))["a1"])


@pytest.mark.parametrize("kind", ["text", "cooccurrence"])
def test_the_same_rows_and_seed_give_the_same_model(kind: str) -> None:
    """In any order of rows; other rows give another version."""
    rows = item_texts() if kind == "text" else interactions(2)
    model = fit_categories(kind, rows, 3, seed=7)  # type: ignore[arg-type]
    shuffled = rows.take(pa.array(np.random.default_rng(0).permutation(rows.num_rows)))
    assert fit_categories(kind, shuffled, 3, seed=7).version == model.version  # type: ignore[arg-type]
    assert fit_categories(kind, rows.slice(0, 5), 3, seed=7).version != model.version  # type: ignore[arg-type]


def test_a_stored_model_is_the_fitted_one_or_refused(tmp_path: Path) -> None:
    """Loading gives version, members and predictions back; a changed file is refused, and nothing is pickled."""
    model = fit_categories("text", item_texts(), 3, seed=1)
    model.save(tmp_path / "model")
    assert {path.suffix for path in (tmp_path / "model").iterdir()} == {".json", ".safetensors"}
    loaded = CategoryModel.load(tmp_path / "model")
    assert loaded.version == model.version
    assert loaded.assignments == model.assignments
    texts = ["green mug", "candle of wax", "nothing known"]
    assert loaded.predict(texts) == model.predict(texts)
    path = tmp_path / "model" / "categories.json"
    path.write_text(path.read_text().replace("mug", "jug"))
    with pytest.raises(CategoryModelError, match="restore"):
        CategoryModel.load(tmp_path / "model")


@pytest.mark.parametrize("kind", ["text", "cooccurrence", "delivered"])
def test_an_empty_fit_window_is_no_error(kind: str) -> None:
    """An empty fit window, and one item or unit, give a model that knows what little there is."""
    empty = pa.table({name: pa.array([], pa.string()) for name in ("item_id", "text", "user_id", "unit")})
    empty = empty.append_column("events", pa.array([], pa.int64()))
    assert fit_categories(kind, empty, 40, seed=1).assignments.num_rows == 0  # type: ignore[arg-type]
    one = pa.table({"item_id": ["i"], "text": ["tea pot"], "user_id": ["u"], "unit": ["i"], "events": [3]})
    model = fit_categories(kind, one, 40, seed=1)  # type: ignore[arg-type]
    assert model.assignments.num_rows == (0 if kind == "delivered" else 1)


def test_an_item_has_its_most_frequent_text() -> None:
    """Misspelt and damaged texts do not decide; of equals the alphabetically first does."""
    rows = pa.table(
        {
            "item_id": ["i", "i", "i", "j", "j"],
            "text": ["wet damaged", "TEA POT", "TEA POT.", "b", "a"],
            "events": [4, 9, 2, 1, 1],
        }
    )
    assert consensus_texts(rows) == {"i": "TEA POT", "j": "a"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SET/6 RED SPOTTY PAPER CUPS", ["spotty", "paper", "cups"]),
        ("15CM CHRISTMAS GLASS BALL 20 LIGHTS", ["christmas", "glass", "ball", "lights"]),
        ("Café Crème – mug", ["cafe", "creme", "mug"]),
        ("儿童玩具 red", ["儿童", "童玩", "玩具"]),
        ("3 x 4 in. XL", []),
    ],
)
def test_words_leave_out_colours_sizes_and_counts(text: str, expected: list[str]) -> None:
    """What is left names the kind; Chinese text gives overlapping pairs."""
    assert words(text) == expected


def test_plurals_are_one_term() -> None:
    """English plurals meet their singular; words that only resemble plurals stay."""
    pairs = {"candles": "candle", "boxes": "box", "dishes": "dish", "ponies": "pony", "glass": "glass"}
    pairs |= {"christmas": "christmas", "iris": "iris", "cactus": "cactus"}
    assert {word: term(word) for word in pairs} == pairs
    assert terms("metal signs") == ["metal", "sign", "sign"]


def test_the_window_is_the_first_landed_days(tmp_path: Path) -> None:
    """Days without a delivery do not count, and later days never move the categories."""
    context = context_of(tmp_path / "landing", source_of(tmp_path / "landing", JSON_SOURCE))
    landed = [day for day in days_before(DAY, 3 * FIT_DAYS) if day.day % 2]
    for day in landed:
        deliver(context.landing, "a.jsonl", good_line() + b"\n", day)
    window = category_window.fit_window(context.landing, landed[2])
    assert [file.folder_day for file in window] == landed[2 : 2 + FIT_DAYS]
    assert category_window.fit_window(tmp_path / "nowhere", DAY) == []


def test_clean_events_have_fitted_categories(tmp_path: Path) -> None:
    """Items of the fit window have their category; a later item has that of its text; others are uncategorised."""
    text = JSON_SOURCE + "categories: {from: text, clusters: 3}\n"
    context = context_of(tmp_path / "landing", source_of(tmp_path / "landing", text))
    later = [
        good_line(item="new", title="YELLOW COFFEE MUG"),
        good_line(item="mug-0-RED", title="damaged"),
        good_line(item="odd", title="helicopter"),
        good_line(item="bare"),
    ]
    deliver(context.landing, "a.jsonl", b"\n".join(later) + b"\n")
    model = fit_categories("text", item_texts(), 3, seed=1)
    found = {row["item_id"]: row["category"] for row in cleaned(context, [DAY], categories=model).clean.to_pylist()}
    mugs = groups(model)["mug-0-RED"]
    assert found == {"new": mugs, "mug-0-RED": mugs, "odd": UNCATEGORISED, "bare": UNCATEGORISED}


def test_groups_need_no_text(tmp_path: Path) -> None:
    """Where the log has leaf categories, they are the units that are grouped."""
    text = JSON_SOURCE.replace("title}", "title, category: leaf}") + "categories: {from: cooccurrence, clusters: 3}\n"
    context = context_of(tmp_path / "landing", source_of(tmp_path / "landing", text))
    lines = [
        good_line(user=row["user_id"], item=f"i{number}", leaf=row["unit"])
        for number, row in enumerate(interactions(3).to_pylist())
    ]
    deliver(context.landing, "a.jsonl", b"\n".join(lines) + b"\n")
    model = category_window.fit_landed_categories(
        context, DAY, seed=SEED, engine="embedded", spark_remote="local[*]", staging=tmp_path / "s"
    )
    seen = cleaned(context, [DAY]).clean.group_by(["user_id", "category"]).aggregate([([], "count_all")])
    rows = seen.rename_columns(["user_id", "unit", "events"])
    assert model.version == fit_categories("cooccurrence", rows, 3, SEED).version
    assert set(groups(model)) == {f"{group}{unit}" for group in "abc" for unit in range(8)}
    assert len(set(cleaned(context, [DAY], categories=model).clean["category"].to_pylist())) == 3
