"""A stored model is complete, verified, and says what it is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from shift_assets.contracts.models import MODEL_REGISTRY
from shift_assets.models.data.sequences import pack
from shift_assets.models.inference.scoring import score
from shift_assets.models.registry.store import (
    ALL_SEGMENTS,
    CARD,
    README,
    WEIGHTS,
    ModelError,
    load,
    newest_pooled_model,
    remove_other_models_of_day,
    save,
)
from shift_assets.models.training.train import TrainedModel, train
from shift_assets.settings.root import ModelSettings
from shift_assets_tests.event_logs import day, random_log

QUICK = ModelSettings(device="cpu", dimensions=16, maximum_steps=4, eval_every_steps=2, batch_size=16)


@pytest.fixture(scope="module")
def trained() -> TrainedModel:
    return train(random_log(1), day(20), QUICK, seed=5)


def test_what_is_loaded_scores_as_what_was_saved(trained: TrainedModel, tmp_path: Path) -> None:
    """Weights, vocabulary and shape survive the way to disk and back."""
    assert trained.model is not None
    row = save(trained.model, trained.card, tmp_path, "all").to_pylist()[0]
    loaded = load(tmp_path / row["path"], row["digest"])
    histories = pack(random_log(1), trained.model.vocabulary)
    before, after = score(trained.model, histories, 5), score(loaded, histories, 5)
    assert (before[0] == after[0]).all()
    assert (before[1] == after[1]).all()
    assert loaded.version == row["version"] == row["digest"][:16]


def test_the_registry_row_keeps_the_contract(trained: TrainedModel, tmp_path: Path) -> None:
    """Window, first day of service and metrics are in the registry, and in a file for people next to the weights."""
    assert trained.model is not None
    rows = save(trained.model, trained.card, tmp_path, "all")
    assert MODEL_REGISTRY.conform(rows).equals(rows)
    row = rows.to_pylist()[0]
    assert (row["window_end"], row["served_from"]) == (day(19), day(20))
    folder = tmp_path / row["path"]
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    assert card["seed"] == 5
    assert card["settings"]["dimensions"] == 16
    assert card["metrics"] == {metric["name"]: metric["value"] for metric in row["metrics"]}
    assert "Limits" in (folder / README).read_text(encoding="utf-8")


@pytest.mark.parametrize("damage", ["flip", "cut", "missing", "foreign"])
def test_a_damaged_file_is_refused(trained: TrainedModel, tmp_path: Path, damage: str) -> None:
    """Weights that are not the registered bytes are never served, and the message says what to do."""
    assert trained.model is not None
    row = save(trained.model, trained.card, tmp_path, "all").to_pylist()[0]
    path = tmp_path / row["path"] / WEIGHTS
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    match damage:
        case "flip":
            path.write_bytes(content)
        case "cut":
            path.write_bytes(content[:-8])
        case "missing":
            path.unlink()
        case "foreign":
            path.write_bytes(b"not a model")
    with pytest.raises(ModelError, match="materialise interest_model again"):
        load(tmp_path / row["path"], row["digest"])
    with pytest.raises(ModelError):
        load(tmp_path / row["path"])


def test_saving_again_changes_nothing_and_repairs_a_damaged_folder(trained: TrainedModel, tmp_path: Path) -> None:
    """The same model has the same folder, and a damaged one is replaced as a whole."""
    assert trained.model is not None
    first = save(trained.model, trained.card, tmp_path, "all")
    path = tmp_path / first["path"][0].as_py() / WEIGHTS
    inode = path.stat().st_ino
    assert save(trained.model, trained.card, tmp_path, "all").equals(first)
    assert path.stat().st_ino == inode
    path.write_bytes(b"")
    save(trained.model, trained.card, tmp_path, "all")
    load(path.parent)
    assert [entry.name for entry in path.parent.parent.iterdir()] == [path.parent.name]


def test_the_newest_pooled_model_of_the_day_or_before_is_the_base(trained: TrainedModel, tmp_path: Path) -> None:
    """A later day's is not known yet, of one day only the last one saved counts, and without any there is none."""
    assert trained.model is not None
    assert newest_pooled_model(tmp_path, day(20)) is None
    folders = []
    for number, seed in ((10, 1), (20, 1), (20, 2), (25, 1)):
        card = replace(trained.card, day=day(number))
        other = replace(trained.model, vocabulary=replace(trained.model.vocabulary, categories=(str(seed),)))
        folders.append(tmp_path / save(other, card, tmp_path, ALL_SEGMENTS)["path"][0].as_py())
        remove_other_models_of_day(folders[-1])
    assert newest_pooled_model(tmp_path, day(9)) is None
    assert newest_pooled_model(tmp_path, day(19)) == folders[0]
    assert newest_pooled_model(tmp_path, day(24)) == folders[2]
    assert not folders[1].exists()
