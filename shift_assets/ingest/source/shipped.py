"""Load a source YAML: a file, or one of the sources that ship with the package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from shift_assets.ingest.source.config import Source
from shift_assets.settings.config_file import ConfigError, load_model

_SHIPPED_FOLDER = resources.files("shift_assets") / "sources"

SHIPPED = tuple(
    sorted(entry.name.removesuffix(".yaml") for entry in _SHIPPED_FOLDER.iterdir() if entry.name.endswith(".yaml"))
)
"""Names of the sources that ship with the package."""


def load_source(path_or_shipped_name: str | Path) -> Source:
    """Load the source in a YAML file, or the shipped source of that name.

    Raises:
        ConfigError: The file is missing or wrong; the message names file, line, key and remedy.
    """
    if str(path_or_shipped_name) in SHIPPED:
        with resources.as_file(_SHIPPED_FOLDER / f"{path_or_shipped_name}.yaml") as shipped:
            return load_model(shipped, Source)
    path = Path(path_or_shipped_name)
    if not path.exists() and path.suffix not in {".yaml", ".yml"}:
        raise ConfigError(f"{path}: no such file, and no shipped source of that name (shipped: {', '.join(SHIPPED)})")
    return load_model(path, Source)
