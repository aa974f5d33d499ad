"""A Dagster webserver on an installation, and questions to it as its pages ask them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from shift_assets_tests.end_to_end.shops import Shop

SECONDS = 60
"""How long an answer may take on a busy machine; a quiet one gives it in two."""


@dataclass(frozen=True)
class Webserver:
    """A running Dagster UI on an installation."""

    address: str
    segment: str

    def graphql(self, query: str) -> dict[str, Any]:
        body = json.dumps({"query": query}).encode()
        request = urllib.request.Request(  # noqa: S310 - our own address
            f"{self.address}/graphql", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
            found: dict[str, Any] = json.load(answer)
        assert "errors" not in found, found
        return dict(found["data"])


@contextmanager
def serve(shop: Shop, log: Path) -> Iterator[Webserver]:
    """`dagster-webserver` on the installation, once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [
        str(Path(sys.executable).with_name("dagster-webserver")),
        "-w",
        str(files("shift_assets") / "workspace.yaml"),
    ]
    environment = {**os.environ, "SHIFT_HOME": str(shop.home), "DAGSTER_HOME": str(shop.home / "dagster")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "-h", "127.0.0.1", "-p", str(port)],
            env=environment,
            cwd=shop.home,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_for(address, process, log)
        yield Webserver(address, shop.segments[0])
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 2 * SECONDS
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"{address}/server_info", timeout=5):  # noqa: S310 - our own address
                return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.5)
    pytest.fail(f"no answer from {address}: {log.read_text()}")
