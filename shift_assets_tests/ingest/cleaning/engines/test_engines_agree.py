from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shift_assets.contracts.cleaning import CLEAN_EVENTS
from shift_assets.ingest.categories.fit import fit_categories
from shift_assets.ingest.cleaning import chunk_plan
from shift_assets.ingest.cleaning.category_window import fit_landed_categories
from shift_assets.ingest.cleaning.engines.engine import EngineError
from shift_assets.ingest.cleaning.engines.selection import java_version, resolve_engine
from shift_assets_tests.ingest.cleaned_landing import cleaned
from shift_assets_tests.ingest.dirty_data import (
    CSV_SOURCE,
    DAY,
    JSON_SOURCE,
    KEY,
    context_of,
    csv_files,
    days_before,
    deliver,
    dirty_landing,
    json_line_files,
    source_of,
)
from shift_assets_tests.spark import needs_java

DAYS = days_before(DAY, 5)


@pytest.mark.spark
@needs_java
def test_both_engines_clean_a_dirty_landing_identically(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same rows, same order, same accounts, whole or in chunks, with bursts and with fitted categories."""
    text = JSON_SOURCE + "categories: {from: text, clusters: 3}\n"
    context = context_of(tmp_path / "landing", source_of(tmp_path / "landing", text))
    dirty_landing(context.landing, 11, DAYS)
    models = [
        fit_landed_categories(
            context, DAYS[2], seed=0, engine=engine, spark_remote="local[*]", staging=tmp_path / "staging"
        )
        for engine in ("embedded", "spark")
    ]
    assert models[0].version == models[1].version
    bots = {"events_per_minute": 1, "events_per_day": 12}
    embedded = cleaned(context, DAYS, "embedded", categories=models[0], bots=bots)
    assert {"bot_burst", "duplicate"} <= set(embedded.rejected["reason"].to_pylist())
    assert len(set(embedded.clean["category"].to_pylist())) > 1
    assert cleaned(context, DAYS, "spark", categories=models[0], bots=bots) == embedded
    monkeypatch.setattr(chunk_plan, "CHUNK_BYTES", 1)
    part = cleaned(context, DAYS[:2], "spark", categories=models[0], bots=bots, segments=["shard-1"])
    assert part == cleaned(context, DAYS[:2], "embedded", categories=models[0], bots=bots, segments=["shard-1"])


@pytest.mark.spark
@needs_java
@given(st.lists(json_line_files(), min_size=15, max_size=30), st.lists(csv_files(), min_size=15, max_size=30))
@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
def test_both_engines_agree_on_generated_dirt(
    tmp_path_factory: pytest.TempPathFactory, json_files: list[bytes], comma_files: list[bytes]
) -> None:
    """Whatever the files hold, both engines give identical tables and accounts."""
    for text, files, suffix in ((JSON_SOURCE, json_files, "jsonl"), (CSV_SOURCE, comma_files, "csv")):
        home = tmp_path_factory.mktemp("home with space")
        context = context_of(home / "landing", source_of(home / "landing", text))
        for number, content in enumerate(files):
            deliver(context.landing, f"{number}.{suffix}", content, DAY + timedelta(days=number % 4))
        assert cleaned(context, [DAY], "spark") == cleaned(context, [DAY], "embedded")


CLEAN_IN_A_PROCESS = """
import sys
from pathlib import Path
from shift_assets_tests.ingest.cleaned_landing import cleaned
from shift_assets_tests.ingest.dirty_data import DAY, JSON_SOURCE, context_of, source_of
if __name__ == "__main__":
    home = Path(sys.argv[1])
    done = cleaned(context_of(home / "landing", source_of(home / sys.argv[2], JSON_SOURCE)), [DAY], "spark")
    print(done.clean.num_rows)
"""
STOP = "from shift_assets.ingest.cleaning.engines.local_spark import stop_local_server; print(stop_local_server())"


@pytest.mark.spark
@needs_java
def test_runs_at_once_share_one_server(tmp_path: Path) -> None:
    """Two processes that find no server start one, and both clean; its log holds neither key nor token."""
    context = context_of(tmp_path / "landing", source_of(tmp_path / "landing", JSON_SOURCE))
    dirty_landing(context.landing, 12, DAYS)
    script = tmp_path / "clean.py"
    script.write_text(CLEAN_IN_A_PROCESS)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    repository = Path(__file__).parents[4]
    environment = os.environ | {"PYTHONPATH": str(repository), "TMPDIR": str(temporary)}
    runs = [
        subprocess.Popen(
            [sys.executable, str(script), str(tmp_path), name], env=environment, stdout=subprocess.PIPE, text=True
        )
        for name in ("first", "second")
    ]
    try:
        rows = [run.communicate(timeout=300)[0] for run in runs]
        assert [run.returncode for run in runs] == [0, 0]
        assert rows == [f"{cleaned(context, [DAY]).clean.num_rows}\n"] * 2
        (folder,) = temporary.glob("shift-assets-spark-*")
        token = json.loads((folder / "server.json").read_text())["token"]
        (log,) = (path.read_text(errors="replace") for path in (folder / "logs").iterdir())
        assert log.count("Spark Connect server started at") == 1
        assert KEY.decode() not in log
        assert KEY.hex() not in log
        assert token not in log
    finally:
        stopped = subprocess.run(
            [sys.executable, "-c", STOP], env=environment, capture_output=True, text=True, check=True
        )
    assert stopped.stdout == "True\n"


def test_spark_without_java_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without Java, `auto` cleans on the embedded engine; `spark` is refused with the remedy."""
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert java_version() is None
    assert resolve_engine("auto") == "embedded"
    with pytest.raises(EngineError, match="Java 17 or newer and no Java was found; install it"):
        resolve_engine("spark")
    assert resolve_engine("auto", "sc://spark.example:15002") == "spark"


@pytest.mark.parametrize(
    ("version_output", "engine"),
    [
        ('openjdk version "17.0.15" 2025-04-15', "spark"),
        ('java version "1.8.0_402"', "embedded"),
        ('openjdk version "21" 2023-09-19', "spark"),
        ("no such thing", "embedded"),
    ],
)
def test_auto_takes_spark_where_java_is_new_enough(
    version_output: str,
    engine: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The Java found decides, and the log says which engine runs and why."""
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text(f"#!/bin/sh\necho '{version_output}' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with caplog.at_level(logging.INFO):
        assert resolve_engine("auto") == engine
    assert f"cleaning on the {engine} engine" in caplog.text


def test_the_fit_of_nothing_is_empty() -> None:
    """A source that delivers its categories needs no model."""
    assert fit_categories("delivered", CLEAN_EVENTS.empty(), 3, 1).assignments.num_rows == 0
