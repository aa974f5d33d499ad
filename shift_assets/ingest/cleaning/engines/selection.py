"""Select and open the cleaning engine: Spark where Java allows it, else the embedded one."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

from shift_assets.ingest.cleaning.engines.engine import Engine, EngineError, EngineName
from shift_assets.settings.root import Settings

MINIMUM_JAVA = 17
"""Spark 4 runs on Java 17 and 21."""


logger = logging.getLogger(__name__)


def java_version() -> int | None:
    """Major version of the Java that Spark would start; None where there is none."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home) / "bin")) if home else shutil.which("java")
    if java is None:
        return None
    try:
        answer = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r'version "(?:1\.)?(\d+)', answer.stderr + answer.stdout)
    return int(found.group(1)) if found else None


def resolve_engine(setting: Literal["auto", "spark", "embedded"], spark_remote: str = "local[*]") -> EngineName:
    """The engine that `setting` means here; the log says which one and why.

    A cluster (`sc://…`) needs no Java of ours. Raises EngineError where Spark is asked for and cannot start.
    """
    if setting == "embedded":
        logger.info("cleaning on the embedded engine: the settings say so")
        return "embedded"
    if spark_remote.startswith("sc://"):
        chosen: EngineName = "spark"
        why = "the settings name a Spark Connect server"
    else:
        version = java_version()
        suits = version is not None and version >= MINIMUM_JAVA
        why = f"Java {version} was found" if version else "no Java was found"
        if setting == "spark" and not suits:
            raise EngineError(
                f"engine: spark needs Java {MINIMUM_JAVA} or newer and {why}; install it, set JAVA_HOME, name a "
                "cluster in spark_remote, or set engine: embedded"
            )
        chosen = "spark" if suits else "embedded"
    logger.info("cleaning on the %s engine: %s", chosen, why)
    return chosen


def open_engine(name: EngineName, settings: Settings, workspace: Path) -> AbstractContextManager[Engine]:
    """The engine called `name`, for one `with` block; what it writes lies in the folder `workspace`."""
    if name == "spark":
        from shift_assets.ingest.cleaning.engines.spark import SparkEngine

        return SparkEngine.connect(settings.spark_remote, workspace)
    from shift_assets.ingest.cleaning.engines.embedded import EmbeddedEngine

    return EmbeddedEngine.start(workspace)
