"""Laws of code versions: what makes an asset stale, and what does not."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from textwrap import dedent

import pytest

import shift_assets
from shift_assets.defs import code_version
from shift_assets.defs.assets.graph import all_assets
from shift_assets.defs.code_version import Package
from shift_assets.workspace.home import workspace_from_environment
from shift_assets.workspace.workspace import Workspace

pytestmark = pytest.mark.slow

FOLDER = Path(shift_assets.__file__).parent

CLEANING = {"clean_events", "rejected_events"}
MODELS = {"base_model", "interest_model"}
RECOMMENDED = {"list_fits", "recommendations"}
SERVED = {"warehouse", "bi_files"}
READERS = {
    *("interest_series", "user_features", "item_features", "interest_state", "interest_forecasts", "forecast_quality"),
    *(
        "shift_signals",
        "shift_alerts",
        "open_alerts",
        "segment_shifts",
        "segment_events",
        "alarm_clusters",
        "interest_moves",
    ),
    *("detector_self_check", "campaign_audiences", "ad_slots", "alert_outcomes", "recommendation_outcomes"),
    *(
        "experiment_report",
        "churn_calibration",
        "churn_predictions",
        "alert_outbox",
        "alert_notifications",
        "model_predictions",
    ),
    *MODELS,
    *RECOMMENDED,
}
"""Assets that read rows of the lake; cleaning reads deliveries, and the warehouse loads files as they are."""

EDITS: list[tuple[str, str, set[str]]] = [
    # Deliveries: items (for recommendations) and users (for their features) are read like events.
    ("ingest/rows/values.py", "as_text", {*CLEANING, "category_model", "user_features", *RECOMMENDED}),
    ("ingest/readers/csv_lines.py", "_closing_quote", {*CLEANING, "category_model", "user_features", *RECOMMENDED}),
    ("ingest/source/expressions.py", "evaluate", {*CLEANING, "category_model"}),
    ("ingest/categories/spherical_kmeans.py", "spherical_kmeans", {"category_model"}),
    ("ingest/cleaning/engines/embedded.py", "rows", {*CLEANING, "category_model"}),
    ("ingest/cleaning/engines/spark.py", "parse", {*CLEANING, "category_model"}),
    ("ingest/categories/later_units.py", "joining", CLEANING),
    ("ingest/landing.py", "land", set()),
    ("privacy/pseudonym.py", "pseudonym", {*CLEANING, "category_model", "user_features", *RECOMMENDED}),
    ("privacy/erase.py", "erase", set()),
    # Interest, shifts, forecasts and churn.
    ("interest/series.py", "interest_series", {"interest_series"}),
    ("interest/lookback.py", "groups", {"user_features", "item_features"}),
    ("forecast/linear.py", "fit", {"interest_forecasts", "forecast_quality"}),
    ("shift/detector/evidence.py", "advance_day", {"interest_state", "detector_self_check"}),
    ("shift/segment/change_points.py", "online_changes", {"segment_events"}),
    ("shift/alerts/open_alert_rows.py", "open_alerts", {"open_alerts"}),
    ("shift/alerts/alert_profiles.py", "since", {"shift_alerts", "open_alerts"}),
    ("shift/learned/shift_model.py", "fit", {"detector_self_check"}),
    ("shift/baselines/g_test.py", "score", set()),
    ("churn/calibration.py", "churn_calibration", {"churn_calibration"}),
    ("churn/model.py", "fit_churn", {"churn_predictions", "churn_calibration"}),
    ("churn/alerts.py", "churn_sentence", {"shift_alerts"}),
    # Models, and recommendations, which use the production model.
    ("models/network/blocks.py", "causal_attention", {*MODELS, "model_predictions", *RECOMMENDED}),
    ("models/training/losses.py", "cross_entropy", MODELS),
    ("models/inference/predictions.py", "predictions", {"model_predictions"}),
    ("recommend/candidates/association_rules.py", "rules", RECOMMENDED),
    ("recommend/campaigns.py", "ad_slots", {"ad_slots"}),
    ("experiments/exploration.py", "explore", {"recommendations"}),
    # Outcomes.
    ("outcomes/alerts.py", "alert_outcomes", {"alert_outcomes"}),
    ("outcomes/off_policy.py", "doubly_robust", {"recommendation_outcomes"}),
    ("evaluate/simulated.py", "f1", set()),
    # Shared code counts only as far as it is used.
    ("storage/lake.py", "read", READERS),
    ("storage/lake.py", "vacuum", set()),
    ("workspace/workspace.py", "users", {"user_features"}),
    ("workspace/home.py", "create", set()),
    ("quality/gate.py", "require_passed", READERS),
    ("quality/validation.py", "validate_partitions", set()),
    ("settings/shift.py", "decay", {"interest_state", "detector_self_check"}),
    ("settings/root.py", "load_settings", set()),
    ("contracts/marts.py", "_like", SERVED),
    # Serving.
    ("storage/warehouse.py", "_replace_rows", SERVED),
    ("storage/bi_generations.py", "publish", {"bi_files"}),
    ("notify/webhook.py", "deliver", {"alert_notifications"}),
    ("notify/outbox.py", "outbox_messages", {"alert_outbox"}),
    # Around the assets.
    ("defs/assets/interest.py", "_series", {"interest_series"}),
    ("defs/publishing.py", "report_materializations", set()),
    ("defs/automation_conditions.py", "content_changed", set()),
    ("defs/checks/expectations.py", "check_name", set()),
    ("simulate/traffic.py", "calibrate", set()),
    ("cli/setup.py", "land", set()),
]

SQL = {
    "clean": {*CLEANING},
    "clean/item_texts.sql": {"category_model"},
    "clean/user_units.sql": {"category_model"},
    "clean/unit_texts.sql": {"category_model"},
    "marts": SERVED,
    "public": SERVED,
}
"""Assets that run the SQL files of a folder, and files that differ from their folder."""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return workspace_from_environment(tmp_path_factory.mktemp("none"))


@pytest.fixture
def versions(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Callable[[Package], dict[str, str | None]]:
    """Versions of all assets by the source of a package; modules of equal text are parsed once."""
    parsed = cache(code_version.parsed)
    monkeypatch.setattr(code_version, "parsed", parsed)

    def versions_of(package: Package) -> dict[str, str | None]:
        monkeypatch.setattr(code_version, "package_named", cache(lambda _name: package))
        return {spec.key.to_user_string(): spec.code_version for asset in all_assets(workspace) for spec in asset.specs}

    return versions_of


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package; a test that edits it restores it."""
    folder = tmp_path_factory.mktemp("copy") / FOLDER.name
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__", "*.parquet"))
    return folder


