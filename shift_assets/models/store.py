"""Models on disk: a folder with `model.safetensors`, `card.json` and `README.md`, published in one rename.

The weights file carries its vocabulary and shape in its header, so its SHA-256 covers all that scoring uses, and
the version is the beginning of that digest.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import safetensors
import safetensors.torch
from torch import Tensor

from shift_assets import __version__, contracts
from shift_assets.models.encoder import CausalEncoder, Shape
from shift_assets.models.heads import Calibration, Foretelling, Heads
from shift_assets.models.scoring import InterestModel
from shift_assets.models.sequences import Vocabulary

MODEL_NAME = "interest_model"
POOLED = "_pooled"
"""Stands where a segment would, for the model of all of them; no segment's key can begin so."""
WEIGHTS, CARD, README = "model.safetensors", "card.json", "README.md"
_HEADER = "shift_assets"
_HEADS = "heads."
"""One header key: the format keeps no order among several, and the same model has to be the same bytes."""


class ModelError(ValueError):
    """A stored model cannot be used; the message names the folder and what to do."""


@lru_cache(maxsize=1)
def code_revision() -> str:
    """Git revision that last changed this package, `+` where files differ; its version where it is no checkout."""
    package = Path(contracts.__file__).parent
    git = shutil.which("git")
    if git is None:
        return __version__

    def told(*arguments: str) -> str:
        found = subprocess.run(  # noqa: S603 - nobody else's words are run
            [git, *arguments, "--", "."], cwd=package, capture_output=True, text=True, timeout=30, check=False
        )
        return found.stdout.strip() if found.returncode == 0 else ""

    revision = told("log", "-1", "--format=%h", "--abbrev=12")
    return revision + ("+" if told("status", "--porcelain") else "") if revision else __version__


@dataclass(frozen=True)
class ModelCard:
    """What a model is made of and how good it was on the last days of its window."""

    day: date
    outcome: str
    window_start: date
    window_end: date
    events: int
    users: int
    items: int
    steps: int
    seed: int
    warm_start: str | None
    settings: dict[str, Any]
    metrics: dict[str, float] = field(default_factory=dict)
    code_version: str = __version__
    promoted: bool = True
    judged_against: str | None = None
    revision: str = field(default_factory=code_revision)

    def _foretold(self) -> str:
        tasks = (self.settings.get("tasks") or {}).get("weights", {})
        return "; also foretells: " + ", ".join(tasks) if tasks else ""

    def _served(self) -> str:
        if not self.promoted:
            return f"no, {self.judged_against} is better on the validation days"
        return (
            "yes" if self.judged_against is None else f"yes, better than {self.judged_against} on the validation days"
        )

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=2, sort_keys=True, default=str) + "\n"

    def as_markdown(self) -> str:
        """The card for a person."""
        metrics = "\n".join(f"| {name} | {value:.4f} |" for name, value in sorted(self.metrics.items()))
        return (
            f"# Next-item model of {self.day}\n\n"
            f"Ranks a segment's items by what a user takes next{self._foretold()}. {self.outcome}.\n\n"
            f"- Data: {self.events} events of {self.users} users on {self.items} items, "
            f"{self.window_start} to {self.window_end}\n"
            f"- Training: {self.steps} steps, seed {self.seed}, started from {self.warm_start or 'random weights'}, "
            f"code {self.code_version}, revision {self.revision}\n"
            f"- Served: {self._served()}\n"
            "- Use: daily recommendation lists and shift signals of the segment it was trained on. "
            "Not for decisions about persons.\n"
            "- Limits: an item unknown to the window has no score; the weights never saw the validation days.\n\n"
            "| metric on the validation days | value |\n|---|---|\n" + metrics + "\n"
        )


