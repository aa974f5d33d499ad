"""Churn probabilities and warnings on the log of any installation, by weeks over its second half.

    python benchmarks/churn.py HOME [HOME ...] [--heads SEGMENT ...]

Prints Markdown. Whatever predicts a day has seen nothing after it: the churn model is refitted every week, on the
state of that day. In the same run: BG/NBD alone, the base rate of the four weeks before, the rule "silent for three
mean gaps", BG/NBD with days of the shop instead of calendar days, and the `lifetimes` package where it is installed.
For the segments of `--heads` the interest model is trained from scratch every four weeks, as it would be served, and
its churn head is stacked. A home with the `labels.parquet` of the simulator is also asked for its planted churners.
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
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from scipy.special import expit

from report import recorded
from shift_assets.arrays import BoolArray, Float64Array, offsets, ragged_index
from shift_assets.churn.bg_nbd import (
    HORIZON_DAYS,
    ChurnParameters,
    Visits,
    maximum_likelihood,
    no_visit_logit,
    visits_from_state,
)
from shift_assets.churn.calibration import calibration, early_detection
from shift_assets.churn.model import HEAD_WINDOW_DAYS, HeadPredictions, fit_churn
from shift_assets.churn.predictions import churn_predictions
from shift_assets.churn.warnings import GONE_DAYS
from shift_assets.contracts.churn import CHURN_PREDICTIONS
from shift_assets.contracts.day import date_of, day_number
from shift_assets.contracts.models import MODEL_PREDICTIONS
from shift_assets.interest.histories import Histories, histories
from shift_assets.interest.series import interest_series
from shift_assets.privacy.pseudonym import load_key, pseudonym
from shift_assets.settings.root import ChurnSettings, Settings, StateSettings
from shift_assets.workspace.home import open_workspace
from shift_assets.workspace.landed import load_events

FIRST_FIT_DAYS = 56
RECENT_DAYS_CAPACITY = StateSettings().recent_active_days + StateSettings().reference_active_days
GAPS_OF_SILENCE = 3
RETRAIN_DAYS = 28
STATED = (0.6, 0.7, 0.8)
NO_HEADS = HeadPredictions(MODEL_PREDICTIONS.empty())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("home", type=Path, nargs="+")
    parser.add_argument("--heads", nargs="*", default=[], help="segments whose interest model is trained")
    given = parser.parse_args()
    for home in given.home:
        workspace = open_workspace(home.resolve())
        print(f"\n### {workspace.source.name}\n")
        events = load_events(workspace)
        series = interest_series(events, workspace.settings.interest, workspace.source.timezone)
        logs = {
            segment: Log(histories(series.filter(pc.equal(series["segment"], segment))))
            for segment in sorted(pc.unique(series["segment"]).to_pylist())
        }
        heads = {
            segment: trained_heads(events.filter(pc.equal(events["segment"], segment)), log, workspace.settings)
            for segment, log in logs.items()
            if segment in given.heads
        }
        measure(logs, heads, planted_churn(home, workspace.settings.privacy))
    print(f"\n{speed()}")


def trained_heads(events: pa.Table, log: Log, settings: Settings) -> HeadPredictions:
    """The churn head's predictions of every day, by models trained every `RETRAIN_DAYS` days on the window before."""
    from shift_assets.models.inference.predictions import predictions
    from shift_assets.models.training.train import train

    start = next(log.weeks(), log.last) - HEAD_WINDOW_DAYS
    rows, model = [MODEL_PREDICTIONS.empty()], None
    for number in range(max(start, log.first + FIRST_FIT_DAYS), log.last - HORIZON_DAYS + 1):
        day = date_of(number)
        if model is None or (number - start) % RETRAIN_DAYS == 0:
            before = events.filter(pc.less(events["day"], day))
            before = before.filter(pc.greater_equal(before["day"], day - timedelta(days=settings.model.window_days)))
            trained = train(
                before,
                day,
                settings.model,
                seed=settings.seed,
                tasks=settings.tasks,
                weights=settings.interest.weights,
                retrain_days=1,
            )
            model = trained.model
        if model is not None:
            rows.append(predictions(events, day, "all", model, settings.model.window_days))
    return HeadPredictions(pa.concat_tables(rows))


def planted_churn(home: Path, privacy: Path) -> dict[str, int] | None:
    """The simulator's churners by pseudonym, and the day each left; None where the log is not simulated."""
    labels = home / "labels.parquet"
    if not labels.exists():
        return None
    key = load_key(privacy)
    gone = pq.read_table(labels, filters=[("kind", "==", "churn")]).to_pylist()
    return {pseudonym(key, row["user_id"]): day_number(row["start_day"]) for row in gone}


