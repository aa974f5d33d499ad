"""Models on disk: a folder with `model.safetensors`, `card.json` and `README.md`, published atomically.

The header of the weights file holds vocabulary and shape, so its SHA-256 covers all that scoring uses; the version is
the beginning of that digest.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import safetensors
import safetensors.torch
from torch import Tensor

from shift_assets.contracts.models import MODEL_REGISTRY
from shift_assets.errors import PermanentError
from shift_assets.models.data.sequences import Vocabulary
from shift_assets.models.network.blocks import Shape
from shift_assets.models.network.calibration import Calibration
from shift_assets.models.network.encoder import CausalEncoder
from shift_assets.models.network.heads import Heads, TrainedHeads
from shift_assets.models.network.interest_model import InterestModel
from shift_assets.models.registry.model_card import ModelCard
from shift_assets.shift.learned.model_folder import publish_folder

MODEL_NAME = "interest_model"
ALL_SEGMENTS = "_pooled"
"""Folder of the models of all segments, in place of a segment; no segment's key begins with an underscore."""
WEIGHTS, CARD, README = "model.safetensors", "card.json", "README.md"
_HEADER = "shift_assets"
"""The only header key: the format keeps no order among several, and the same model has to give the same bytes."""
_HEADS = "heads."


class ModelError(PermanentError):
    """A stored model cannot be used; the message names the file and what to do."""


def save(model: InterestModel, card: ModelCard, models: Path, segment: str) -> pa.Table:
    """Write a model below the folder `models`, and return its row of `model_registry`.

    The folder is built under a temporary name and renamed, so it is complete or absent. Saving the same model for the
    same day again changes nothing.
    """
    weights = _serialise(model)
    digest = hashlib.sha256(weights).hexdigest()
    version = digest[:16]
    relative = Path(MODEL_NAME) / segment / f"{card.day.isoformat()}-{version}"
    publish_folder(
        {WEIGHTS: weights, CARD: card.as_json().encode(), README: card.as_markdown().encode()}, models / relative
    )
    row = {
        "day": card.day,
        "segment": segment,
        "model": MODEL_NAME,
        "version": version,
        "digest": digest,
        "path": relative.as_posix(),
        "window_start": card.window_start,
        "window_end": card.window_end,
        "served_from": card.day,
        "metrics": [{"name": name, "value": value} for name, value in sorted(card.metrics.items())],
        "promoted": card.promoted,
        "judged_against": card.judged_against,
        "started_from": card.warm_start,
        "revision": card.revision,
        "parameters": sum(value.numel() for value in model.network.state_dict().values()),
        "size_bytes": len(weights),
    }
    return pa.Table.from_pylist([row], schema=MODEL_REGISTRY.schema)


def remove_other_models_of_day(folder: Path) -> None:
    """Remove the other models of the day of `folder`: no registry says which pooled model of a day is current."""
    for other in folder.parent.glob(f"{folder.name[:10]}-*"):
        if other != folder:
            shutil.rmtree(other)


def newest_pooled_model(models: Path, day: date) -> Path | None:
    """Folder of the newest model of all segments that was trained for `day` or an earlier day."""
    folders = (folder for folder in (models / MODEL_NAME / ALL_SEGMENTS).glob("????-??-??-*") if folder.is_dir())
    return max((folder for folder in folders if folder.name[:10] <= day.isoformat()), default=None)


def pooled_windows(models: Path) -> list[tuple[str, date, date]]:
    """Folder, relative to `models`, and first and last day of the training window of every model of all segments."""
    found = []
    for card in sorted((models / MODEL_NAME / ALL_SEGMENTS).glob(f"*/{CARD}")):
        contents = json.loads(card.read_text(encoding="utf-8"))
        first, last = (date.fromisoformat(contents[name]) for name in ("window_start", "window_end"))
        found.append((card.parent.relative_to(models).as_posix(), first, last))
    return found


def load(folder: Path, digest: str | None = None) -> InterestModel:
    """Load the model in `folder`, on the CPU.

    Args:
        folder: The model's folder.
        digest: SHA-256 of the weights in the registry; without it the version in the folder's name is checked.

    Raises:
        ModelError: The file is missing, was changed, or is not a weights file of this program.
    """
    path = folder / WEIGHTS
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); materialise {MODEL_NAME} again") from error
    found = hashlib.sha256(content).hexdigest()
    expected = digest or folder.name.rpartition("-")[2]
    if not found.startswith(expected):
        raise ModelError(
            f"{path}: SHA-256 is {found[:16]}…, expected {expected[:16]}…: the file was changed or damaged; "
            f"delete the folder and materialise {MODEL_NAME} again"
        )
    try:
        tensors = safetensors.torch.load(content)
        header_end = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(json.loads(content[8:header_end])["__metadata__"][_HEADER])
    except (safetensors.SafetensorError, KeyError) as error:
        raise ModelError(
            f"{path}: not a weights file of this program ({error}); delete the folder and "
            f"materialise {MODEL_NAME} again"
        ) from error
    network = CausalEncoder(Shape(**header["shape"]))
    network.load_state_dict({name: tensor for name, tensor in tensors.items() if not name.startswith(_HEADS)})
    network.eval()
    vocabulary = Vocabulary(
        tuple(header["items"]), tuple(header["categories"]), np.array(header["item_categories"], dtype=np.int64)
    )
    return InterestModel(network, vocabulary, found[:16], _load_heads(header, network.shape, tensors))


def _load_heads(header: dict[str, Any], shape: Shape, tensors: dict[str, Tensor]) -> TrainedHeads | None:
    """The heads of a weights file; None where it has none."""
    contents = header.get("foretelling")
    if contents is None:
        return None
    heads = Heads(shape.dimensions, shape.categories)
    heads.load_state_dict(
        {name.removeprefix(_HEADS): tensor for name, tensor in tensors.items() if name.startswith(_HEADS)}
    )
    calibrations = {task: Calibration(*line) for task, line in contents["calibrations"].items()}
    return TrainedHeads(heads.eval(), calibrations, contents["horizon_days"], contents["churn_weeks"])


def _serialise(model: InterestModel) -> bytes:
    vocabulary = model.vocabulary
    header: dict[str, Any] = {
        "shape": model.network.shape._asdict(),
        "items": vocabulary.items,
        "categories": vocabulary.categories,
        "item_categories": vocabulary.item_categories.tolist(),
    }
    state: dict[str, Tensor] = dict(model.network.state_dict())
    contents = model.trained_heads
    if contents is not None:
        header["foretelling"] = {
            "calibrations": contents.calibrations,
            "horizon_days": contents.horizon_days,
            "churn_weeks": contents.churn_weeks,
        }
        state |= {f"{_HEADS}{name}": value for name, value in contents.heads.state_dict().items()}
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    content: bytes = safetensors.torch.save(tensors, metadata={_HEADER: json.dumps(header, separators=(",", ":"))})
    return content
