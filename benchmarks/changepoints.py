"""Change points at default settings: `python benchmarks/changepoints.py [--annotated FILE]`.

Needs `pip install river ruptures`. FILE: JSON with `series` (name: values) and `annotations` (name: lists of change
points, one per annotator), for instance made from the Turing change-point data set, which is not redistributed here.
Of its series in alphabetical order every second one, from the second on, is held out: nothing was tuned on those.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from report import recorded
from shift_assets.arrays import Float64Array
from shift_assets.evaluate.change_point_metrics import covering, f_measure
from shift_assets.shift.segment.change_points import change_points, online_changes

LENGTHS = (30, 60, 120, 300, 600)


class Case(NamedTuple):
    family: str
    values: Float64Array
    marked: list[list[int]]
    period: int | None = None


def cases(seed: int, repetitions: int) -> list[Case]:
    """Simulated series of known change points, sixteen families, half of them without any."""
    found: list[Case] = []
    random = np.random.default_rng(seed)
    for _ in range(repetitions):
        n = int(random.choice(LENGTHS))
        places = np.arange(10, n - 9, max(10, n // 12))
        changes = sorted(
            int(at) for at in random.choice(places, random.integers(0, 1 + min(4, n // 30)), replace=False)
        )
        regime = np.searchsorted(changes, np.arange(n), side="right")
        jumps = random.choice([-1, 1], len(changes) + 1) * random.uniform(2, 5, len(changes) + 1)
        level, age = np.cumsum(jumps)[regime], np.arange(n) / n
        noise, heavy, walk = random.normal(size=n), random.standard_t(3, n), np.cumsum(random.normal(size=n))
        rare = 12 * random.choice([-1, 1], n) * (random.permutation(n) < max(1, n // 50))
        own_past = np.convolve(random.normal(size=n + 60), 0.6 ** np.arange(60))[60 : n + 60]
        longer = np.convolve(random.normal(size=n + 60), 0.8 ** np.arange(60))[60 : n + 60]
        week = 2 * np.sin(2 * np.pi * np.arange(n) / 7) + 3 * (np.arange(n) % 7 > 4)
        slope = np.cumsum((np.sign(jumps) * random.uniform(4, 8, len(jumps)))[regime]) * 4 / n * len(jumps)
        found += [
            Case("steps", level + noise, [changes]),
            Case("steps, heavy tails", level + heavy, [changes]),
            Case("steps, outliers", level + noise + rare, [changes]),
            Case("steps, autocorrelated", level + 0.8 * own_past, [changes]),
            Case("steps, weekly", level + noise + week, [changes], 7),
            Case("steps of counts", random.poisson(20 * np.exp(np.clip(level / 4, -3, 3))).astype(float), [changes]),
            Case("steps of spread", np.where(regime % 2 == 0, 1, 4) * noise, [changes]),
            Case("broken trends", slope + 0.7 * noise, [changes]),
            Case("steps on a trend", level + 8 * age + noise, [changes]),
            Case("none: noise", noise, [[]]),
            Case("none: heavy tails", heavy, [[]]),
            Case("none: autocorrelated", longer, [[]]),
            Case("none: random walk", walk, [[]]),
            Case("none: trend", 20 * age + noise, [[]]),
            Case("none: weekly", 2 * week + noise, [[]], 7),
            Case("none: rare counts", random.poisson(0.7, n).astype(float), [[]]),
        ]
    return found


def standardised(case: Case) -> Float64Array:
    spread = case.values.std()
    return np.asarray((case.values - case.values.mean()) / (spread if spread > 0 else 1), dtype=np.float64)


def pelt(case: Case) -> list[int]:
    import ruptures

    ends: list[int] = ruptures.Pelt(model="l2").fit(standardised(case)).predict(pen=3 * np.log(len(case.values)))
    return ends[:-1]


def kernel(case: Case) -> list[int]:
    import ruptures

    ends: list[int] = ruptures.KernelCPD(kernel="rbf").fit(standardised(case)).predict(pen=np.log(len(case.values)))
    return ends[:-1]


def river(name: str) -> Callable[[Case], list[int]]:
    def detect(case: Case) -> list[int]:
        from river import drift

        detector, found = getattr(drift, name)(**({"seed": 0} if name == "KSWIN" else {})), []
        for at, value in enumerate(standardised(case)):
            detector.update(float(value))
            if detector.drift_detected:
                found.append(at)
        return found

    return detect


def online(case: Case) -> list[int]:
    """Change points reported as the values arrive, each placed where it was reported to begin."""
    reported = online_changes(case.values, period=case.period)
    flagged = reported.recent >= 0.5
    begins = np.arange(len(reported.recent)) - reported.run_length + 1
    first = np.flatnonzero(flagged & ~np.append(False, flagged[:-1]))
    return sorted({int(begins[at]) for at in first} - {0})


METHODS: dict[str, Callable[[Case], list[int]]] = {
    "never": lambda _: [],
    "river ADWIN": river("ADWIN"),
    "river PageHinkley": river("PageHinkley"),
    "river KSWIN": river("KSWIN"),
    "ruptures PELT l2, 3 log n": pelt,
    "ruptures KernelCPD rbf, log n": kernel,
    "online_changes": online,
    "change_points": lambda case: change_points(case.values, period=case.period).index.tolist(),
}


def table(title: str, evaluated: list[Case]) -> None:
    print(f"\n{title}: {len(evaluated)} series\n")
    print("| method | F1 | covering | false alerts per series without change | s |")
    print("|---|---:|---:|---:|---:|")
    for name, method in METHODS.items():
        began = time.process_time()
        answers = [method(case) for case in evaluated]
        seconds = time.process_time() - began
        f1 = np.mean([f_measure(case.marked, found) for case, found in zip(evaluated, answers, strict=True)])
        cover = np.mean(
            [covering(case.marked, found, len(case.values)) for case, found in zip(evaluated, answers, strict=True)]
        )
        empty = [len(found) for case, found in zip(evaluated, answers, strict=True) if not any(case.marked)]
        reported = f"{np.mean(empty):.2f}" if empty else "–"
        print(f"| {name} | {f1:.3f} | {cover:.3f} | {reported} | {seconds:.2f} |")


def families(evaluated: list[Case], names: tuple[str, ...]) -> None:
    print(f"\n| family | {' | '.join(names)} |\n|---|{'---:|' * len(names)}")
    for family in dict.fromkeys(case.family for case in evaluated):
        own = [case for case in evaluated if case.family == family]
        scores = (np.mean([f_measure(case.marked, METHODS[name](case)) for case in own]) for name in names)
        print(f"| {family} | {' | '.join(f'{score:.3f}' for score in scores)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--annotated", type=Path)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--repetitions", type=int, default=20)
    given = parser.parse_args()
    change_points(np.arange(20) % 3)  # compiles
    online_changes(np.arange(20) % 3)
    if given.annotated:
        log = json.loads(given.annotated.read_text(encoding="utf-8"))
        names = sorted(log["annotations"])
        for title, chosen in (
            ("Annotated, tuned on", names[::2]),
            ("Annotated, held out", names[1::2]),
            ("All", names),
        ):
            known = [name for name in chosen if name in log["series"]]
            table(title, [Case(name, np.array(log["series"][name]), log["annotations"][name]) for name in known])
    evaluated = cases(given.seed, given.repetitions)
    table("Simulated", evaluated)
    families(evaluated, ("never", "ruptures PELT l2, 3 log n", "online_changes", "change_points"))
    values = np.repeat([0.0, 3.0], 500) + np.random.default_rng(0).normal(size=1000)
    for answer in (change_points, online_changes):
        began = time.process_time()
        for _ in range(10):
            answer(values)
        print(f"\n{answer.__name__}: {100 * (time.process_time() - began):.1f} ms for 1,000 values")


if __name__ == "__main__":
    with recorded("09_change_points"):
        main()
