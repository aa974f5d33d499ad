"""Churn probabilities and warnings on the log of any installation, by weeks over its second half.

    python benchmarks/churn.py HOME [HOME ...]

Prints Markdown. Whatever predicts a day has seen nothing after it: parameters are refitted every week, on the
state of that day. In the same run: the base rate of the four weeks before, the rule "silent for three mean gaps", the
model without its calibration and with days of the shop instead of calendar days, and the `lifetimes` package where it
is installed. A home with the `labels.parquet` of the simulator is also asked for its planted churners.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from scipy.special import expit

from report import recorded
from shift_assets.arrays import BoolArray, Float64Array, Int64Array, offsets, ragged_index
from shift_assets.churn.bg_nbd import (
    HORIZON_DAYS,
    ChurnParameters,
    Visits,
    churn_probabilities,
    maximum_likelihood,
    no_visit_logit,
    visits_from_state,
)
from shift_assets.churn.calibration import calibration, fit_churn
from shift_assets.churn.warnings import ChurnObservation, ChurnWarnings, churn_transitions
from shift_assets.contracts.day import date_of, day_number
from shift_assets.interest.histories import Histories, histories
from shift_assets.privacy.pseudonym import load_key, pseudonym
from shift_assets.settings.root import ChurnSettings, StateSettings
from shift_assets.workspace.home import open_workspace
from shift_assets.workspace.landed import load_series

FIRST_FIT_DAYS = 56
RECENT_DAYS_CAPACITY = StateSettings().recent_active_days + StateSettings().reference_active_days
GAPS_OF_SILENCE = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("home", type=Path, nargs="+")
    for home in parser.parse_args().home:
        workspace = open_workspace(home)
        print(f"\n### {workspace.source.name}\n")
        measure(load_series(workspace), workspace.settings.churn, planted_churn(home, workspace.settings.privacy))
    print(f"\n{speed()}")


def planted_churn(home: Path, privacy: Path) -> dict[str, int] | None:
    """The simulator's churners by pseudonym, and the day each left; None where the log is not simulated."""
    labels = home / "labels.parquet"
    if not labels.exists():
        return None
    key = load_key(privacy)
    gone = pq.read_table(labels, filters=[("kind", "==", "churn")]).to_pylist()
    return {pseudonym(key, row["user_id"]): day_number(row["start_day"]) for row in gone}


def measure(series: pa.Table, settings: ChurnSettings, gone: dict[str, int] | None) -> None:
    """Prints calibration, reliability and warnings of every segment with enough users."""
    logs = {
        segment: Log(histories(series.filter(pc.equal(series["segment"], segment))))
        for segment in sorted(pc.unique(series["segment"]).to_pylist())
    }
    print("| segment | predicted by | predictions (weeks) | base rate | Brier | skill | mean gap of ten bins |")
    print("|---|---|---:|---:|---:|---:|---:|")
    pooled: dict[str, list[tuple[Float64Array, BoolArray]]] = defaultdict(list)
    for segment, log in logs.items():
        own: dict[str, list[tuple[Float64Array, BoolArray]]] = defaultdict(list)
        for day in log.weeks():
            for name, probability in predicted(log, day).items():
                own[name].append((probability, log.churned(day)))
        for name, looks in own.items():
            print(f"| {segment} | {name} | {scores(looks)} |")
        pooled["all"] += own.get("BG/NBD, calibrated", [])
    if not pooled["all"]:
        print("\nToo short: nothing could be fitted and awaited.")
        return
    probability, churned = (np.concatenate(part) for part in zip(*pooled["all"], strict=True))
    print("\nReliability, calibrated, all segments: predicted → came true (predictions)  ")
    print(
        "; ".join(
            f"{one['predicted']:.2f} → {one['observed']:.2f} ({one['n_users']:,})"
            for one in calibration(probability, churned)["reliability"]
        )
    )
    print("\n| segment | warnings | per 1,000 user-days | no visit in the 28 days after | planted churners warned of |")
    print("|---|---:|---:|---:|---|")
    for segment, log in logs.items():
        print(f"| {segment} | {warnings(log, settings, gone)} |")


