"""Attributes and content vectors of items, in the order of a vocabulary. No torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from shift_assets.arrays import Float32Array, Int64Array


@dataclass(frozen=True)
class ItemAttributes:
    """Attributes and content vectors of items, in the order of a vocabulary's items.

    Item i has the attributes `codes[offsets[i]]` to before `codes[offsets[i + 1]]`, each below `count`, and the dense
    vector `content[i]`, for example of its text; without content vectors it has no columns.
    """

    offsets: Int64Array
    codes: Int64Array
    count: int
    content: Float32[Float32Array, "item dimension"]

    @classmethod
    def of_codes(cls, offsets: Int64Array, codes: Int64Array) -> ItemAttributes:
        """Attributes without content vectors."""
        count = int(codes.max(initial=-1)) + 1
        return cls(offsets, codes, count, np.zeros((len(offsets) - 1, 0), dtype=np.float32))