def with_a_statement_more(text: str, function: str) -> str:
    """The module with one more statement in the function of that name."""
    (found, *_) = (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef) and n.name == function)
    last = found.body[-1]
    lines = text.splitlines(keepends=True)
    lines.insert(last.lineno - 1, f"{' ' * last.col_offset}_canary = 1\n")
    return "".join(lines)


def differing(before: Mapping[str, object], after: Mapping[str, object]) -> set[str]:
    assert before.keys() == after.keys()
    return {key for key in before if before[key] != after[key]}


def test_a_change_of_code_makes_exactly_those_stale_that_compute_with_it(
    copied: Path, versions: Callable[[Package], dict[str, str | None]]
) -> None:
    """Edit one function of every room in turn."""
    before = versions(Package(FOLDER))
    found = {}
    for path, function, _ in EDITS:
        file = copied / path
        text = file.read_text(encoding="utf-8")
        file.write_text(with_a_statement_more(text, function), encoding="utf-8")
        found[path, function] = differing(before, versions(Package(copied)))
        file.write_text(text, encoding="utf-8")
    assert found == {(path, function): expected for path, function, expected in EDITS}


def test_every_room_is_edited() -> None:
    """A new room needs a line in EDITS."""
    rooms = {file.parent.relative_to(FOLDER).parts[0] for file in FOLDER.glob("*/*.py")}
    assert rooms == {Path(path).parts[0] for path, _, _ in EDITS if "/" in path}


def test_a_change_of_sql_makes_exactly_those_stale_that_run_it(
    copied: Path, versions: Callable[[Package], dict[str, str | None]]
) -> None:
    """Edit every SQL file in turn; a comment and other spacing change nothing."""
    package = Package(copied)
    before = versions(package)
    found, expected = {}, {}
    for file in sorted((copied / "sql").rglob("*.sql")):
        name = file.relative_to(copied / "sql").as_posix()
        text = file.read_text(encoding="utf-8")
        file.write_text(f"{text}limit 1\n", encoding="utf-8")
        found[name] = differing(before, versions(package))
        expected[name] = SQL.get(name, SQL[Path(name).parts[0]])
        file.write_text(f"-- A comment.\n{text.replace(' ', '  ')}", encoding="utf-8")
        if "'" not in text:
            assert versions(package) == before, f"a comment in {name}"
        file.write_text(text, encoding="utf-8")
    assert found == expected


