"""Select and open the cleaning engine: Spark where a suitable Java is installed, otherwise the embedded one."""

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

MINIMUM_JAVA = 17
"""Spark 4 runs on Java 17 and 21."""


logger = logging.getLogger(__name__)


def java_version() -> int | None:
    """Return the major version of the Java that Spark would start; None without Java."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home) / "bin")) if home else shutil.which("java")
    if java is None:
        return None
    try:
        answer = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = re.search(r'version "(?:1\.)?(\d+)', answer.stderr + answer.stdout)
    return int(version.group(1)) if version else None


def resolve_engine(setting: Literal["auto", "spark", "embedded"], spark_remote: str = "local[*]") -> EngineName:
    """Return the engine that the setting resolves to on this machine, and log the reason.

    Args:
        setting: The configured engine; `auto` prefers Spark.
        spark_remote: Where Spark runs. A cluster (`sc://…`) needs no local Java.

    Raises:
        EngineError: Spark is required but no suitable Java is installed.
    """
    if setting == "embedded":
        logger.info("cleaning on the embedded engine: the settings say so")
        return "embedded"
    if spark_remote.startswith("sc://"):
        chosen: EngineName = "spark"
        why = "the settings name a Spark Connect server"
    else:
        version = java_version()
        suitable = version is not None and version >= MINIMUM_JAVA
        why = f"Java {version} was found" if version else "no Java was found"
        if setting == "spark" and not suitable:
            raise EngineError(
                f"engine: spark needs Java {MINIMUM_JAVA} or newer and {why}; install it, set JAVA_HOME, name a "
                "cluster in spark.remote, or set engine: embedded"
            )
        chosen = "spark" if suitable else "embedded"
    logger.info("cleaning on the %s engine: %s", chosen, why)
    return chosen


def open_engine(name: EngineName, spark_remote: str, workspace: Path) -> AbstractContextManager[Engine]:
    """Open an engine for one `with` block; all its files are written to the folder `workspace`.

    Raises:
        EngineError: Spark at `spark_remote` cannot be started or reached.
    """
    if name == "spark":
        from shift_assets.ingest.cleaning.engines.spark import SparkEngine

        return SparkEngine.connect(spark_remote, workspace)
    from shift_assets.ingest.cleaning.engines.embedded import EmbeddedEngine

    return EmbeddedEngine.start(workspace)
