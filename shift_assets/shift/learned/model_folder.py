"""Publication of a model's files as one folder, complete or absent."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path


def publish_folder(files: dict[str, bytes], folder: Path) -> None:
    """Write the files into `folder` with one rename; a folder that holds them already is left as it is."""
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
