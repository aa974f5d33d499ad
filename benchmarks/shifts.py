"""Interest-shift detectors side by side on simulated logs whose truth is known: one run, one table.

Run, after `pip install river ruptures`: `python benchmarks/shifts.py` (`--help`: users, seeds, scenarios, detectors).
Speed and memory instead: `python benchmarks/shifts.py --speed`.

Every detector is shown in up to three treatments: at a line fixed beforehand ("as it is"), with the setting and
threshold that were best in the base scenario of other seeds ("tuned"), and with those that are best on the very logs
that are evaluated ("best here", which flatters). Our evidence has one setting; the others have grids.

`--product` adds the alerts as the product opens them, through state and alerts from day to day, by each rule; at a
stated q the realised share of false alerts is 1 - P. The self-checks, which fit the learned detector on the log itself,
are made every three weeks instead of every week. It takes about a minute of processor time per rule, scenario and seed:
choose few.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import shift_peers as peers
from report import recorded
from shift_assets.arrays import Float64Array, Int64Array, ragged_index
from shift_assets.contracts.shift import DETECTOR_SELF_CHECK
from shift_assets.evaluate.detector_self_check import self_check
from shift_assets.evaluate.opened_alerts import alerts_from_scores, alerts_from_table
from shift_assets.evaluate.simulated import FOUND_WITHIN, Rate, ShiftScore, Truth, pool, score_alerts, truth_of
from shift_assets.evaluate.threshold_sweep import (
    OperatingPoint,
    best_threshold,
    pool_points,
    recall_at,
    share_over_threshold,
    sweep,
    thresholds_of,
)
from shift_assets.interest.histories import Histories, histories
from shift_assets.settings.root import AlertSettings, EvidenceSettings, Settings
from shift_assets.shift.alerts.detector_selection import MODEL_FOLDER
from shift_assets.shift.alerts.shift_alerts import shift_alerts
from shift_assets.shift.baselines.g_test import GTest
from shift_assets.shift.baselines.raw_bocpd import RawBocpd
from shift_assets.shift.baselines.split_gain import SplitGain
from shift_assets.shift.baselines.window_distances import JensenShannonDistance, ShareGap
from shift_assets.shift.detector.base import Detector, EValue, Posterior
from shift_assets.shift.detector.evidence import trace
from shift_assets.shift.detector.signals import shift_signals
from shift_assets.shift.detector.state import advance_range
from shift_assets.shift.learned.shift_model import ShiftModel
from shift_assets.simulate.interest_series import simulated_series
from shift_assets.simulate.scenarios import SCENARIOS, scenario

FIRST_CHECK, CHECK_EVERY = 41, 21
"""Day of the log's first self-check, and days from one to the next; a choice applies for four weeks."""


class Line(NamedTuple):
    """One way to run an entrant."""

    setting: str
    threshold: float


@dataclass(frozen=True)
class Entrant:
    """A detector with its grid of settings; `fixed` holds the lines that were known beforehand."""

    settings: dict[str, Detector]
    fixed: dict[str, Line] = field(default_factory=dict)
    thresholds: Callable[[Float64Array], Float64Array] = thresholds_of


@dataclass(frozen=True)
class Case:
    """One simulated log."""

    log: Histories
    truth: Truth
    segments: list[Int64Array]  # users of each segment
    series: pa.Table
    days: list[date]


class Scored(NamedTuple):
    """What a detector said of a log."""

    scores: Float64Array  # [entry]
    onset: Int64Array | None  # [entry]


def alert_or_not(_: Float64Array) -> Float64Array:
    return np.array([1.0])