def test_comments_and_docstrings_make_nothing_stale(
    copied: Path, versions: Callable[[Package], dict[str, str | None]]
) -> None:
    """Rewrite every module from its syntax tree, which loses comments, with another docstring."""
    before = versions(Package(FOLDER))
    for file in copied.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        tree = ast.parse(text)
        futures = [n for n in tree.body if isinstance(n, ast.ImportFrom) and n.module == "__future__"]
        body = [n for n in tree.body if n not in futures]
        tree.body = [ast.Expr(ast.Constant("Another docstring.")), *futures, *body]
        (file.with_suffix(".kept")).write_text(text, encoding="utf-8")
        file.write_text(ast.unparse(ast.fix_missing_locations(tree)), encoding="utf-8")
    try:
        assert differing(before, versions(Package(copied))) == set()
    finally:
        for kept in copied.rglob("*.kept"):
            kept.replace(kept.with_suffix(".py"))


LOADED = """
import json
from shift_assets.definitions import defs
specs = [spec for asset in defs().assets for spec in asset.specs]
print(json.dumps({spec.key.to_user_string(): spec.code_version for spec in specs}))
"""


def loaded_from(folder: Path, home: Path) -> dict[str, str]:
    """The versions in the definitions of the package in `folder`."""
    found = subprocess.run(
        [sys.executable, "-c", LOADED],
        env={**os.environ, "PYTHONPATH": str(folder), "SHIFT_HOME": str(home)},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    versions: dict[str, str] = json.loads(found.stdout)
    return versions


def test_the_definitions_of_a_changed_copy_carry_the_changed_versions(copied: Path, tmp_path: Path) -> None:
    """Loaded as Dagster loads them, after edits of a column type and a SQL file, and a comment."""
    before = loaded_from(FOLDER.parent, tmp_path)
    edits = {
        "contracts/interest.py": ('Column("score", FLOAT, "Interest score', 'Column("score", STRING, "Interest score'),
        "sql/clean/bots.sql": ("select", "select distinct"),
        "models/training/losses.py": ("\nimport", "\n# A comment.\nimport"),
    }
    kept = {path: (copied / path).read_text(encoding="utf-8") for path in edits}
    for path, (old, new) in edits.items():
        assert old in kept[path]
        (copied / path).write_text(kept[path].replace(old, new, 1), encoding="utf-8")
    try:
        after = loaded_from(copied.parent, tmp_path)
    finally:
        for path, text in kept.items():
            (copied / path).write_text(text, encoding="utf-8")
    naming_the_series = {
        *("interest_series", "user_features", "segment_shifts", "segment_events", "alert_outcomes", "shift_signals"),
        *("interest_state", "interest_forecasts", "forecast_quality", "detector_self_check"),
    }
    assert differing(before, after) == naming_the_series | CLEANING | SERVED


# The rules, on packages of a few lines.


def version_of(folder: Path, *changes: tuple[str, str], **modules: str) -> str:
    """The version of `compute` of the module `start`; `changes` replace texts first."""
    package = folder / "shop"
    shutil.rmtree(package, ignore_errors=True)
    (package / "sql" / "clean").mkdir(parents=True)
    for name, text in {"__init__": "", **SHOP, **modules}.items():
        written = dedent(text)
        for old, new in changes:
            written = written.replace(old, new)
        (package / f"{name}.py").write_text(written, encoding="utf-8")
    (package / "sql" / "clean" / "bots.sql").write_text("select 1 as one, '--  ' as two\n", encoding="utf-8")
    return Package(package).version("shop.start", "compute")


SHOP = {
    "start": '''
        """Where the search starts."""
        import math
        from shop.home import Home
        from shop.sums import total

        def compute(home: Home, days):
            """What is computed."""
            from shop.late import later
            return later(total(home.read(days), math.pi)), home.settings.weights.doubled

        def other():
            return 1
    ''',
    "sums": """
        from dataclasses import dataclass
        from shop.contract import Column

        FACTOR = 2
        UNUSED = 3
        SCORE = Column("score", "What it says", unit="points")

        @dataclass
        class Sum:
            value: float = 0.0

            def plus(self, other):
                return self.value + other

            def minus(self, other):
                return self.value - other

        def total(rows, factor) -> float:
            return Sum(FACTOR).plus(len(rows)) + SCORE.size
    """,
    "contract": """
        from dataclasses import dataclass

        @dataclass
        class Column:
            name: str
            meaning: str
            unit: str
            size: int = 1
    """,
    "late": """
        from framework import Module

        class Net(Module):
            def forward(self, x):
                return x

        def later(x):
            return Net(), read("clean/bots.sql")

        def read(name):
            return name
    """,
    "home": """
        from dataclasses import dataclass
        from pydantic import BaseModel

        class Weights(BaseModel):
            first: float = 1.0

            @property
            def doubled(self):
                return 2 * self.first

            @property
            def halved(self):
                return self.first / 2

        class Settings(BaseModel):
            weights: Weights
            limit: int = 3

        @dataclass
        class Home:
            settings: Settings

            def read(self, days):
                return self._checked(days)

            def _checked(self, days):
                return days[: self.settings.limit]

            def write(self, rows):
                return None
    """,
}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("FACTOR = 2", "FACTOR = 3"),
        ("len(rows)", "len(rows) - 1"),
        ("self.value + other", "other + self.value"),
        ("value: float = 0.0", "value: float = 1.0"),
        ('unit="points"', 'unit="stars"'),
        ("math.pi", "math.e"),
        ("import math", "import cmath as math"),
        ("return Net()", "return Net"),
        ("return x\n", "return -x\n"),
        ("days[:", "days[1:"),
        ("2 * self.first", "3 * self.first"),
        ("FACTOR = 2", "FACTOR = 2\nSum.plus = None"),
    ],
)
def test_what_the_computation_reaches_counts(tmp_path: Path, old: str, new: str) -> None:
    """Constants, functions, used methods, fields, foreign names, framework classes, side effects of imports."""
    assert version_of(tmp_path) != version_of(tmp_path, (old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("What is computed.", "What comes out."),
        ("What it says", "What it means"),
        ("Where the search starts.", "The start."),
        ("FACTOR = 2", "FACTOR = 2  # a comment"),
        ("FACTOR = 2", "FACTOR: int = 2"),
        ("-> float", "-> int"),
        ("total(rows, factor)", "total(rows: list[int], factor: 'float')"),
        ("UNUSED = 3", "UNUSED = 4"),
        ("return 1", "return 2"),
        ("self.value - other", "other - self.value"),
        ("return None", "return rows"),
        ("self.first / 2", "self.first / 4"),
        ("limit: int = 3", "limit: int = 4"),
        ("first: float = 1.0", "first: float = 1.0\n    second: float = 1.0"),
    ],
)
def test_what_it_does_not_reach_or_only_documents_does_not_count(tmp_path: Path, old: str, new: str) -> None:
    """Documentation, annotations, unused definitions and methods, fields of models that are passed in."""
    assert version_of(tmp_path) == version_of(tmp_path, (old, new))


