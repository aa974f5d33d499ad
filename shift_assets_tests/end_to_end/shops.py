"""The small simulated shop of the end-to-end laws: how its homes are made, copied, run and compared."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import dagster as dg

from shift_assets.contracts.partition import Partition, days_of, segments_of
from shift_assets.contracts.registry import TABLES
from shift_assets.definitions import build_definitions
from shift_assets.defs.automation.jobs import DAILY
from shift_assets.defs.instance import open_instance
from shift_assets.defs.partitions import range_tags
from shift_assets.defs.range_run import QUIET_RUN_CONFIG, RangeRunResult, run_range
from shift_assets.privacy.pseudonym import KEY_BYTES, KEY_FILE
from shift_assets.simulate.simulation import PlantedShares, Simulation
from shift_assets.workspace import home as homes
from shift_assets.workspace.workspace import Workspace

SIMULATION = Simulation(
    users=200,
    items=120,
    days=30,
    categories=8,
    dirt_share=0.02,
    users_per_file=120,
    planted=PlantedShares(abrupt=0.15, surge=0.05, fade=0.05, churn=0.05),
)
KEY = "5a" * KEY_BYTES
"""The privacy key of every home, as hex: equal pseudonyms make homes comparable."""
LATENESS_DAYS = SIMULATION.lateness_days
HORIZON_DAYS = 3
LAST_DAY = SIMULATION.last_day
FIRST_RUN_DAY = LAST_DAY - timedelta(days=5)
"""Six days run every stage: three whose alerts and recommendations are evaluated by the three after them."""

SETTINGS = f"""
engine: embedded
state: {{recent_active_days: 3, reference_active_days: 6}}
signals: {{minimum_active_days: 4}}
alerts: {{minimum_active_days: 3}}
model: {{dimensions: 8, maximum_steps: 4, warm_steps: 2, validation_days: 2, window_days: 21}}
recommendations: {{k: 5}}
outcomes: {{horizon_days: {HORIZON_DAYS}}}
public: {{minimum_users: 3}}
"""
"""Windows of days instead of weeks, a tiny model: a month of log opens alerts, and the run takes seconds."""

Digests = dict[str, dict[Partition, str]]


@dataclass(frozen=True)
class Shop:
    """A home, and what ran in it."""

    workspace: Workspace
    report: RangeRunResult | None = None

    @property
    def home(self) -> Path:
        return self.workspace.settings.home

    @property
    def segments(self) -> tuple[str, ...]:
        return tuple(self.workspace.source.segment_keys)

    def run(self, first: date, last: date, segments: Sequence[str] = ()) -> None:
        """Materialises every stage through Dagster; fails with the errors of the steps."""
        report = run_range(
            build_definitions(self.workspace), self.workspace, first, last, list(segments or self.segments)
        )
        assert report.success, report.errors

    def materialise(self, assets: Iterable[str], partitions: Iterable[Partition]) -> list[str]:
        """Runs some assets alone, for the rectangle that `partitions` span; returns the messages of failed steps."""
        definitions = build_definitions(self.workspace)
        with open_instance(self.workspace) as instance:
            result = definitions.resolve_job_def(DAILY).execute_in_process(
                instance=instance,
                tags=range_tags(partitions, self.segments),
                asset_selection=[dg.AssetKey(name) for name in assets],
                raise_on_error=False,
                run_config=QUIET_RUN_CONFIG,
            )
        failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
        return [
            (failure.user_failure_data and failure.user_failure_data.description) or str(failure.error)
            for failure in failures
        ]

    def digests(self, first: date = date.min, last: date = date.max) -> Digests:
        """The content digest of every partition of every table, over a closed range of days."""
        return {
            name: {
                partition: found.digest
                for partition, found in self.workspace.lake.published(table).items()
                if first <= partition.day <= last
            }
            for name, table in TABLES.items()
        }

    def data_versions(self) -> dict[str, dict[str, str]]:
        """What Dagster knows as the newest data version of each partition of each table that is an asset."""
        found: dict[str, dict[str, str]] = {}
        with open_instance(self.workspace) as instance:
            for asset in (*TABLES, "interest_model"):
                events = instance.fetch_materializations(dg.AssetKey(asset), limit=10_000).records
                for record in reversed(events):
                    if record.partition_key and record.asset_materialization:
                        tags = record.asset_materialization.tags or {}
                        found.setdefault(asset, {})[record.partition_key] = tags["dagster/data_version"]
        return found

    def copied(self, target: Path) -> Shop:
        """The same installation in another folder, with everything that ran in it."""
        shutil.copytree(self.home, target)
        return Shop(homes.open_workspace(target))


def new_shop(home: Path, landing: Path, *, last_folder: date = LAST_DAY, engine: str | None = None) -> Shop:
    """A home for the log under `landing`, with the folders up to `last_folder`; every home has the same key."""
    workspace = homes.create(home, landing.parent / "source.yaml", SIMULATION.first_day, LAST_DAY)
    settings = workspace.settings.home / "settings.yaml"
    text = SETTINGS if engine is None else SETTINGS.replace("engine: embedded", f"engine: {engine}")
    settings.write_text(settings.read_text(encoding="utf-8") + text, encoding="utf-8")
    (workspace.settings.privacy / KEY_FILE).write_text(KEY, encoding="ascii")
    for name in ("items", "users"):
        shutil.copytree(landing / name, workspace.settings.landing / name, dirs_exist_ok=True)
    shop = Shop(homes.open_workspace(home))
    land_folders(shop, landing, date.min, last_folder)
    return shop


def land_folders(shop: Shop, landing: Path, first_folder: date, last_folder: date) -> None:
    """Copies the day folders of the closed range from `landing` into the shop's."""
    for folder in sorted((landing / "events").iterdir()):
        day = date.fromisoformat(folder.name.removeprefix("day="))
        if first_folder <= day <= last_folder:
            shutil.copytree(folder, shop.workspace.settings.landing / "events" / folder.name)


def folder_of(shop: Shop, day: date) -> Path:
    return shop.workspace.settings.landing / "events" / f"day={day.isoformat()}"


def lines_of(file: Path) -> list[bytes]:
    """The delivered lines of a gzipped JSON lines file, counted without the pipeline."""
    return [line for line in gzip.decompress(file.read_bytes()).split(b"\n") if line.strip()]


def changed(before: Digests, after: Digests) -> dict[str, set[Partition]]:
    """The partitions whose content differs, by table; tables without any are left out."""
    different = {
        name: {p for p in before[name].keys() | after[name].keys() if before[name].get(p) != after[name].get(p)}
        for name in before
    }
    return {name: partitions for name, partitions in different.items() if partitions}


def spanned(partitions: Iterable[Partition]) -> tuple[list[date], list[str]]:
    """The days and the segments of some partitions."""
    found = list(partitions)
    return days_of(found), segments_of(found)
