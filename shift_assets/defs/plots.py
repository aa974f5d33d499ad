"""Plots in asset metadata: small PNGs."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from matplotlib.axes import Axes

from shift_assets.workspace.workspace import Workspace

_CATEGORIES_SHOWN = 8
_MINIMUM_USERS = 20
"""The recall of a handful of users jumps between 0 and 1 and hides the other lines."""
_COLOURS = ("#4c78a8", "#f58518", "#54a24b", "#b279a2", "#72b7b2", "#eeca3b", "#ff9da6", "#9d755d")
_OTHER = "#d9d9d9"


def rejections_by_reason(rejected: pa.Table) -> bytes | None:
    """Rejected rows by day, stacked by reason."""
    return _stacked_by_day(rejected, "reason", None, "Rejected rows by reason", bars=True)


def alerts_by_day(_: Workspace, alerts: pa.Table) -> bytes | None:
    """Alerts that opened, by day, stacked by kind."""
    opened = alerts.filter(pc.equal(alerts["status"], "opened"))
    return _stacked_by_day(opened, "kind", None, "Alerts opened, by kind", bars=True)


def interest_share(_: Workspace, series: pa.Table) -> bytes | None:
    """Share of the interest score by day, of the largest categories."""
    return _stacked_by_day(
        series, "category", "score", f"Share of interest, the {_CATEGORIES_SHOWN} largest categories", share=True
    )


def signal_distribution(workspace: Workspace, signals: pa.Table) -> bytes | None:
    """Histogram of each classic indicator with its alert threshold."""
    import numpy as np

    alerts = workspace.settings.alerts
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
        axis.axvline(line, color="#e45756", linestyle="--", label=f"alert threshold {line:g}")
        axis.set_title(f"{name.replace('_', ' ').capitalize()}, users and days", fontsize=9)
        axis.legend(fontsize=7, frameon=False)
    return _png(figure)


def recall_by_day(_: Workspace, outcomes: pa.Table) -> bytes | None:
    """recall@k by day with its 95 % interval, one line per segment and policy with enough users."""
    evaluated = [row for row in outcomes.to_pylist() if row["recall_at_k"] is not None]
    rows = [row for row in evaluated if row["users"] >= _MINIMUM_USERS]
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
    axis.set_ylim(bottom=0)
    axis.set_title(f"recall@{rows[0]['k']} by evaluation day, of {_MINIMUM_USERS} users or more", fontsize=9)
    _days_axis(axis)
    _legend(axis)
    return _png(figure)


def _stacked_by_day(
    rows: pa.Table, by: str, weight: str | None, title: str, *, share: bool = False, bars: bool = False
) -> bytes | None:
    import numpy as np
    from matplotlib.ticker import MaxNLocator

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
    colours = [*_COLOURS[: len(shown)], _OTHER]
    figure, (axis,) = _figure(1)
    if bars or len(days) == 1:
        bottom = np.zeros(len(days))
        for label, line, colour in zip(labels, grid, colours, strict=False):
            axis.bar(days, line, bottom=bottom, label=label, color=colour)
            bottom += line
    else:
        axis.stackplot(days, *grid[: len(labels)], labels=labels, colors=colours)
        axis.margins(x=0)
    if share:
        axis.yaxis.set_major_formatter("{x:.0%}")
        axis.set_ylim(0, 1)
    else:
        axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_title(title, fontsize=9)
    _days_axis(axis)
    _legend(axis)
    return _png(figure)


def _days_axis(axis: Axes) -> None:
    from matplotlib.dates import AutoDateLocator, DateFormatter

    axis.xaxis.set_major_locator(AutoDateLocator(minticks=2, maxticks=8, interval_multiples=False))
    axis.xaxis.set_major_formatter(DateFormatter("%d %b %y"))


def _legend(axis: Axes) -> None:
    """Right of the plot, in the order in which the parts are stacked."""
    axis.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), reverse=True)


def _figure(panels: int) -> tuple[object, list[Axes]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 + 3.2 * panels, 2.8), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(1, panels, panel + 1) for panel in range(panels)]
    for axis in axes:
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color="#eeeeee")
        axis.set_axisbelow(True)
    return figure, axes


def _png(figure: object) -> bytes:
    target = io.BytesIO()
    figure.savefig(target, format="png")  # type: ignore[attr-defined]
    return target.getvalue()