def measure(logs: dict[str, Log], heads: dict[str, HeadPredictions], gone: dict[str, int] | None) -> None:
    """Prints calibration, reliability and warnings of every segment with enough users."""
    print("Users seen within 180 days, which are those of the daily table.\n")
    print("| segment | predicted by | predictions (weeks) | base rate | AUC | Brier | skill | calibration error |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    pooled: dict[str, list[tuple[Float64Array, BoolArray]]] = defaultdict(list)
    for segment, log in logs.items():
        own: dict[str, list[tuple[Float64Array, BoolArray]]] = defaultdict(list)
        for day in log.weeks():
            found, listed = predicted(log, day, heads.get(segment, NO_HEADS))
            for name, probability in found.items():
                own[name].append((probability[listed], log.churned(day)[listed]))
        for name, looks in own.items():
            print(f"| {segment} | {name} | {scores(looks)} |")
        pooled["all"] += own.get(SERVED, [])
    if not pooled["all"]:
        print("\nToo short: nothing could be fitted and awaited.")
        return
    probability, churned = (np.concatenate(part) for part in zip(*pooled["all"], strict=True))
    print("\nReliability of the served probability, all segments: predicted → came true (predictions)  ")
    print(
        "; ".join(
            f"{one['predicted']:.2f} → {one['observed']:.2f} ({one['n_users']:,})"
            for one in calibration(probability, churned)["reliability"]
        )
    )
    print("\nWarnings; early detection: share of the churners warned by so many days after the last visit.\n")
    print("| segment | stated precision | kept | warnings | days that have one | median threshold | early detection |")
    print("|---|---:|---:|---:|---:|---:|---|")
    for segment, log in logs.items():
        for stated in STATED:
            settings = ChurnSettings(precision=stated)
            print(f"| {segment} | {stated} | {warnings(log, heads.get(segment, NO_HEADS), settings, gone)} |")


SERVED = "as served"


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


def predicted(log: Log, day: int, heads: HeadPredictions) -> tuple[dict[str, Float64Array], BoolArray]:
    """P(no visit) of every user known on `day`, by each way, and who is listed; nothing without a fit."""
    state = log.state(day, with_recent_days=True)
    model = fit_churn(state, as_date(day), heads, ChurnSettings())
    visits = visits_from_state(state, as_date(day))
    listed = visits.away <= GONE_DAYS
    if model is None:
        return {}, listed
    before = log.churned(day - HORIZON_DAYS)
    shop, rate = log.shop_visits(day)
    none = np.full(len(visits), np.nan)
    head = heads.on(day, state["user_id"])
    found = {
        SERVED: model.probabilities(visits, head),
        "BG/NBD": expit(no_visit_logit(visits, model.parameters)),
        "BG/NBD on days of the shop": no_visit(shop, maximum_likelihood(shop), HORIZON_DAYS * rate),
        "base rate of the four weeks before": np.full(len(visits), before.mean()),
        "silent for three mean gaps": (visits.away > GAPS_OF_SILENCE * visits.gap).astype(float),
    }
    if np.isfinite(head).any():
        found["without the head"] = model.probabilities(visits, none)
        found["the head, else BG/NBD"] = np.where(np.isfinite(head), head, found["BG/NBD"])
    if importlib.util.find_spec("lifetimes"):
        from lifetimes import BetaGeoFitter
        from lifetimes.utils import ConvergenceError

        with suppress(ConvergenceError), redirect_stdout(io.StringIO()):  # weeks that it cannot fit are left out
            peer = BetaGeoFitter().fit(visits.frequency, visits.recency, visits.age)
            theirs = ChurnParameters(**{name: float(peer.params_[name]) for name in ("r", "alpha", "a", "b")})
            found["BG/NBD fitted by lifetimes"] = expit(no_visit_logit(visits, theirs))
    return found, listed


def no_visit(visits: Visits, parameters: ChurnParameters, horizon: float) -> Float64Array:
    """P(no visit) in a horizon of any length, as `no_visit_logit` has it for its own."""
    scale = HORIZON_DAYS / horizon
    scaled = Visits(visits.frequency, visits.recency * scale, visits.age * scale)
    return np.asarray(expit(no_visit_logit(scaled, replace(parameters, alpha=parameters.alpha * scale))))


def scores(looks: list[tuple[Float64Array, BoolArray]]) -> str:
    probability, churned = (np.concatenate(part) for part in zip(*looks, strict=True))
    found = calibration(probability, churned)
    return (
        f"{len(churned):,} ({len(looks)}) | {found['base_rate']:.3f} | {found['auc']:.4f} | {found['brier']:.4f} "
        f"| {found['brier_skill']:.3f} | {found['calibration_error']:.4f}"
    )


def warnings(log: Log, heads: HeadPredictions, settings: ChurnSettings, gone: dict[str, int] | None) -> str:
    """The warnings opened in the second half, day by day as in service, and what followed them."""
    start = next(log.weeks(), log.last)
    predictions, model = CHURN_PREDICTIONS.empty(), None
    opened: list[tuple[int, list[str]]] = []
    thresholds: list[float | None] = []
    for day in range(start, log.last + 1):
        state = log.state(day, with_recent_days=True)
        if (day - start) % 7 == 0:
            model = fit_churn(log.state(day - 1, with_recent_days=True), as_date(day - 1), heads, settings)
        predictions = churn_predictions(state, predictions, model, heads, settings, day=as_date(day), segment="all")
        is_new = pc.equal(pc.fill_null(predictions["warning"], ""), "opened")
        opened.append((day, predictions.filter(is_new)["user_id"].to_pylist()))
        thresholds.append(model.threshold.value if model else None)
    row = {user: number for number, user in enumerate(log.users.to_pylist())}
    away = [
        not ((log.user == row[user]) & (log.day > day) & (log.day <= day + HORIZON_DAYS)).any()
        for day, users in opened
        if day <= log.last - HORIZON_DAYS
        for user in users
    ]
    held = [threshold for threshold in thresholds if threshold is not None]
    curve = ", ".join(
        f"{one['warned']:.0%} by day {one['days']}"
        for one in early_detection(predictions, settings.minimum_active_days)
    )
    kept = f"{np.mean(away):.3f}" if away else "–"
    median = f"{np.median(held):.2f}" if held else "–"
    found = f"{kept} | {len(away):,} | {len(held)} of {len(thresholds)} | {median} | {curve or '–'}"
    return found if gone is None else f"{found}; planted: {planted(log, opened, gone, start)}"


def planted(log: Log, opened: list[tuple[int, list[str]]], gone: dict[str, int], start: int) -> str:
    """Of the planted churners with a rhythm, gone between the start and four weeks before the end: how many, when."""
    delays, asked = [], 0
    for user, name in enumerate(log.users.to_pylist()):
        rhythm = log.user_days.n_days[user] >= ChurnSettings().minimum_active_days
        if rhythm and start <= gone.get(name, -1) <= log.last - HORIZON_DAYS:
            asked += 1
            delays += [day - gone[name] for day, users in opened if day >= gone[name] and name in users][:1]
    return f"{len(delays)} of {asked}, median {np.median(delays) if delays else float('nan'):.0f} days after they left"


def speed(users: int = 200_000) -> str:
    """Processor time of a weekly fit and of a day, of users with visits of two years."""
    random = np.random.default_rng(0)
    day = 20_300
    visits = np.sort(random.integers(day - 700, day + 1, (users, 4)), axis=1)
    visits[:, 1:] = np.maximum(visits[:, 1:], visits[:, :1])
    ring = pa.StructArray.from_arrays([pa.array(visits.ravel().astype(np.int32)).cast(pa.date32())], names=["day"])
    state = pa.table(
        {
            "user_id": pa.array([f"{number:032x}" for number in range(users)]),
            "last_active_day": pa.array(visits[:, -1].astype(np.int32)).cast(pa.date32()),
            "active_days": pa.array(np.full(users, 4)),
            "gap_count": pa.array(np.full(users, 3)),
            "gap_mean_days": pa.array((visits[:, -1] - visits[:, 0]) / 3),
            "recent_days": pa.ListArray.from_arrays(pa.array(np.arange(users + 1) * 4, pa.int32()), ring),
        }
    )
    start = time.process_time()
    model = fit_churn(state, as_date(day), NO_HEADS, ChurnSettings())
    fitted = time.process_time()
    churn_predictions(
        state, CHURN_PREDICTIONS.empty(), model, NO_HEADS, ChurnSettings(), day=as_date(day), segment="all"
    )
    return (
        f"Of {users:,} users: a fit {fitted - start:.1f} s of processor, a day's rows "
        f"{time.process_time() - fitted:.1f} s."
    )


def as_date(day: int) -> date:
    return date_of(int(day))


if __name__ == "__main__":
    with recorded("11_churn"):
        main()