def save(model: InterestModel, card: ModelCard, models: Path, segment: str) -> pa.Table:
    """Write the model below the folder `models`; return its row of `model_registry`.

    A folder is complete or absent: it is built beside its place and renamed. The same model saved again for the
    same day leaves the folder as it is.
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
    return pa.Table.from_pylist([row], schema=contracts.MODEL_REGISTRY.schema)


def drop_others_of_day(folder: Path) -> None:
    """Remove the other models of the same day beside `folder`: of a pooled model no registry tells which one counts."""
    for other in folder.parent.glob(f"{folder.name[:10]}-*"):
        if other != folder:
            shutil.rmtree(other)


def newest_base(models: Path, day: date) -> Path | None:
    """The folder of the newest model of all segments that was trained for `day` or an earlier one."""
    folders = (folder for folder in (models / MODEL_NAME / POOLED).glob("????-??-??-*") if folder.is_dir())
    return max((folder for folder in folders if folder.name[:10] <= day.isoformat()), default=None)


def pooled_windows(models: Path) -> list[tuple[str, date, date]]:
    """Folder, relative to `models`, and first and last day of the training data of every model of all segments."""
    found = []
    for card in sorted((models / MODEL_NAME / POOLED).glob(f"*/{CARD}")):
        told = json.loads(card.read_text(encoding="utf-8"))
        first, last = (date.fromisoformat(told[name]) for name in ("window_start", "window_end"))
        found.append((card.parent.relative_to(models).as_posix(), first, last))
    return found


def load(folder: Path, digest: str | None = None) -> InterestModel:
    """The model in `folder`, on the CPU.

    `digest` is the registry's SHA-256 of the weights. Without one, the version in the folder's name is checked.
    Raises ModelError where the file is missing, was changed, or is no model of ours.
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
        raise ModelError(f"{path}: no weights file of this program ({error})") from error
    network = CausalEncoder(Shape(**header["shape"]))
    network.load_state_dict({name: tensor for name, tensor in tensors.items() if not name.startswith(_HEADS)})
    network.eval()
    vocabulary = Vocabulary(
        tuple(header["items"]), tuple(header["categories"]), np.array(header["item_categories"], dtype=np.int64)
    )
    return InterestModel(network, vocabulary, found[:16], _foretelling(header, network.shape, tensors))


def _foretelling(header: dict[str, Any], shape: Shape, tensors: dict[str, Tensor]) -> Foretelling | None:
    """The heads in a weights file; None where it has none."""
    told = header.get("foretelling")
    if told is None:
        return None
    heads = Heads(shape.dimensions, shape.categories)
    heads.load_state_dict(
        {name.removeprefix(_HEADS): tensor for name, tensor in tensors.items() if name.startswith(_HEADS)}
    )
    calibrations = {task: Calibration(*line) for task, line in told["calibrations"].items()}
    return Foretelling(heads.eval(), calibrations, told["horizon_days"], told["churn_weeks"])


def _serialise(model: InterestModel) -> bytes:
    vocabulary = model.vocabulary
    header: dict[str, Any] = {
        "shape": model.network.shape._asdict(),
        "items": vocabulary.items,
        "categories": vocabulary.categories,
        "item_categories": vocabulary.item_categories.tolist(),
    }
    state: dict[str, Tensor] = dict(model.network.state_dict())
    told = model.foretelling
    if told is not None:
        header["foretelling"] = {
            "calibrations": told.calibrations,
            "horizon_days": told.horizon_days,
            "churn_weeks": told.churn_weeks,
        }
        state |= {f"{_HEADS}{name}": value for name, value in told.heads.state_dict().items()}
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    content: bytes = safetensors.torch.save(tensors, metadata={_HEADER: json.dumps(header, separators=(",", ":"))})
    return content


def publish_folder(files: dict[str, bytes], folder: Path) -> None:
    """Write the files into `folder` in one rename; where it holds them already, it is left as it is."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=".building-", dir=folder.parent))
    try:
        for name, content in files.items():
            with (building / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        building.chmod(0o755)
        if folder.exists() and not _holds(folder, files):
            shutil.rmtree(folder)
        if not folder.exists():
            building.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _holds(folder: Path, files: dict[str, bytes]) -> bool:
    return all((folder / name).is_file() and (folder / name).read_bytes() == content for name, content in files.items())
