"""Alerts in the product's own tables, on a delivered log in which some users were replaced by others.

    python benchmarks/live_alerts.py FILE --source online_retail_ii --user customer_id --time ts

Of the users with enough active days a third stays as it is, a third continues from a random active day on with the days
of another user, and a third are those others, who are taken out of the log. The changed log is landed in a fresh home
and run with `shift-assets run --only shift_alerts`; everything printed is read from the tables. The known splice point
knows when the user was replaced, and compares the days from then on with the user's own smoothed profile before.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.metrics import roc_auc_score

from report import recorded
from shift_assets.arrays import BoolArray, Float64Array
from shift_assets.contracts.interest import INTEREST_SERIES
from shift_assets.contracts.shift import SHIFT_ALERTS, SHIFT_SIGNALS
from shift_assets.privacy.pseudonym import load_key, pseudonym
from shift_assets.workspace.home import open_workspace

PRIOR_DAYS = 3.0


@dataclass(frozen=True)
class Plan:
    """Who was replaced, from when on."""

    cut: dict[str, pd.Timestamp]  # by delivered user id
    is_spliced: dict[str, bool]


def spliced_log(log: pd.DataFrame, user: str, day: pd.Series, active_days: int, seed: int) -> tuple[pd.DataFrame, Plan]:
    """The log with a third of the eligible users continued by another third, who are taken out."""
    random = np.random.default_rng(seed)
    ids = log[user].astype(str)
    days = pd.DataFrame({"user": ids, "day": day}).drop_duplicates().sort_values(["user", "day"])
    of_user = {key: group.to_numpy() for key, group in days.groupby("user")["day"]}
    eligible = random.permutation(sorted(str(key) for key, found in of_user.items() if len(found) >= 2 * active_days))
    third = len(eligible) // 3
    whole, replaced, donors = eligible[: len(eligible) - 2 * third], eligible[-2 * third : -third], eligible[-third:]
    cut = {key: of_user[key][random.integers(active_days, len(of_user[key]) - active_days + 1)] for key in eligible}
    becomes: dict[str, str] = {}
    left = list(donors)
    for key in replaced:
        fitting = [donor for donor in left if (of_user[donor] >= cut[key]).sum() >= active_days]
        if fitting:
            becomes[fitting[0]] = key
            left.remove(fitting[0])
    spliced = {key: donor for donor, key in becomes.items()}
    start = ids.map(cut)
    from_donor = ids.isin(list(becomes)) & (day.to_numpy() >= ids.map(becomes).map(cut).to_numpy())
    from_self = ~ids.isin(list(donors)) & ~(ids.isin(list(spliced)) & (day.to_numpy() >= start.to_numpy()))
    changed = pd.concat(
        [log[from_self], log[from_donor].assign(**{user: ids[from_donor].map(becomes).astype(log[user].dtype)})]
    )
    tested = {*whole, *spliced}
    return changed, Plan({key: cut[key] for key in tested}, {key: key in spliced for key in tested})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--source", required=True)
    parser.add_argument("--user", required=True)
    parser.add_argument("--time", required=True)
    parser.add_argument("--zone", default="UTC", help="of times in seconds")
    parser.add_argument("--columns", nargs="*", help="names of the columns of a CSV file without header")
    parser.add_argument("--first", help="first day to keep")
    parser.add_argument("--segment")
    parser.add_argument("--active-days", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--section", default="22_live_alerts")
    arguments = parser.parse_args()
    with recorded(arguments.section):
        evaluate(arguments)


def evaluate(arguments: argparse.Namespace) -> None:
    if arguments.file.suffix == ".parquet":
        log = pd.read_parquet(arguments.file)
    else:
        log = pd.read_csv(arguments.file, header=None, names=arguments.columns).dropna()
    log = log[log[arguments.user].notna()]
    moment = log[arguments.time]
    if np.issubdtype(moment.dtype, np.number):
        moment = pd.to_datetime(moment, unit="s", utc=True).dt.tz_convert(arguments.zone).dt.tz_localize(None)
    day = pd.to_datetime(moment).dt.normalize()
    keep = day >= pd.Timestamp(arguments.first) if arguments.first else pd.Series(True, index=log.index)
    log, day = log[keep], day[keep]
    changed, plan = spliced_log(log, arguments.user, day, arguments.active_days, arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        home, delivered = Path(folder) / "home", Path(folder) / f"log{arguments.file.suffix}"
        if arguments.file.suffix == ".parquet":
            changed.to_parquet(delivered, index=False)
        else:
            delivered = delivered.with_suffix(".csv")
            changed.to_csv(delivered, header=False, index=False)
        first, last = day.min().date(), day.max().date()
        begin = time.perf_counter()
        segments = ["--segment", arguments.segment] if arguments.segment else []
        for command in (
            ["init", "--source", arguments.source],
            ["land", str(delivered)],
            ["run", "--from", str(first), "--to", str(last), "--only", "shift_alerts", *segments],
        ):
            subprocess.run(
                [sys.executable, "-m", "shift_assets", *command, "--home", str(home)], check=True, stdout=sys.stderr
            )
        print(f"{arguments.source}: {len(log):,} events, {first} to {last}, {time.perf_counter() - begin:.0f} s.\n")
        print_tables(home, plan, arguments.active_days)


def print_tables(home: Path, plan: Plan, active_days: int) -> None:
    workspace = open_workspace(home)
    key = load_key(workspace.settings.privacy)
    cuts = {pseudonym(key, user): (cut, plan.is_spliced[user]) for user, cut in plan.cut.items()}
    segments = list(workspace.source.segment_keys)
    signals = workspace.lake.read(SHIFT_SIGNALS, segments=segments).to_pandas()
    signals = signals[signals["confidence"].notna() & signals["user_id"].isin(list(cuts))].sort_values(
        ["user_id", "day"]
    )
    signals["day"] = pd.to_datetime(signals["day"])
    signals["cut"] = signals["user_id"].map(lambda user: cuts[user][0])
    after = signals[signals["day"] >= signals["cut"]].groupby("user_id").head(active_days)
    full = after.groupby("user_id").filter(lambda rows: len(rows) == active_days)
    alerts = workspace.lake.read(SHIFT_ALERTS, segments=segments).to_pandas()
    opened = alerts[(alerts["status"] == "opened") & (alerts["kind"] != "churn_risk")].assign(
        day=lambda rows: pd.to_datetime(rows["day"])
    )
    largest = full.groupby("user_id")["confidence"].max()
    is_spliced = np.array([cuts[user][1] for user in largest.index])
    window = full.groupby("user_id")["day"].agg(["min", "max"])
    alerted = opened.merge(window, left_on="user_id", right_index=True)
    alerted = alerted[(alerted["day"] >= alerted["min"]) & (alerted["day"] <= alerted["max"])]
    flagged = largest.index.isin(alerted["user_id"])
    bound = known_cut(workspace.lake.read(INTEREST_SERIES, segments=segments), cuts, active_days)
    known = np.array([bound.get(user, np.nan) for user in largest.index])
    share = flagged[~is_spliced].mean()
    print("| | AUC | recall at 5 % | found at the product's threshold | unchanged flagged |")
    print("|---|---:|---:|---:|---:|")
    for name, score, found in (
        ("confidence in the tables", largest.to_numpy(), flagged[is_spliced].mean()),
        ("known splice point", known, recall(known, is_spliced, share)),
    ):
        print(
            f"| {name} | {roc_auc_score(is_spliced, score):.3f} | {recall(score, is_spliced, 0.05):.3f} | {found:.3f} "
            f"| {share:.3f} |"
        )
    print(f"\n{is_spliced.sum()} replaced and {(~is_spliced).sum()} unchanged users.")
    delays = alerted[alerted["user_id"].map(lambda user: cuts[user][1])].groupby("user_id")["day"].min()
    if len(delays):
        visits = [int((after[(after["user_id"] == user)]["day"] <= day).sum()) for user, day in delays.items()]
        print(f"Delay of the alerts of replaced users: median {np.median(visits):.0f} active days, ", end="")
        print(f"{np.median([(day - cuts[user][0]).days for user, day in delays.items()]):.0f} calendar days.")
    unshifted = signals[signals["user_id"].map(lambda user: not cuts[user][1]) | (signals["day"] < signals["cut"])]
    tested = unshifted["p_value"].dropna()
    print(
        f"p ≤ .01 on {(tested <= 0.01).mean():.4f}, p ≤ .05 on {(tested <= 0.05).mean():.4f} "
        f"of {len(tested):,} unshifted days."
    )
    print("\n| confidence said | true | histories |\n|---:|---:|---:|")
    for low in np.arange(0.0, 1.0, 0.2):
        mine = (largest.to_numpy() >= low) & (largest.to_numpy() < low + 0.2)
        if mine.any():
            print(f"| {largest.to_numpy()[mine].mean():.2f} | {is_spliced[mine].mean():.2f} | {mine.sum()} |")
    false = [
        (row.q_value, not (cuts[row.user_id][1] and row.day >= cuts[row.user_id][0]))
        for row in opened.itertuples()
        if row.user_id in cuts and pd.notna(row.q_value)
    ]
    for stated in (0.05, 0.1, 0.2):
        listed = [wrong for q, wrong in false if q <= stated]
        if listed:
            print(
                f"\nOf {len(listed)} opened alerts with q ≤ {stated}, {np.mean(listed):.2f} are of unchanged users "
                "or days."
            )


def recall(score: Float64Array, is_spliced: BoolArray, flagged: float) -> float:
    """Share of the spliced above the threshold that flags this share of the others."""
    whole = score[~is_spliced & ~np.isnan(score)]
    return float((score[is_spliced] > np.quantile(whole, 1.0 - flagged, method="higher")).mean())


def known_cut(series: pa.Table, cuts: dict[str, tuple[pd.Timestamp, bool]], active_days: int) -> dict[str, float]:
    """Log ratio of the first days from the cut on, population against own profile before, by user."""
    frame = series.filter(pc.greater(series["score"], 0.0)).select(["user_id", "day", "category", "score"]).to_pandas()
    frame["share"] = frame["score"] / frame.groupby(["user_id", "day"])["score"].transform("sum")
    frame["day"] = pd.to_datetime(frame["day"])
    mix = frame.groupby("category")["share"].sum()
    mix = mix / mix.sum()
    found = {}
    for user, rows in frame[frame["user_id"].isin(list(cuts))].groupby("user_id"):
        before = rows[rows["day"] < cuts[user][0]].groupby("category")["share"].sum().reindex(mix.index, fill_value=0.0)
        after = rows[rows["day"] >= cuts[user][0]]
        first = after[after["day"].isin(sorted(after["day"].unique())[:active_days])]
        near = first.groupby("category")["share"].sum().reindex(mix.index, fill_value=0.0)
        own = (before + PRIOR_DAYS * mix) / (before.sum() + PRIOR_DAYS)
        found[str(user)] = float((near * np.log(mix / own)).sum())
    return found


if __name__ == "__main__":
    main()
