"""Laws of the definitions as a whole: the graph, what every asset declares, and how the code location loads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from shift_assets.contracts.registry import TABLES
from shift_assets.definitions import build_definitions
from shift_assets.workspace.workspace import Workspace
from shift_assets_tests.workspaces import FIRST_DAY, SOURCE, new_workspace

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
SNAPSHOT = Path(__file__).with_name("asset_graph.json")
RENEW = "SHIFT_RENEW_SNAPSHOTS"
HEAVY = ("torch", "great_expectations", "pyspark", "sklearn", "matplotlib")


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    return build_definitions(new_workspace(tmp_path_factory.mktemp("home")))


def specs(definitions: dg.Definitions) -> Iterator[dg.AssetSpec]:
    for asset in definitions.assets or []:
        assert isinstance(asset, dg.AssetsDefinition)
        yield from asset.specs


def graph(definitions: dg.Definitions) -> dict[str, Any]:
    """What the snapshot holds of every asset."""
    checks: dict[str, list[str]] = {}
    for check in definitions.asset_checks or []:
        assert isinstance(check, dg.AssetChecksDefinition)
        for examined in check.check_specs:
            name = examined.name + (" (blocking)" if examined.blocking else "")
            checks.setdefault(examined.asset_key.to_user_string(), []).append(name)
    found = {}
    for asset in definitions.assets or []:
        assert isinstance(asset, dg.AssetsDefinition)
        for spec in asset.specs:
            key = spec.key.to_user_string()
            partitions = spec.partitions_def
            found[key] = {
                "group": spec.group_name,
                "kinds": sorted(spec.kinds),
                "deps": {dep.asset_key.to_user_string(): mapped(dep.partition_mapping) for dep in spec.deps},
                "partitions": partitions.partition_dimension_names
                if isinstance(partitions, dg.MultiPartitionsDefinition)
                else ["day"],
                "backfill_policy": str(asset.backfill_policy),
                "pool": asset.op.pool,
                "automated": spec.automation_condition is not None,
                "checks": sorted(checks.get(key, [])),
            }
    return found


def mapped(mapping: dg.PartitionMapping | None) -> str:
    """Which days of an input a partition reads."""
    if isinstance(mapping, dg.MultiPartitionMapping):
        days = mapping.downstream_mappings_by_upstream_dimension["day"].partition_mapping
        assert isinstance(days, dg.TimeWindowPartitionMapping)
        return f"days {days.start_offset} to {days.end_offset}"
    if isinstance(mapping, dg.MultiToSingleDimensionPartitionMapping):
        return "the same day"
    return "the same" if mapping is None else "the first day"


def test_the_asset_graph_is_the_committed_one(definitions: dg.Definitions) -> None:
    """Assets, inputs, windows, policies, pools and checks change only on purpose."""
    found = graph(definitions)
    if os.environ.get(RENEW):
        SNAPSHOT.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    committed = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    changed = sorted(key for key in found.keys() | committed.keys() if found.get(key) != committed.get(key))
    assert not changed, (
        f"{changed} differ from {SNAPSHOT.name}; where that is meant, renew it and look at the difference: "
        f"{RENEW}=1 python -m pytest {Path(__file__).relative_to(ROOT)}"
    )


def test_every_asset_says_what_it_is_and_whose(definitions: dg.Definitions) -> None:
    """Group, kinds, owner, description and code version stand on every asset."""
    for spec in specs(definitions):
        assert spec.group_name, spec.key
        assert spec.kinds, spec.key
        assert list(spec.owners) == ["team:shift-assets"], spec.key
        assert len(spec.description or "") > 40, spec.key
        assert spec.code_version, spec.key


@pytest.mark.parametrize(
    ("setting", "reads", "ignores"),
    [
        (("schedule", "refit_weekday", 2), "churn_calibration", "shift_alerts"),
        (("schedule", "refit_weekday", 2), "churn_predictions", "interest_state"),
        (("schedule", "retrain_days", 7), "interest_model", "interest_state"),
        (("schedule", "self_check_weekday", 2), "detector_self_check", "churn_calibration"),
        (("state", "recent_active_days", 6), "alert_outcomes", "recommendation_outcomes"),
        (("alerts", "average_run_length", 20.0), "interest_state", "segment_events"),
        (("adaptation", "rising_weight", 0.25), "recommendations", "shift_alerts"),
    ],
)
def test_the_code_version_depends_on_the_settings_that_are_read(
    definitions: dg.Definitions, tmp_path: Path, setting: tuple[str, str, float], reads: str, ignores: str
) -> None:
    """Another value of a setting makes those stale that read it, and not those that do not."""
    section, field, value = setting
    workspace = new_workspace(tmp_path)
    changed = getattr(workspace.settings, section).model_copy(update={field: value})
    other = build_definitions(Workspace(workspace.settings.model_copy(update={section: changed}), workspace.source))
    before, after = ({spec.key.to_user_string(): spec.code_version for spec in specs(d)} for d in (definitions, other))
    stale = {key for key in before if before[key] != after[key]}
    assert reads in stale
    assert ignores not in stale


def test_every_table_shows_its_columns(definitions: dg.Definitions) -> None:
    """An asset that is a table carries the columns of its contract, with meanings."""
    tables = [spec for spec in specs(definitions) if "dagster/table_name" in spec.metadata]
    assert len(tables) >= 14
    for spec in tables:
        table = TABLES[spec.metadata["dagster/table_name"]]
        schema = spec.metadata["dagster/column_schema"]
        assert [column.name for column in schema.columns] == table.schema.names
        assert all(column.description for column in schema.columns)


def test_everything_is_day_by_segment_but_the_pooled_models(definitions: dg.Definitions) -> None:
    """Two assets are pooled over the segments; all others have both dimensions, time first."""
    by_day_only = []
    for spec in specs(definitions):
        if isinstance(spec.partitions_def, dg.MultiPartitionsDefinition):
            assert spec.partitions_def.partition_dimension_names == ["day", "segment"]
            assert spec.partitions_def.get_first_partition_key() == f"{FIRST_DAY}|shard-0"
        else:
            assert isinstance(spec.partitions_def, dg.DailyPartitionsDefinition)
            by_day_only.append(spec.key.to_user_string())
    assert sorted(by_day_only) == ["base_model", "category_model"]


def test_training_is_one_partition_per_run_and_the_rest_one_run(definitions: dg.Definitions) -> None:
    """A backfill of models goes partition by partition; every other asset takes all days in one run."""
    per_partition = {key for key, asset in graph(definitions).items() if "single_run" not in asset["backfill_policy"]}
    assert per_partition == {"base_model", "category_model", "interest_model"}


def test_every_check_is_partitioned_but_the_freshness_of_the_whole(definitions: dg.Definitions) -> None:
    """One bad partition holds back itself, not the others: checks have the partitions of their asset."""
    whole = []
    for check in definitions.asset_checks or []:
        assert isinstance(check, dg.AssetChecksDefinition)
        whole += [spec.name for spec in check.check_specs if spec.partitions_def is None]
    assert whole == ["yesterday_is_complete_for_every_segment"]


def test_two_workspaces_have_their_own_segments(tmp_path: Path) -> None:
    """Segments come from the source of the installation, not from the code."""
    found = []
    for shards in (2, 5):
        workspace = new_workspace(tmp_path / str(shards), source=SOURCE.replace("shards: 2", f"shards: {shards}"))
        spec = next(spec for spec in specs(build_definitions(workspace)) if spec.key.to_user_string() == "clean_events")
        assert isinstance(spec.partitions_def, dg.MultiPartitionsDefinition)
        found.append(spec.partitions_def.get_partitions_def_for_dimension("segment").get_partition_keys())
    assert [len(segments) for segments in found] == [2, 5]


def test_a_resource_can_be_replaced_by_name(tmp_path: Path) -> None:
    """Tests and commands swap parts where everything is put together."""
    workspace = new_workspace(tmp_path)
    resources = build_definitions(workspace, {"workspace": "other"}).resources or {}
    assert resources["workspace"] == "other"


def python(code: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SHIFT_HOME": str(home), "PYTHONWARNINGS": "default"}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_importing_the_definitions_is_light_and_silent(tmp_path: Path) -> None:
    """No engine is imported before it is used, Dagster warns of nothing, and nothing is written."""
    loaded = python(
        "import sys; import shift_assets.definitions as d; d.defs().resolve_job_def('daily'); "
        f"print([name for name in {HEAVY} if name in sys.modules])",
        tmp_path,
    )
    ours = [line for line in loaded.stderr.splitlines() if "agster" in line or "shift_assets" in line]
    assert (loaded.returncode, loaded.stdout.strip(), ours) == (0, "[]", []), loaded.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("entry", [["-w", str(ROOT / "workspace.yaml")], []], ids=["workspace.yaml", "pyproject.toml"])
def test_the_code_location_validates_in_an_empty_home(tmp_path: Path, entry: list[str]) -> None:
    """Dagster loads the definitions by either entry before there is any installation."""
    environment = {**os.environ, "SHIFT_HOME": str(tmp_path / "none"), "DAGSTER_HOME": str(tmp_path)}
    dagster = Path(sys.executable).with_name("dagster")
    found = subprocess.run(
        [dagster, "definitions", "validate", *entry],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    output = found.stdout + found.stderr
    assert found.returncode == 0, output
    assert "All code locations passed validation" in output
    assert "shift_assets" in output


def test_both_entries_name_the_same_module() -> None:
    """workspace.yaml and `[tool.dg]` lead to one code location."""
    workspace = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"][0]["python_module"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    assert workspace == {
        "module_name": project["code_location_target_module"],
        "location_name": project["root_module"],
    }
