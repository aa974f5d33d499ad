"""Spliced users on the real log of an installation: what each part of the learned detector is worth.

`shift-assets evaluate shifts --home H` gives the table of all detectors; this one leaves out one ingredient of the
learned detector after the other, on the same splice points, donors and folds:

    python benchmarks/splices.py HOME SEGMENT --step week --active-days 8 --seeds 1
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow.compute as pc

from report import recorded
from shift_assets.evaluate.splice_metrics import DetectorMetrics, detector_metrics
from shift_assets.evaluate.splices import LEARNED, Alerting, run_protocol
from shift_assets.interest.histories import Histories, histories
from shift_assets.settings.root import EvidenceSettings
from shift_assets.shift.detector.statistics import FEATURES, features
from shift_assets.shift.detector.window_ratios import WindowRatios
from shift_assets.shift.learned import shift_model
from shift_assets.shift.learned.splices import PARTIAL, UNSPLICED, Construction
from shift_assets.shift.learned.taste_clusters import TasteClusters, fit_taste_clusters
from shift_assets.workspace.home import open_workspace
from shift_assets.workspace.landed import load_series

WANTED = (
    UNSPLICED,
    Construction("random"),
    Construction("nearest_profile"),
    Construction("random", PARTIAL),
    Construction("gift", 1.0),
)
ALERTING = Alerting(EvidenceSettings(), flagged_share=0.02)
NOTHING = -12.0
RATIOS = ("mean_ratio", "longest_ratio", "longest_by_days")
PARTS = {
    "everything": (),
    "without taste clusters": ("clusters",),
    "without window ratios": RATIOS,
    "without the mean over windows": ("mean_ratio",),
    "without the posterior": ("posterior",),
    "without the e-value": ("evidence",),
    "without the days before": ("days_before", "longest_by_days"),
    "window ratios alone": ("posterior", "evidence"),
}
"""What is left out: names of FEATURES, or the taste clusters, instead of which all users share the segment's mix."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("segment")
    parser.add_argument("--step", choices=("day", "week"), default="day")
    parser.add_argument("--active-days", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--splice-points", type=int, default=300)
    arguments = parser.parse_args()
    series = load_series(open_workspace(arguments.home))
    found = histories(series.filter(pc.equal(series["segment"], arguments.segment)), arguments.step)
    print(f"| {'ingredients':36} | random | nearest profile | random, partial | gift |")
    print("|---|---|---|---|---|")
    for name, left_out in PARTS.items():
        with without(left_out):
            rows = evaluated(found, arguments)
        cells = {(row.kind, row.kept): f"{row.auc.value:.3f} ({row.recall_at_5_percent.value:.2f})" for row in rows}
        print(f"| {name:36} | " + " | ".join(cells[one] for one in WANTED[1:]) + " |", flush=True)


@contextmanager
def without(left_out: tuple[str, ...]) -> Iterator[None]:
    """Features of these names have one value in training and scoring, too small to open an alert by itself."""
    is_left_out = np.array([name in left_out for name in FEATURES])

    def some(log_e: np.ndarray, posterior: np.ndarray, ratios: WindowRatios) -> np.ndarray:
        values = features(log_e, posterior, ratios)
        return np.where(is_left_out & ~np.isnan(values), NOTHING, values)

    def one_cluster(days: np.ndarray, mix: np.ndarray, seed: int) -> TasteClusters:
        return fit_taste_clusters(days if "clusters" not in left_out else days[:0], mix, seed)

    with mock.patch.multiple(shift_model, features=some, fit_taste_clusters=one_cluster):
        yield


def evaluated(found: Histories, arguments: argparse.Namespace) -> list[DetectorMetrics]:
    scored = [
        one
        for seed in range(1, arguments.seeds + 1)
        for one in run_protocol(
            found,
            arguments.segment,
            {},
            seed=seed,
            active_days=arguments.active_days,
            alerting=ALERTING,
            constructions=WANTED,
            training_splice_points=arguments.splice_points,
        )
        if one.detector == LEARNED
    ]
    return detector_metrics(scored, samples=20, seed=1, days=[arguments.active_days])


if __name__ == "__main__":
    with recorded("12_spliced_users"):
        main()
