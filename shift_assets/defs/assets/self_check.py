"""The weekly self-check of the detectors on the log itself, and the detector that it trains."""

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.contracts.interest import INTEREST_SERIES
from shift_assets.contracts.partition import Partition
from shift_assets.contracts.shift import DETECTOR_SELF_CHECK
from shift_assets.defs import partitions as keys
from shift_assets.defs.assets.interest import SERIES
from shift_assets.defs.table_asset import TableAsset, build_asset
from shift_assets.workspace.workspace import Workspace

SELF_CHECK = DETECTOR_SELF_CHECK.name


def self_check_assets(workspace: Workspace) -> list[dg.AssetsDefinition]:
    settings = workspace.settings
    window = keys.window(settings.self_check.window_days)
    asset = TableAsset(
        table=DETECTOR_SELF_CHECK,
        group="shift",
        deps=[dg.AssetDep(SERIES, partition_mapping=window)],
        compute=_checked,
        sections=[
            "self_check",
            "evidence",
            "alerts.average_run_length",
            "alerts.flagged_share",
            "alerts.language",
            "schedule.self_check_weekday",
            "seed",
        ],
        metrics=_metrics,
    )
    return [build_asset(asset, keys.day_segment_partitions(settings, workspace.source), settings)]


def _checked(workspace: Workspace, partitions: list[Partition]) -> pa.Table:
    from shift_assets.evaluate.detector_self_check import self_check
    from shift_assets.shift.learned.shift_model import save
    from shift_assets.workspace.out_of_sample import without_learned_days

    settings, found = workspace.settings, [DETECTOR_SELF_CHECK.empty()]
    for day, segment in partitions:
        if day.weekday() != settings.schedule.self_check_weekday:
            continue
        series = workspace.reader.read_window(INTEREST_SERIES, [day], [segment], settings.self_check.window_days)
        series = without_learned_days(series, settings)
        checked = self_check(series, day, segment, settings)
        stored = save(checked.model, settings.models, segment, day) if checked.model else (None, None)
        found.append(checked.with_model_path(*stored))
    return pa.concat_tables(found)


def _metrics(rows: pa.Table) -> dict[str, float]:
    """AUC of the detectors after the last of the active days, mean over the donors, and what the threshold does."""
    evaluated = rows.filter(
        pc.and_(pc.equal(rows["active_days"], pc.max(rows["active_days"])), pc.is_valid(rows["auc"]))
    )
    means = evaluated.group_by("detector").aggregate([("auc", "mean")]).to_pylist()
    chosen = evaluated.filter((pc.field("kind") == "random") & (pc.field("kept") == 0.0) & pc.field("chosen"))
    shares = {name: pc.mean(chosen[name]).as_py() for name in ("found_share", "flagged_share")}
    users = {"users": float(pc.max(rows["n_users"]).as_py())} if rows.num_rows else {}
    return {
        **users,
        **{f"auc_{row['detector']}": row["auc_mean"] for row in means},
        **{name: share for name, share in shares.items() if share is not None},
    }
