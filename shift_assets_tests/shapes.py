"""Checks of the annotated shapes (jaxtyping, by beartype) in every module of the package that names any."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

PACKAGE = Path(__file__).parents[1] / "shift_assets"
SHAPE = re.compile(r"\[\w*(Array|Tensor|ndarray), ", re.IGNORECASE)
with_beartype: Callable[[Any], Any] = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float here too


COMPILED = {"shift_assets.shift.detector.window_ratios"}
"""Modules with shapes that stay unchecked: Numba pickles what its functions call there, and a check has no pickle."""


def modules_with_shapes() -> list[str]:
    """Names of the modules that annotate shapes and are checked."""
    named = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for path in sorted(PACKAGE.rglob("*.py"))
        if "from jaxtyping import" in path.read_text(encoding="utf-8")
    ]
    return [name for name in named if name not in COMPILED]


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check the arguments and the result where a shape is among them; other types are mypy's."""
    shapes = [note for note in function.__annotations__.values() if SHAPE.search(str(note))]
    checked: Callable[..., Any] = with_beartype(function) if shapes else function
    return checked


def install() -> None:
    """Check shapes in modules imported from now on; in this process, not in those that tests start."""
    install_import_hook(modules_with_shapes(), "shift_assets_tests.shapes.check")
