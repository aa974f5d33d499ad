"""Interest categories for logs that deliver none, or thousands: learned once from the first days, then frozen.

A category that moved would look like an interest that moved, so the model is fitted on FIT_DAYS landed days and
kept; what appears later is assigned to the categories there are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from shift_assets.arrays import Float32Array
from shift_assets.ingest.categories.tfidf import tfidf_matrix

UNCATEGORISED = "uncategorised"


MINIMUM_MATCH = 0.02
"""Length of a text's TF-IDF in the fitted dimensions, 0 to 1, below which the nearest category is chance: `camouflage
ear muffs` among hearts. One item in 23 of a gift shop lies below, with 4 % of its events."""


CategoryKind = Literal["text", "cooccurrence", "delivered"]


_JSON, _TENSORS = "categories.json", "categories.safetensors"


class CategoryModelError(ValueError):
    """A stored model is not the one its version names."""


@dataclass(frozen=True, eq=False)
class CategoryModel:
    """Which category an item, a delivered leaf category or a text belongs to.

    `names[category]`; `member[unit]` is the category's index of each of `units` (item ids for `text`; delivered
    leaf categories, or item ids where none is delivered, for `cooccurrence`). Only for `text`: `vocabulary[term]`,
    `idf[term]`, `components[dimension, term]`, `centres[category, dimension]` of unit length.
    """

    kind: CategoryKind
    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    member: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    vocabulary: tuple[str, ...] = ()
    idf: Float32Array = field(default_factory=lambda: np.zeros(0, np.float32))
    components: Float32Array = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    centres: Float32Array = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    @cached_property
    def version(self) -> str:
        """16 hexadecimal characters, from the content."""
        digest = hashlib.sha256(self._metadata())
        for name, tensor in sorted(self._tensors().items()):
            digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
            digest.update(np.ascontiguousarray(tensor).tobytes())
        return digest.hexdigest()[:16]

    @cached_property
    def assignments(self) -> pa.Table:
        """unit, category: one row per unit of the fit window."""
        names = pa.array(self.names, pa.string())
        return pa.table({"unit": pa.array(self.units, pa.string()), "category": names.take(pa.array(self.member))})

    def predict(self, texts: Sequence[str]) -> list[str]:
        """The category of each text; `uncategorised` where its terms tell nothing, or the kind is not `text`."""
        if self.kind != "text" or not self.names:
            return [UNCATEGORISED] * len(texts)
        nearest = self.nearest_centres(tfidf_matrix(texts, self._index, self.idf))
        return [self.names[category] if category >= 0 else UNCATEGORISED for category in nearest.tolist()]

    def save(self, folder: Path) -> None:
        """Write the model into `folder`, which is made."""
        from safetensors.numpy import save_file

        folder.mkdir(parents=True, exist_ok=True)
        save_file(self._tensors(), folder / _TENSORS)
        (folder / _JSON).write_bytes(json.dumps({"version": self.version}).encode() + b"\n" + self._metadata())

    @classmethod
    def load(cls, folder: Path) -> CategoryModel:
        """The model in `folder`; raises CategoryModelError where it is not the one that was saved."""
        from safetensors.numpy import load_file

        head, _, described = (folder / _JSON).read_bytes().partition(b"\n")
        metadata = json.loads(described)
        model = cls(
            metadata["kind"],
            names=tuple(metadata["names"]),
            units=tuple(metadata["units"]),
            vocabulary=tuple(metadata["vocabulary"]),
            **load_file(folder / _TENSORS),
        )
        if model.version != json.loads(head)["version"]:
            raise CategoryModelError(f"{folder}: the category model was changed after it was saved; restore the folder")
        return model

    @cached_property
    def _index(self) -> dict[str, int]:
        return {term: position for position, term in enumerate(self.vocabulary)}

    def nearest_centres(self, tfidf: sparse.csr_matrix) -> NDArray[np.int64]:
        """Index of the nearest centre of each row; -1 for a row that no dimension tells anything about."""
        points = np.asarray(tfidf @ self.components.T, dtype=np.float64)
        nearest = np.argmax(points @ self.centres.T.astype(np.float64), axis=1)
        return np.where(np.linalg.norm(points, axis=1) >= MINIMUM_MATCH, nearest, -1)

    def _tensors(self) -> dict[str, NDArray]:
        return {
            "member": self.member,
            "idf": self.idf,
            "components": np.ascontiguousarray(self.components),
            "centres": np.ascontiguousarray(self.centres),
        }

    def _metadata(self) -> bytes:
        metadata = {"kind": self.kind, "names": self.names, "units": self.units, "vocabulary": self.vocabulary}
        return json.dumps(metadata, ensure_ascii=False).encode()
