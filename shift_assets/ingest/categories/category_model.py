"""Interest categories for logs that have none, or thousands: fitted once on the first days, then frozen.

A category that changed would look like an interest that changed, so the model is fitted on FIT_DAYS landed days and
stored; items that appear later are assigned to the existing categories.
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
from jaxtyping import Float32, Int32, Int64
from numpy.typing import NDArray
from scipy import sparse

from shift_assets.arrays import Float32Array, Int32Array, Int64Array
from shift_assets.contracts.columns import UNCATEGORISED
from shift_assets.errors import PermanentError
from shift_assets.ingest.categories.item_terms import terms
from shift_assets.ingest.categories.text_vectorizer import TextVectorizer

MINIMUM_MATCH = 0.02
"""Length of a text's TF-IDF in the fitted dimensions, 0 to 1, below which the nearest category is arbitrary:
`camouflage ear muffs` among hearts. One item in 23 of a gift shop is below it, with 4 % of the events."""

CategoryKind = Literal["text", "cooccurrence", "delivered"]

_JSON, _TENSORS = "categories.json", "categories.safetensors"


class CategoryModelError(PermanentError):
    """The content of a stored model does not match its version."""


@dataclass(frozen=True, eq=False)
class CategoryModel:
    """Assigns items, raw leaf categories and texts to categories.

    Attributes:
        kind: What the categories were made from.
        names: The name of each category.
        units: What was assigned: item ids for `text`; for `cooccurrence` raw leaf categories, or item ids where the
            log has none.
        member: The category (index into `names`) of each unit.
        vocabulary: The terms of the TF-IDF weights; like all below only for `text`.
        idf: Inverse document frequency of each term.
        components: Projection of the weights.
        centres: Centre of each category, of unit length.
        landed_days: Landed days that it was fitted on; None where that is not known, or does not matter.
    """

    kind: CategoryKind
    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    member: Int32[Int32Array, " unit"] = field(default_factory=lambda: np.zeros(0, np.int32))
    vocabulary: tuple[str, ...] = ()
    idf: Float32[Float32Array, " term"] = field(default_factory=lambda: np.zeros(0, np.float32))
    components: Float32[Float32Array, "dimension term"] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    centres: Float32[Float32Array, "category dimension"] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    landed_days: int | None = None

    @cached_property
    def version(self) -> str:
        """Digest of the content but `landed_days`, 16 hexadecimal characters."""
        digest = hashlib.sha256(self._metadata())
        for name, tensor in sorted(self._tensors().items()):
            digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
            digest.update(np.ascontiguousarray(tensor).tobytes())
        return digest.hexdigest()[:16]

    @cached_property
    def assignments(self) -> pa.Table:
        """Table of unit and category: one row per unit of the fit window."""
        names = pa.array(self.names, pa.string())
        return pa.table({"unit": pa.array(self.units, pa.string()), "category": names.take(pa.array(self.member))})

    def predict(self, texts: Sequence[str]) -> list[str]:
        """Return the category of each text; `uncategorised` if its terms are unknown or the kind is not `text`."""
        if self.kind != "text" or not self.names:
            return [UNCATEGORISED] * len(texts)
        nearest = self.nearest_centres(self._vectorizer.tfidf([terms(text) for text in texts]))
        return [self.names[category] if category >= 0 else UNCATEGORISED for category in nearest.tolist()]

    def save(self, folder: Path) -> None:
        """Write the model into `folder`, which is created if missing."""
        from safetensors.numpy import save_file

        folder.mkdir(parents=True, exist_ok=True)
        save_file(self._tensors(), folder / _TENSORS)
        head = {"version": self.version, "landed_days": self.landed_days}
        (folder / _JSON).write_bytes(json.dumps(head).encode() + b"\n" + self._metadata())

    @classmethod
    def load(cls, folder: Path) -> CategoryModel:
        """Return the model stored in `folder`.

        Raises:
            CategoryModelError: The files were changed after they were saved.
        """
        from safetensors.numpy import load_file

        first_line, _, described = (folder / _JSON).read_bytes().partition(b"\n")
        head, metadata = json.loads(first_line), json.loads(described)
        model = cls(
            metadata["kind"],
            names=tuple(metadata["names"]),
            units=tuple(metadata["units"]),
            vocabulary=tuple(metadata["vocabulary"]),
            landed_days=head.get("landed_days"),
            **load_file(folder / _TENSORS),
        )
        if model.version != head["version"]:
            raise CategoryModelError(f"{folder}: the category model was changed after it was saved; restore the folder")
        return model

    @cached_property
    def _vectorizer(self) -> TextVectorizer:
        return TextVectorizer(self.vocabulary, self.idf)

    def nearest_centres(self, tfidf: sparse.csr_matrix) -> Int64[Int64Array, " text"]:
        """Return the nearest category of each row of weights [text, term]; -1 if its projection is too short."""
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
