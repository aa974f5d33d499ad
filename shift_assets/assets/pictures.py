"""Pictures that stand in asset metadata where people would rather look than read: small PNGs."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from matplotlib.axes import Axes

from shift_assets.resources.platform import Platform

_CATEGORIES_SHOWN = 8


def rejections_by_reason(rejected: pa.Table) -> bytes | None:
    """Rejected rows by day, stacked by reason."""
    return _stacked_by_day(rejected, "reason", None, "rejected rows", bars=True)


def interest_share(_: Platform, series: pa.Table) -> bytes | None:
    """Share of the interest score by day, of the largest categories."""
    return _stacked_by_day(series, "category", "score", "share of interest", share=True)


def signal_distribution(platform: Platform, signals: pa.Table) -> bytes | None:
    """Histogram of each classic indicator with its alarm line."""
    import numpy as np

    alerts = platform.settings.alerts
    panels = {
        "interest_gap": (signals["interest_gap"], alerts.interest_gap),
        "distribution_distance": (signals["distribution_distance"], alerts.distribution_distance),
    }
    values = {name: column.drop_null().to_numpy() for name, (column, _) in panels.items()}
    if not any(len(found) for found in values.values()):
        return None
    figure, axes = _figure(len(panels))
    for axis, (name, (_, line)) in zip(axes, panels.items(), strict=True):
        axis.hist(values[name], bins=np.linspace(0, 1, 41).tolist(), color="#4c78a8")
        axis.axvline(line, color="#e45756", linestyle="--", label=f"line {line:g}")
        axis.set_title(name, fontsize=9)
        axis.legend(fontsize=7, frameon=False)
    return _png(figure)


def recall_by_day(_: Platform, outcomes: pa.Table) -> bytes | None:
    """recall@k by day with its 95 % interval, one line per segment and policy."""
    rows = [row for row in outcomes.to_pylist() if row["recall_at_k"] is not None]
    if not rows:
        return None
    figure, (axis,) = _figure(1)
    for name in sorted({(row["segment"], row["policy"]) for row in rows}):
        line = sorted(
            (row["day"], row["recall_at_k"], row["recall_at_k_low"], row["recall_at_k_high"])
            for row in rows
            if (row["segment"], row["policy"]) == name
        )
        days, middle, low, high = zip(*line, strict=True)
        axis.plot(days, middle, marker=".", label=" · ".join(name))
        axis.fill_between(days, low, high, alpha=0.15)
    axis.set_title("recall@k of the lists judged on the day", fontsize=9)
    axis.legend(fontsize=7, frameon=False)
    return _png(figure)


def _stacked_by_day(
    rows: pa.Table, by: str, weight: str | None, title: str, *, share: bool = False, bars: bool = False
) -> bytes | None:
    import numpy as np

    if not rows.num_rows:
        return None
    weights = rows[weight] if weight else pa.repeat(pa.scalar(1.0), rows.num_rows)
    totals = pa.table({"day": rows["day"], "by": rows[by], "weight": weights}).group_by(["day", "by"])
    sums = totals.aggregate([("weight", "sum")])
    ranked = sums.group_by("by").aggregate([("weight_sum", "sum")])
    order = ranked.sort_by([("weight_sum_sum", "descending")])["by"].to_pylist()
    shown = order[:_CATEGORIES_SHOWN]
    days = sorted(pc.unique(sums["day"]).to_pylist())
    grid = np.zeros((len(shown) + 1, len(days)))
    for row in sums.to_pylist():
        line = shown.index(row["by"]) if row["by"] in shown else len(shown)
        grid[line, days.index(row["day"])] += row["weight_sum"]
    if share:
        grid /= np.maximum(grid.sum(axis=0), 1e-12)
    labels = [*shown, "other"] if len(order) > len(shown) else shown
    figure, (axis,) = _figure(1)
    if bars or len(days) == 1:
        bottom = np.zeros(len(days))
        for label, line in zip(labels, grid, strict=False):
            axis.bar(days, line, bottom=bottom, label=label)
            bottom += line
    else:
        axis.stackplot(days, *grid[: len(labels)], labels=labels)
    axis.set_title(title, fontsize=9)
    axis.legend(fontsize=6, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _png(figure)


def _figure(panels: int) -> tuple[object, list[Axes]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 + 3.2 * panels, 2.8), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(1, panels, panel + 1) for panel in range(panels)]
    for axis in axes:
        axis.tick_params(labelsize=7)
    figure.autofmt_xdate() if panels == 1 else None
    return figure, axes


def _png(figure: object) -> bytes:
    target = io.BytesIO()
    figure.savefig(target, format="png")  # type: ignore[attr-defined]
    return target.getvalue()