WINDOWS = ((7, 28), (5, 15), (10, 30), (14, 42))
ENTRANTS: dict[str, Callable[[], Entrant]] = {
    "e_value": lambda: Entrant(
        {"": EValue(EvidenceSettings())}, {f"A={a}": Line("", math.log(a)) for a in (10, 30, 100)}
    ),
    "posterior": lambda: Entrant({"": Posterior(EvidenceSettings())}, {"P=.5": Line("", 0.0)}),
    "js_distance": lambda: Entrant(
        {f"{a}/{b}": JensenShannonDistance(a, b) for a, b in WINDOWS},
        {"documents": Line("7/28", AlertSettings().distribution_distance)},
    ),
    "share_gap": lambda: Entrant(
        {f"{a}/{b}": ShareGap(a, b) for a, b in WINDOWS}, {"documents": Line("7/28", AlertSettings().interest_gap)}
    ),
    "g_test": lambda: Entrant({f"{a}/{b}": GTest(a, b) for a, b in WINDOWS}, {"z=5": Line("7/28", 5.0)}),
    "split_gain": lambda: Entrant({f"{days} days": SplitGain(days) for days in (40, 60, 90)}),
    "raw_bocpd": lambda: Entrant(
        {f"h={h},w={w}": RawBocpd(recent=w, hazard=h) for h in (0.001, 0.01) for w in (7, 15)},
        {"P=.5": Line("h=0.01,w=7", 0.0)},
    ),
    "river_adwin": lambda: _binary(
        [peers.adwin(), *(peers.adwin(d) for d in (0.002, 0.05, 0.3, 0.5, 0.7, 0.95, 0.99))]
    ),
    "river_page_hinkley": lambda: _binary(
        [peers.page_hinkley(), *(peers.page_hinkley(t, d) for t in (1.0, 1.5, 2.0, 4.0) for d in (0.1, 0.2, 0.3))]
    ),
    "kernel_cpd_nightly": lambda: _binary(
        [peers.NightlyKernelCPD(f"penalty={p}", p) for p in (2.0, 2.5, 2.75, 3.0, 3.25, 3.5, 4.0)], default=False
    ),
}


def _binary(detectors: Sequence[Detector], *, default: bool = True) -> Entrant:
    """Detectors that say alert or not; the first is the default setting."""
    settings = {detector.name: detector for detector in detectors}
    return Entrant(settings, {"default": Line(detectors[0].name, 1.0)} if default else {}, alert_or_not)


def case(name: str, users: int, seed: int) -> Case:
    simulation = scenario(name, users, seed)  # type: ignore[arg-type]
    made = simulated_series(simulation)
    log = histories(made.series)
    segment = np.array([made.segments[user] for user in log.users.to_pylist()])
    return Case(
        log,
        truth_of(made.labels, log, simulation.first_day, simulation.last_day),
        [np.flatnonzero(segment == key) for key in np.unique(segment)],
        made.series,
        [simulation.first_day + timedelta(days=index) for index in range(simulation.days)],
    )


def scored(detector: Detector, log: Case) -> Scored:
    """What `detector` says, segment by segment."""
    user_days = log.log.user_days
    scores, onset = np.full(len(user_days.day), np.nan), np.full(len(user_days.day), -1)
    is_evidence = isinstance(detector, EValue | Posterior)
    for users in log.segments:
        entries = ragged_index(user_days.start[users], user_days.n_days[users])
        part = log.log.take_users(users)
        scores[entries] = detector.score(part)
        if isinstance(detector, EValue | Posterior):
            own = trace(part, detector.settings).onset
            onset[entries] = np.where(own >= 0, entries[own], -1)
    return Scored(scores, onset if is_evidence else None)


def swept(
    cases: Sequence[Case], results: Sequence[Scored], entrant: Entrant, more: Sequence[float] = ()
) -> list[OperatingPoint]:
    """What every threshold gives in all cases together, those in `more` among them."""
    thresholds = np.union1d(entrant.thresholds(np.concatenate([result.scores for result in results])), more)
    return pool_points(
        [sweep(log.log, result.scores, log.truth, thresholds) for log, result in zip(cases, results, strict=True)]
    )


def best_line(points: dict[str, list[OperatingPoint]]) -> Line:
    lines = [Line(setting, best_threshold(swept_points)) for setting, swept_points in points.items()]
    f1 = {line: max(point.f1 for point in points[line.setting]) for line in lines}
    return max(lines, key=f1.__getitem__)


def tuned_line(entrant: Entrant, cases: Sequence[Case]) -> Line:
    return best_line(
        {
            setting: swept(cases, [scored(detector, log) for log in cases], entrant)
            for setting, detector in entrant.settings.items()
        }
    )


