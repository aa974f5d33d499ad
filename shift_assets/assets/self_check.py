"""The weekly self-check of the detectors on the log itself, and the detector that it teaches."""

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets import partitions as keys
from shift_assets.assets.interest import SERIES
from shift_assets.assets.publishing import TableAsset, build
from shift_assets.contracts import DETECTOR_SELF_CHECK, INTEREST_SERIES, Partition
from shift_assets.resources.platform import Platform

SELF_CHECK = DETECTOR_SELF_CHECK.name


def self_check_assets(platform: Platform) -> list[dg.AssetsDefinition]:
    settings = platform.settings
    window = keys.window(settings.self_check.window_days)
    asset = TableAsset(
        table=DETECTOR_SELF_CHECK,
        group="shift",
        kinds=frozenset({"scikitlearn"}),
        deps=[dg.AssetDep(SERIES, partition_mapping=window)],
        compute=_checked,
        sections=["self_check", "evidence", "alerts", "seed"],
        metrics=_metrics,
    )
    return [build(asset, keys.day_segment_partitions(settings, platform.source), settings)]


def _checked(platform: Platform, partitions: list[Partition]) -> pa.Table:
    from shift_assets.evaluate.self_check import self_check
    from shift_assets.models.shift_detector import save

    settings, found = platform.settings, [DETECTOR_SELF_CHECK.empty()]
    for day, segment in partitions:
        if day.weekday() != settings.self_check.weekday:
            continue
        series = platform.read_window(INTEREST_SERIES, [day], [segment], settings.self_check.window_days)
        checked = self_check(series, day, segment, settings)
        stored = save(checked.model, settings.models, segment, day) if checked.model else (None, None)
        found.append(checked.naming(*stored))
    return pa.concat_tables(found)


def _metrics(rows: pa.Table) -> dict[str, float]:
    """AUC of what was chosen, and of the learned detector, after the last of the active days, mean over the donors."""
    judged = rows.filter(pc.and_(pc.equal(rows["active_days"], pc.max(rows["active_days"])), pc.is_valid(rows["auc"])))
    shown = judged.filter(pc.or_(judged["chosen"], pc.equal(judged["detector"], "learned")))
    means = shown.group_by("detector").aggregate([("auc", "mean")]).to_pylist()
    users = {"users": float(pc.max(rows["n_users"]).as_py())} if rows.num_rows else {}
    return {**users, **{f"auc_{row['detector']}": row["auc_mean"] for row in means}}
