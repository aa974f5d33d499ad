"""Attributes and content vectors of items, in the order of a vocabulary. No torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shift_assets.arrays import Int64Array


@dataclass(frozen=True)
class ItemAttributes:
    """What is known of items beside their name, in the order of a vocabulary's items.

    Item i has the attributes `codes[offsets[i]]` to `codes[offsets[i + 1]]`, each below `count`, and the dense vector
    `content[i]` (of a text, say; of no columns where there is none).
    """

    offsets: Int64Array
    codes: Int64Array
    count: int
    content: npt.NDArray[np.float32]

    @classmethod
    def of_codes(cls, offsets: Int64Array, codes: Int64Array) -> ItemAttributes:
        """Attributes alone, without dense vectors."""
        count = int(codes.max(initial=-1)) + 1
        return cls(offsets, codes, count, np.zeros((len(offsets) - 1, 0), dtype=np.float32))