def rows_of(name: str, entrant: Entrant, tuned: Line, cases: Sequence[Case]) -> list[dict[str, object]]:
    """The scores on an entrant in one scenario, one per treatment."""
    results = {setting: [scored(d, log) for log in cases] for setting, d in entrant.settings.items()}
    lines = {f"as it is, {label}": line for label, line in entrant.fixed.items()} | {"tuned": tuned}
    points = {
        setting: swept(cases, result, entrant, [line.threshold for line in lines.values() if line.setting == setting])
        for setting, result in results.items()
    }
    lines["best here"] = best_line(points)
    rows = []
    for treatment, (setting, threshold) in lines.items():
        pairs = list(zip(cases, results[setting], strict=True))
        scores = [
            score_alerts(alerts_from_scores(log.log, r.scores, threshold, r.onset), log.truth, log.log)
            for log, r in pairs
        ]
        over = [share_over_threshold(log.log, r.scores, log.truth, threshold) for log, r in pairs]
        curve = points[setting] if len(points[setting]) > 1 else [p for each in points.values() for p in each]
        rows.append(
            {"detector": name, "treatment": treatment, "setting": setting, "threshold": threshold}
            | summary(pool(scores), curve)
            | {"f1_of_each_seed": [v.f1 for v in scores]}
            | {"unplanted_days_over_line": Rate(sum(o.some for o in over), sum(o.of for o in over)).share}
        )
    return rows


def product_rows(cases: Sequence[Case]) -> list[dict[str, object]]:
    """The scores on the product's own alerts in one scenario, one per rule."""
    rules: dict[str, dict[str, object]] = {
        "flagged 2 %": {"rule": "flagged_share", "flagged_share": 0.02},
        "A=10": {"rule": "average_run_length", "average_run_length": 10.0},
    }
    rules |= {f"q={q}": {"rule": "discovery", "false_discovery_rate": q} for q in (0.05, 0.1, 0.2)}
    rows = []
    for label, rule in rules.items():
        settings = Settings(alerts=AlertSettings.model_validate(rule))
        scores = [
            score_alerts(alerts_from_table(product_alerts(log, settings), log.log), log.truth, log.log) for log in cases
        ]
        rows.append({"detector": "shift_alerts", "treatment": f"as it is, {label}"} | summary(pool(scores), []))
    return rows


def product_alerts(log: Case, settings: Settings) -> pa.Table:
    """`shift_alerts` of all days and segments; by rule `flagged_share` a detector is fitted every CHECK_EVERY days."""
    alerts = []
    for segment in sorted(set(log.series["segment"].unique().to_pylist())):
        series = log.series.filter(pc.equal(log.series["segment"], segment))
        models: dict[str, ShiftModel] = {}
        checks = DETECTOR_SELF_CHECK.empty()
        if settings.alerts.rule == "flagged_share":
            checks, models = self_checks(series, log.days, segment, settings)
        states = advance_range(
            None,
            series,
            log.days,
            segment,
            settings,
            checks=checks,
            model_of=lambda chosen, models=models: models.get(chosen.model_path),  # type: ignore[misc]
            p_values_from=log.days[0] if settings.alerts.rule == "discovery" else log.days[-1],
        )
        for _, state in states:
            alerts.append(shift_alerts(state, shift_signals(state, settings), settings, checks))
    return pa.concat_tables(alerts)


def self_checks(
    series: pa.Table, days: Sequence[date], segment: str, settings: Settings
) -> tuple[pa.Table, dict[str, ShiftModel]]:
    """Rows of the segment's self-checks, on every CHECK_EVERY-th day, and the learned detectors by their path."""
    rows, models = [DETECTOR_SELF_CHECK.empty()], {}
    for day in days[FIRST_CHECK::CHECK_EVERY]:
        first = day - timedelta(days=settings.self_check.window_days - 1)
        window = series.filter(
            pc.and_(pc.greater_equal(series["day"], pa.scalar(first)), pc.less_equal(series["day"], pa.scalar(day)))
        )
        checked = self_check(window, day, segment, settings)
        path = digest = None
        if checked.model:
            path, digest = f"{MODEL_FOLDER}/{day}", hashlib.sha256(checked.model.to_bytes()).hexdigest()
            models[path] = checked.model
        rows.append(checked.with_model_path(path, digest))
    return pa.concat_tables(rows), models