def test_moving_a_definition_changes_nothing(tmp_path: Path) -> None:
    """Splitting and renaming modules makes nothing stale."""
    moved = {"sums": SHOP["sums"].replace("FACTOR = 2\n", "from shop.factor import FACTOR\n"), "factor": "FACTOR = 2\n"}
    assert version_of(tmp_path) == version_of(tmp_path, **moved)
    assert version_of(tmp_path) == version_of(
        tmp_path, ("shop.sums", "shop.added"), added=SHOP["sums"], sums="raise RuntimeError\n"
    )


def test_a_function_that_does_not_exist_has_no_version(tmp_path: Path) -> None:
    """An empty search has no version."""
    version_of(tmp_path)
    with pytest.raises(LookupError, match="no_such"):
        Package(tmp_path / "shop").version("shop.start", "no_such")


def test_the_libraries_are_those_that_the_computation_uses(tmp_path: Path) -> None:
    """Imports of modules on the way that nothing uses do not count; a used one counts wherever it is."""
    version_of(tmp_path, sums=SHOP["sums"].replace("from dataclasses", "import numpy\n        from dataclasses"))
    found = Package(tmp_path / "shop").libraries("shop.start", "compute")
    assert found >= {"math", "framework"}
    assert "numpy" not in found
    version_of(tmp_path, ("FACTOR = 2", "FACTOR = numpy.pi"), sums="import numpy\n" + dedent(SHOP["sums"]))
    assert "numpy" in Package(tmp_path / "shop").libraries("shop.start", "compute")
