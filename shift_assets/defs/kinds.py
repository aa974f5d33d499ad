"""Kind badges of assets, derived from what their computation imports: nobody types them."""

from __future__ import annotations

from collections.abc import Callable

from shift_assets.defs.code_version import libraries

_KINDS = {
    "deltalake": "deltalake",
    "duckdb": "duckdb",
    "implicit": "implicit",
    "mlxtend": "mlxtend",
    "numba": "numba",
    "pyspark": "spark",
    "requests": "webhook",
    "scipy": "scipy",
    "sklearn": "scikitlearn",
    "torch": "torch",
}
"""Badge of each library; others, such as pydantic, say nothing about how an asset is computed."""
_UNDER_ALL = ("numpy", "pyarrow")
"""Libraries that the others rest on: shown where no other one computes."""
_STORAGE = {"deltalake"}


def kinds_of(compute: Callable[..., object]) -> set[str]:
    """The badges of the asset that the function `compute` computes."""
    used = libraries(compute)
    kinds = {kind for library, kind in _KINDS.items() if library in used}
    if kinds - _STORAGE:
        return kinds
    return kinds | {next(library for library in _UNDER_ALL if library in used)}
