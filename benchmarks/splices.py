"""Spliced users on the real log of an installation: what each part of the learned detector is worth.

`shift-assets evaluate shifts --home H` gives the table of all detectors; this one leaves out one ingredient of the
learned detector after the other, on the same cuts, donors and folds:

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
from shift_assets.evaluate.splices import LEARNED, run_protocol
from shift_assets.interest.histories import Histories, histories
from shift_assets.shift.learned import shift_model
from shift_assets.shift.learned.features import FEATURES, features
from shift_assets.shift.learned.splices import PARTIAL, UNSPLICED, Construction
from shift_assets.workspace.home import open_workspace
from shift_assets.workspace.landed import load_series

WANTED = (
    UNSPLICED,
    Construction("random"),
    Construction("nearest_profile"),
    Construction("random", PARTIAL),
    Construction("gift", 1.0),
)
METRIC = ("same_user",)
CONTEXT = ("days", "categories_per_day", "dispersion", "entropy", "events_per_day")
PARTS = {
    "everything": (),
    "without the learned metric": METRIC,
    "without the Bayes factor": ("bayes_factor",),
    "without variance between and within": ("between_within",),
    "without distance and divergence": ("distance", "divergence"),
    "without unseen categories": ("unseen",),
    "without context": CONTEXT,
    "learned metric alone": tuple({name.rpartition("_")[0] or name for name in FEATURES} - {"same_user"}),
}
"""Prefixes of the features that are left out."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("segment")
    parser.add_argument("--step", choices=("day", "week"), default="day")
    parser.add_argument("--active-days", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--cuts", type=int, default=300)
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
def without(prefixes: tuple[str, ...]) -> Iterator[None]:
    """Features whose name begins so are 0 in training and scoring."""
    left_out = np.array([name.startswith(prefixes) if prefixes else False for name in FEATURES])

    def some(*arguments: object) -> np.ndarray:
        return np.where(left_out, 0.0, features(*arguments))  # type: ignore[arg-type]

    with mock.patch.object(shift_model, "features", some):
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
            constructions=WANTED,
            training_splice_points=arguments.cuts,
        )
        if one.detector == LEARNED
    ]
    return detector_metrics(scored, samples=20, seed=1, days=[arguments.active_days])


if __name__ == "__main__":
    with recorded("12_spliced_users"):
        main()
