"""stub"""

from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class CategoryModel:
    kind: str = "delivered"

    @property
    def known(self):
        return pa.table({"unit": pa.array([], pa.string()), "category": pa.array([], pa.string())})

    def predict(self, texts):
        return []
