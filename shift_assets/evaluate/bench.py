"""A benchmark of detectors of user-interest shift on any log of events, without labels and without an installation.

Protocol: a user with enough active days on both sides of a splice point keeps the days before it, and from it on has
all or part of another user's days, each on its own date. A detector separates these histories from the same users'
unspliced ones, by its largest score on the first active days from the splice point on (Schonlau et al., "Computer
Intrusion: Detecting Masquerades", Statistical Science 16 (2001), contaminated users' command logs in this way). What
learns is fitted on users other than those it scores: the learned detector by folds, groups of items on users of whom
none is scored. `KNOWN_CUT` knows the splice point, which no detector does: the bound that others are measured by. On a
log of weak profiles a detector that learns from other users can exceed it.

Units: a history is a sequence of active days (UTC), the mix of a day the share of its events by category; the AUC is
that of spliced over unspliced histories, recall the share of spliced ones found where 1 % or 5 % of the unspliced are
flagged. Unspliced users shift sometimes, so flagged shares are upper bounds of false alerts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.arrays import CategoryCodes
from shift_assets.contracts.cleaning import BEHAVIORS
from shift_assets.contracts.columns import UNCATEGORISED
from shift_assets.evaluate.detector_self_check import HARDLY_DISTINGUISHABLE
from shift_assets.evaluate.splice_metrics import detector_metrics, recall_where_flagged, shares_over
from shift_assets.evaluate.splices import (
    FOLDS,
    KNOWN_CUT,
    LEARNED,
    Alerting,
    DetectorScores,
    TooFewUsers,
    detectors_of,
    run_protocol,
)
from shift_assets.ingest.categories.fit import fit_categories
from shift_assets.interest.histories import Histories
from shift_assets.interest.user_days import UserDays
from shift_assets.outcomes.estimates import Estimate
from shift_assets.settings.root import Settings
from shift_assets.shift.learned.shift_model import MINIMUM_USERS
from shift_assets.shift.learned.splices import PARTIAL, SPLICED, UNSPLICED, Construction

CONSTRUCTIONS = (UNSPLICED, SPLICED, Construction("random", PARTIAL))
"""Unspliced, wholly replaced by a random donor, and partially."""
_GROUP_SEED = 0


class BenchmarkRow(NamedTuple):
    """A detector on the histories of one construction, after all active days."""

    detector: str
    kept: float  # share of the user's own days that remain; 0: wholly replaced
    auc: Estimate
    recall_at_1_percent: Estimate
    recall_at_5_percent: Estimate
    share_of_bound: float  # (AUC - 0.5) / (AUC of the known splice point - 0.5); nan where that is chance
    found: float | None  # share at the learned detector's own threshold; of the known splice point, at as many flagged
    flagged: float | None  # share of unspliced histories


class ShiftBenchmark(NamedTuple):
    """The table, and one sentence where the log can hardly distinguish users; else None."""

    users: int  # with enough active days
    categories: int
    rows: list[BenchmarkRow]
    note: str | None


def bench_shifts(
    events: pa.Table,
    *,
    learn_groups: int | None = None,
    active_days: int = 8,
    seeds: Sequence[int] = (0, 1, 2),
    on_progress: Callable[[str], None] = lambda _: None,
) -> ShiftBenchmark:
    """Compare the baselines, the e-value, the posterior, the learned detector and the known splice point.

    Args:
        events: user_id, day (days since 1970-01-01), name (category, or item to group), events; each once.
        learn_groups: Number of groups of items to fit by co-occurrence on half of the users; the other half is
            evaluated. None where the names are categories.
        active_days: Active days that a user needs before a splice point and from it on.
        seeds: Seeds of splice points, donors and folds.
        on_progress: Called with a description of each step.

    Raises:
        TooFewUsers: Too few users have enough active days.
    """
    if learn_groups is not None:
        on_progress(f"{learn_groups} groups by co-occurrence, on half of the users")
        events = _grouped(events, learn_groups)
    log = _histories(events)
    users = int((log.user_days.n_days >= 2 * active_days).sum())
    needed = FOLDS * MINIMUM_USERS
    if users < needed:
        raise TooFewUsers(
            f"{users} of {len(log.users):,} users have {2 * active_days} active days; {needed} are needed"
            f"{' in the half on which no groups were fitted' if learn_groups else ''}. Choose fewer --active-days, "
            "or deliver a longer log"
        )
    settings = Settings()
    scored: list[DetectorScores] = []
    for number, seed in enumerate(seeds, start=1):
        on_progress(f"{users:,} users, draw {number} of {len(seeds)}")
        scored += run_protocol(
            log,
            "log",
            detectors_of(settings.evidence),
            seed=seed,
            alerting=Alerting(settings.evidence, settings.alerts.flagged_share),
            active_days=active_days,
            constructions=CONSTRUCTIONS,
        )
    on_progress("bootstrap intervals")
    rows = list(_rows(scored, active_days, settings.outcomes.bootstrap_samples))
    return ShiftBenchmark(users, len(log.codes), rows, _note(rows))


def _rows(scored: Sequence[DetectorScores], active_days: int, samples: int) -> Iterator[BenchmarkRow]:
    metrics = detector_metrics(scored, samples=samples, seed=0, days=[active_days])
    bounds = {
        row.kept: row.auc.value - 0.5 if row.auc.low > 0.5 else float("nan")
        for row in metrics
        if row.detector == KNOWN_CUT
    }
    shares = {
        construction: share.value
        for construction, day, share in shares_over(scored, LEARNED, None, samples=samples, seed=0)
        if day == active_days
    }
    flagged = shares.get(UNSPLICED)
    for row in sorted(metrics, key=lambda row: (row.kept, row.detector == KNOWN_CUT, -row.auc.value)):
        construction = Construction("random", row.kept)
        found = None
        if flagged is not None and row.detector == LEARNED:
            found = shares[construction]
        elif flagged is not None and row.detector == KNOWN_CUT:
            whole, spliced = (
                np.concatenate(
                    [one.score[:, -1] for one in scored if (one.detector, one.construction) == (KNOWN_CUT, wanted)]
                )
                for wanted in (UNSPLICED, construction)
            )
            _, found = recall_where_flagged(whole, spliced, flagged)
        yield BenchmarkRow(
            row.detector,
            row.kept,
            row.auc,
            row.recall_at_1_percent,
            row.recall_at_5_percent,
            (row.auc.value - 0.5) / bounds[row.kept],
            found,
            None if found is None else flagged,
        )


def _note(rows: Sequence[BenchmarkRow]) -> str | None:
    auc = {row.detector: row.auc.value for row in rows if not row.kept}
    bound = auc.pop(KNOWN_CUT)
    if bound >= HARDLY_DISTINGUISHABLE:
        return None
    best = max(auc, key=auc.__getitem__)
    return (
        "On this log a replaced user can hardly be distinguished from an unchanged one "
        f"(AUC {bound:.2f} with the splice point known, at best {auc[best]:.2f}, by {best}), so shares of the bound "
        "say little: use finer categories, or --learn-groups."
    )


def _grouped(events: pa.Table, clusters: int) -> pa.Table:
    """The events of one half of the users, named by groups that were fitted on the other half."""
    users = pc.unique(events["user_id"])
    users = users.take(pc.sort_indices(users))
    drawn = np.random.default_rng(_GROUP_SEED).permutation(len(users))[: len(users) // 2]
    is_fitted = pc.is_in(events["user_id"], value_set=users.take(pa.array(np.sort(drawn))))
    fitted = events.filter(is_fitted).group_by(["user_id", "name"], use_threads=False).aggregate([("events", "sum")])
    model = fit_categories(
        "cooccurrence", fitted.rename_columns(["user_id", "unit", "events"]), clusters, _GROUP_SEED
    ).assignments
    evaluated = events.filter(pc.invert(is_fitted))
    group = model["category"].take(pc.index_in(evaluated["name"], value_set=model["unit"]))
    return evaluated.set_column(2, "name", pc.fill_null(group, UNCATEGORISED))


def _histories(events: pa.Table) -> Histories:
    """All users' active days, with the number of events as score."""
    users = pc.unique(events["user_id"])
    users = users.take(pc.sort_indices(users))
    codes = CategoryCodes(events["name"])
    number = events["events"].to_numpy()
    counts = np.zeros((len(number), len(BEHAVIORS)), np.int64)
    counts[:, BEHAVIORS.index("view")] = number
    user_days = UserDays.from_cells(
        pc.index_in(events["user_id"], value_set=users).to_numpy().astype(np.int64),
        events["day"].to_numpy(),
        counts,
        cell_row=np.arange(len(number)),
        category=codes.encode(events["name"]),
        score=number.astype(np.float64),
        n_users=len(users),
        n_categories=len(codes),
    )
    return Histories(users, codes, user_days)
