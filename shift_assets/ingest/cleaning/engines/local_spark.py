"""Configure, locate and stop the local Spark Connect server, which all runs of an installation share."""

from __future__ import annotations

import getpass
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from shift_assets.errors import UserError

DRIVER_MEMORY = "1g"
"""Heap of the local server. Rows pass through it in batches, so it does not grow with the data."""
SERVER_CONFIGURATION = {
    "spark.driver.memory": DRIVER_MEMORY,
    "spark.driver.extraJavaOptions": "-XX:+UseSerialGC",  # a small heap needs no collector with threads of its own
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.python.worker.reuse": "false",  # a reused worker would run the parser it imported before an upgrade
    "spark.sql.warehouse.dir": "{folder}/warehouse",
    "spark.local.dir": "{folder}/scratch",
}


def prepare_local_server() -> None:
    """Set the environment variables with which PySpark starts, or finds, this installation's server.

    PySpark serialises concurrent starts with a file lock.

    Raises:
        UserError: Another user owns the server's folder.
    """
    folder = server_folder()
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise UserError(f"{folder} belongs to another user; remove it, or set TMPDIR to a folder of yours")
    folder.chmod(0o700)
    lines = (f"{key} {value.format(folder=folder)}\n" for key, value in SERVER_CONFIGURATION.items())
    (folder / "spark-defaults.conf").write_text("".join(lines), encoding="utf-8")
    os.environ["SPARK_LOCAL_CONNECT_REUSE"] = "1"
    os.environ["SPARK_LOCAL_CONNECT_DISCOVERY"] = str(folder / "server.json")
    os.environ["SPARK_CONF_DIR"] = str(folder)
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    os.environ["PYSPARK_PYTHON"] = sys.executable


def server_folder() -> Path:
    """Return the folder of the server's address, token and log: one per user and Python environment.

    Spark's start script cannot log into a path with a space, so such a temporary folder is not used.
    """
    temporary = tempfile.gettempdir()
    base = Path("/tmp") if any(character.isspace() for character in temporary) else Path(temporary)  # noqa: S108
    environment = hashlib.sha256(sys.prefix.encode()).hexdigest()[:12]
    return base / f"shift-assets-spark-{getpass.getuser()}-{environment}"


def stop_local_server() -> bool:
    """Stop this installation's server; return False if none was running."""
    if not (server_folder() / "server.json").exists():
        return False
    prepare_local_server()
    answer = subprocess.run(
        [sys.executable, "-m", "pyspark.sql.connect.local_server", "--stop"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return answer.stdout.startswith("Stopped")