def summary(score: ShiftScore, curve: Sequence[OperatingPoint]) -> dict[str, object]:
    """Every figure of a score; `curve`, if any, is what other thresholds (or settings) would have given."""

    def middle(values: Float64Array, how: Callable[[Float64Array], float]) -> float:
        return float(how(values)) if len(values) else math.nan

    return {
        "f1": score.f1,
        "precision": score.precision.share,
        "recall_detectable": score.recall_detectable.share,
        "recall": score.recall.share,
        "detectable": score.recall_detectable.of,
        "late": score.late,
        "delay_days_mean": middle(score.delay_days, np.mean),
        "delay_days_median": middle(score.delay_days, np.median),
        "delay_active_days_mean": middle(score.delay_active_days, np.mean),
        "delay_active_days_median": middle(score.delay_active_days, np.median),
        "false_per_1000_user_days": score.false_user_days.per_thousand,
        "false_per_1000_active_days": score.false_active_days.per_thousand,
        "false_on_promotions_per_1000_user_days": score.false_on_promotions.per_thousand,
        **({f"recall_at_{rate}": recall_at(curve, rate) for rate in (0.1, 0.5)} if curve else {}),
        "onset_within_2": score.onset_right.share,
        "first_risen_right": score.first_risen.share,
        "risen_overlap": middle(score.risen_overlap, np.mean),
        **{f"recall_{kind}": score.recall_by_kind[kind].share for kind in FOUND_WITHIN if kind in score.recall_by_kind},
        **{f"false_{kind}_per_1000_user_days": rate.per_thousand for kind, rate in sorted(score.false_by_kind.items())},
    }


COLUMNS = {
    "scenario": "scenario",
    "detector": "detector",
    "treatment": "treatment",
    "setting": "setting",
    "f1": "F1",
    "precision": "P",
    "recall_detectable": "R",
    "recall": "R of all",
    "recall_at_0.1": "R at FA .1",
    "recall_at_0.5": "R at FA .5",
    "delay_days_mean": "delay d",
    "delay_active_days_median": "delay active d",
    "false_per_1000_user_days": "FA/1000ud",
    "false_gift_per_1000_user_days": "gift FA",
    "onset_within_2": "start ±2",
    "first_risen_right": "top risen",
    "risen_overlap": "overlap",
    "unplanted_days_over_line": "over line",
}
"""Column of a row to its heading."""


def markdown(rows: Sequence[dict[str, object]]) -> str:
    def text(name: str, value: object) -> str:
        if not isinstance(value, float):
            return str(value)
        return (
            f"{value:.1f}"
            if name.startswith("delay")
            else f"{value:.4f}"
            if name.endswith("over_line")
            else f"{value:.3f}"
        )

    lines = [" | ".join(COLUMNS.values()), " | ".join("---" for _ in COLUMNS)]
    lines += [" | ".join(text(name, row.get(name, "")) for name in COLUMNS) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=2_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[90_001, 90_002, 90_003])
    parser.add_argument("--tuning-seeds", type=int, nargs="+", default=[80_001])
    parser.add_argument("--scenarios", nargs="+", default=list(SCENARIOS), choices=SCENARIOS)
    parser.add_argument("--detectors", nargs="*", default=list(ENTRANTS), choices=list(ENTRANTS))
    parser.add_argument("--product", action="store_true", help="add the alerts as the product opens them")
    parser.add_argument("--json", type=Path, help="file that gets every figure")
    parser.add_argument("--speed", action="store_true", help="measure speed and memory instead")
    given = parser.parse_args()
    if set(given.seeds) & set(given.tuning_seeds):
        parser.error("the seeds that are evaluated must not be those that are tuned on")
    if given.speed:
        import shift_speed

        shift_speed.main()
        return
    entrants = {name: ENTRANTS[name]() for name in given.detectors}
    begun = time.process_time()
    tuning = [case("base", given.users, seed) for seed in given.tuning_seeds]
    tuned = {name: tuned_line(entrant, tuning) for name, entrant in entrants.items()}
    rows: list[dict[str, object]] = []
    for name in given.scenarios:
        cases = [case(name, given.users, seed) for seed in given.seeds]
        for detector, entrant in entrants.items():
            rows += [{"scenario": name} | row for row in rows_of(detector, entrant, tuned[detector], cases)]
        rows += [{"scenario": name} | row for row in (product_rows(cases) if given.product else [])]
        print(f"{name}: {time.process_time() - begun:.0f} s of processor time so far", file=sys.stderr)
    print(markdown(rows))
    if given.json:
        given.json.write_text(
            json.dumps({"arguments": vars(given) | {"json": str(given.json)}, "rows": rows}, indent=1)
        )


if __name__ == "__main__":
    with recorded("13_simulated_alerts"):
        main()
