"""Speed and memory of the evidence and its alerts against public peers: the `--speed` mode of `benchmarks/shifts.py`.

Histories are drawn directly: 60 days, 20 categories, 78.5 % of the days active, a few events each. Each size runs
in a process of its own, so that its peak memory, which includes the histories, is its own. Compilation is left out.
"""

from __future__ import annotations

import math
import multiprocessing
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import numpy as np
import pyarrow as pa

import shift_peers as peers
from report import recorded
from shift_assets.arrays import CategoryCodes, offsets
from shift_assets.contracts.cleaning import BEHAVIORS
from shift_assets.evaluate.opened_alerts import opening_entries
from shift_assets.interest.histories import Histories
from shift_assets.interest.user_days import UserDays
from shift_assets.settings.root import EvidenceSettings
from shift_assets.shift.detector.base import Detector
from shift_assets.shift.detector.evidence import trace

DAYS, CATEGORIES, ACTIVE = 60, 20, 0.785
USERS = (25_000, 50_000, 100_000, 212_500)
"""The last makes ten million active user-days."""
STATED = 100_000
PEER_USERS = 300
_USERS_AT_ONCE = 2_500


class Measured(NamedTuple):
    """One run."""

    user_days: int
    seconds: float  # of processor time
    alerts: int
    megabytes: float  # peak of the process
    megabytes_before: float  # peak when the histories stood


def random_histories(users: int, seed: int = 1) -> Histories:
    """Stable users, whose events follow a mix of their own."""
    random = np.random.default_rng(seed)
    active = random.random((users, DAYS)) < ACTIVE
    user, day = np.nonzero(active)
    categories, scores, met = [], [], []
    for first in range(0, users, _USERS_AT_ONCE):
        here = np.flatnonzero((user >= first) & (user < first + _USERS_AT_ONCE))
        mix = random.standard_gamma(3.0 / CATEGORIES, (min(_USERS_AT_ONCE, users - first), CATEGORIES)) + 1e-6
        upper = np.cumsum(mix / mix.sum(axis=1, keepdims=True), axis=1).astype(np.float32)
        entry = np.repeat(np.arange(len(here)), 1 + random.poisson(3.2, len(here)))
        draw = random.random(len(entry), dtype=np.float32)
        category = (upper[user[here][entry] - first] < draw[:, None]).sum(axis=1).clip(max=CATEGORIES - 1)
        count = np.bincount(entry * CATEGORIES + category, minlength=len(here) * CATEGORIES)
        cell = np.flatnonzero(count)
        categories.append(cell % CATEGORIES)
        scores.append(count[cell].astype(np.float64))
        met.append(np.bincount(cell // CATEGORIES, minlength=len(here)))
    user_days = UserDays(
        start=offsets(active.sum(axis=1)),
        day=day.astype(np.int64),
        score_start=offsets(np.concatenate(met)),
        category=np.concatenate(categories),
        score=np.concatenate(scores),
        counts=np.zeros((len(day), len(BEHAVIORS)), dtype=np.int32),
    )
    names = pa.array([f"u{number:07d}" for number in range(users)])
    return Histories(names, CategoryCodes(pa.array([f"c{k:02d}" for k in range(CATEGORIES)])), user_days)


def ours(users: int) -> Measured:
    """Evidence of every active day, and the alerts at one in a hundred."""
    trace(random_histories(50), EvidenceSettings())
    log = random_histories(users)
    before = _peak()
    begun = time.process_time()
    alerts = opening_entries(log, trace(log, EvidenceSettings()).log_e, math.log(100))
    return Measured(len(log.user_days.day), time.process_time() - begun, len(alerts), _peak(), before)


def peer_seconds(detector: Detector) -> float:
    """Processor time of a peer for `PEER_USERS` users."""
    log = random_histories(PEER_USERS)
    detector.score(random_histories(3))
    begun = time.process_time()
    detector.score(log)
    return time.process_time() - begun


def main() -> None:
    print("| users | active user-days | CPU s | user-days/s | alerts | peak MiB | of which histories |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    rate = math.nan
    for users in USERS:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            run = pool.submit(ours, users).result()
        rate = run.user_days / run.seconds if users == STATED else rate
        print(
            f"| {users:,} | {run.user_days:,} | {run.seconds:.1f} | {run.user_days / run.seconds:,.0f} | {run.alerts} "
            f"| {run.megabytes:,.0f} | {run.megabytes_before:,.0f} |"
        )
    user_days = len(random_histories(PEER_USERS).user_days.day)
    print(
        f"\n| {STATED:,} users x {DAYS} days x {CATEGORIES} categories | user-days/s | CPU s |\n| --- | ---: | ---: |"
    )
    rates = {"evidence and alerts": rate}
    detectors: dict[str, Detector] = {
        "river ADWIN, default": peers.adwin(),
        "river ADWIN, every day": peers.adwin(0.5),
        "river Page-Hinkley, default": peers.page_hinkley(),
        "ruptures KernelCPD, nightly on 40 days": peers.NightlyKernelCPD("", 3.0),
    }
    for name, detector in detectors.items():
        rates[f"{name} ({PEER_USERS} users, extrapolated)"] = user_days / peer_seconds(detector)
    for name, each in rates.items():
        print(f"| {name} | {each:,.0f} | {STATED * user_days / PEER_USERS / each:,.1f} |")


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    with recorded("14_evidence_speed"):
        main()