class Log:
    """One segment's visits, and its state as of any day."""

    def __init__(self, of_segment: Histories) -> None:
        self.users, self.user_days = of_segment.users, of_segment.user_days
        self.user, self.day = self.user_days.user, self.user_days.day
        self.first, self.last = int(self.day.min()), int(self.day.max())

    def weeks(self) -> Iterator[int]:
        """The days, a week apart, of the second half that can be evaluated."""
        start = max((self.first + self.last) // 2, self.first + FIRST_FIT_DAYS)
        yield from range(start, self.last - HORIZON_DAYS + 1, 7)

    def churned(self, day: int) -> BoolArray:
        """Whether each user known on `day` stayed away in the horizon after it."""
        known = self.day[self.user_days.start[:-1]] <= day
        after = (self.day > day) & (self.day <= day + HORIZON_DAYS)
        return np.equal(np.bincount(self.user[after], minlength=len(self.users)), 0)[known]

    def state(self, day: int, *, with_recent_days: bool = False) -> pa.Table:
        """The columns of the interest state that describe visits, users known on `day` in order."""
        visits = np.bincount(self.user[self.day <= day], minlength=len(self.users))
        known = np.flatnonzero(visits)
        visits, start = visits[known], self.user_days.start[:-1][known]
        last, first = self.day[start + visits - 1], self.day[start]
        columns = {
            "user_id": self.users.take(pa.array(known)),
            "last_active_day": pa.array(last.astype(np.int32)).cast(pa.date32()),
            "active_days": pa.array(visits),
            "gap_count": pa.array(visits - 1),
            "gap_mean_days": pa.array((last - first) / np.maximum(visits - 1, 1), mask=visits == 1),
        }
        if with_recent_days:
            kept = np.minimum(visits, RECENT_DAYS_CAPACITY)
            entries = ragged_index(start + visits - kept, kept)
            days = pa.array(self.day[entries].astype(np.int32)).cast(pa.date32())
            ring = pa.StructArray.from_arrays([days], names=["day"])
            columns["recent_days"] = pa.ListArray.from_arrays(pa.array(offsets(kept).astype(np.int32)), ring)
        return pa.table(columns)

    def shop_visits(self, day: int) -> tuple[Visits, float]:
        """The visits counted in days of the shop, and how many of these the horizon has by the last 90 days."""
        users = np.bincount(self.day - self.first, minlength=day - self.first + 1)[: day - self.first + 1]
        usual = np.array([np.median(users[max(0, at - HORIZON_DAYS) : at + 1]) for at in range(len(users))])
        clock = np.cumsum(users > usual / 10, dtype=np.int64)
        calendar = visits_from_state(self.state(day), as_date(day))
        begin = (day - calendar.age).astype(np.int64) - self.first
        end = begin + calendar.recency.astype(np.int64)
        look_back = min(90, len(clock) - 1)
        rate = (clock[-1] - clock[-1 - look_back]) / look_back
        shop = Visits(
            calendar.frequency, (clock[end] - clock[begin]).astype(float), (clock[-1] - clock[begin]).astype(float)
        )
        return shop, rate


def predicted(log: Log, day: int) -> dict[str, Float64Array]:
    """P(no visit in the horizon) of every user known on `day`, by each way; nothing where there is no fit."""
    state = log.state(day, with_recent_days=True)
    fitted = fit_churn(state, as_date(day))
    if fitted is None:
        return {}
    visits = visits_from_state(state, as_date(day))
    before = log.churned(day - HORIZON_DAYS)
    gap = np.where(visits.frequency > 0, visits.recency / np.maximum(visits.frequency, 1), HORIZON_DAYS)
    shop, rate = log.shop_visits(day)
    found = {
        "BG/NBD, calibrated": churn_probabilities(state, fitted, as_date(day)),
        "BG/NBD": expit(no_visit_logit(visits, fitted)),
        "BG/NBD on days of the shop": no_visit(shop, maximum_likelihood(shop), HORIZON_DAYS * rate),
        "base rate of the four weeks before": np.full(len(visits), before.mean()),
        "silent for three mean gaps": ((visits.age - visits.recency) > GAPS_OF_SILENCE * gap).astype(float),
    }
    if importlib.util.find_spec("lifetimes"):
        from lifetimes import BetaGeoFitter
        from lifetimes.utils import ConvergenceError

        with suppress(ConvergenceError), redirect_stdout(io.StringIO()):  # weeks that it cannot fit are left out
            peer = BetaGeoFitter().fit(visits.frequency, visits.recency, visits.age)
            theirs = ChurnParameters(**{name: float(peer.params_[name]) for name in ("r", "alpha", "a", "b")})
            found["BG/NBD fitted by lifetimes"] = expit(no_visit_logit(visits, theirs))
    return found


def no_visit(visits: Visits, parameters: ChurnParameters, horizon: float) -> Float64Array:
    """P(no visit) in a horizon of any length, as `no_visit_logit` has it for its own."""
    scale = HORIZON_DAYS / horizon
    scaled = Visits(visits.frequency, visits.recency * scale, visits.age * scale)
    return np.asarray(expit(no_visit_logit(scaled, replace(parameters, alpha=parameters.alpha * scale))))


def scores(looks: list[tuple[Float64Array, BoolArray]]) -> str:
    probability, churned = (np.concatenate(part) for part in zip(*looks, strict=True))
    found = calibration(probability, churned)
    bins = np.array_split(np.argsort(probability, kind="stable"), 10)
    gap = sum(abs(probability[one].sum() - churned[one].sum()) for one in bins) / len(churned)
    return (
        f"{len(churned):,} ({len(looks)}) | {found['base_rate']:.3f} | {found['brier']:.4f} "
        f"| {found['brier_skill']:.3f} | {gap:.3f}"
    )


def warnings(log: Log, settings: ChurnSettings, gone: dict[str, int] | None) -> str:
    """The warnings opened in the second half, day by day as in service, and what followed them."""
    start = next(log.weeks(), log.last)
    probability, is_open = np.full(len(log.users), np.nan), np.zeros(len(log.users), dtype=bool)
    opened: list[tuple[int, Int64Array]] = []
    parameters, user_days = None, 0
    for day in range(start, log.last + 1):
        if parameters is None or (day - start) % 7 == 0:
            parameters = fit_churn(log.state(day, with_recent_days=True), as_date(day))
        state = log.state(day)
        if parameters is None:
            continue
        user = pc.index_in(state["user_id"], value_set=log.users).to_numpy()
        observation = ChurnObservation(
            churn_probabilities(state, parameters, as_date(day)),
            state["active_days"].to_numpy(),
            np.asarray(pc.equal(state["last_active_day"], as_date(day))),
        )
        step = churn_transitions(ChurnWarnings(probability[user], is_open[user]), observation, settings)
        probability[user], is_open[user] = step.now.probability, step.now.is_open
        opened.append((day, user[step.opened]))
        user_days += len(user)
    evaluated = [(day, user) for day, users in opened if day <= log.last - HORIZON_DAYS for user in users]
    away = [
        not ((log.user == user) & (log.day > day) & (log.day <= day + HORIZON_DAYS)).any() for day, user in evaluated
    ]
    number = sum(len(users) for _, users in opened)
    found = f"{number:,} | {1000 * number / max(user_days, 1):.2f} | {np.mean(away) if away else float('nan'):.3f}"
    return f"{found} ({len(away):,}) | {planted(log, opened, gone, start)}"


def planted(log: Log, opened: list[tuple[int, Int64Array]], gone: dict[str, int] | None, start: int) -> str:
    """Of the planted churners with a rhythm, gone between the start and four weeks before the end: how many, when."""
    if gone is None:
        return "–"
    delays, asked = [], 0
    for user, name in enumerate(log.users.to_pylist()):
        rhythm = log.user_days.n_days[user] >= ChurnSettings().minimum_active_days
        if rhythm and start <= gone.get(name, -1) <= log.last - HORIZON_DAYS:
            asked += 1
            delays += [day - gone[name] for day, users in opened if day >= gone[name] and user in users][:1]
    return f"{len(delays)} of {asked}, median {np.median(delays) if delays else float('nan'):.0f} days after they left"


def speed(users: int = 1_000_000) -> str:
    random = np.random.default_rng(0)
    count = random.poisson(3, users)
    state = pa.table(
        {
            "user_id": pa.array([f"{number:032x}" for number in range(users)]),
            "last_active_day": pa.array(random.integers(20_000, 20_300, users).astype(np.int32)).cast(pa.date32()),
            "gap_count": pa.array(count),
            "gap_mean_days": pa.array(random.uniform(1, 40, users), mask=count == 0),
        }
    )
    yesterday = ChurnWarnings(random.uniform(size=users), np.zeros(users, dtype=bool))
    start = time.process_time()
    found = churn_probabilities(state, ChurnParameters(0.7, 50.0, 0.2, 2.5, 0.1, 1.05), as_date(20_300))
    churn_transitions(yesterday, ChurnObservation(found, count + 1, random.random(users) < 0.1), ChurnSettings())
    return (
        f"A day's probabilities and transitions of {users:,} users: {time.process_time() - start:.2f} s of processor."
    )


def as_date(day: int) -> date:
    return date_of(int(day))


if __name__ == "__main__":
    with recorded("11_churn"):
        main()
