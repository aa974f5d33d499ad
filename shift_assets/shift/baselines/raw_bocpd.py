"""Bayesian online change-point detection on raw event counts, without a unit weight per day."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from shift_assets.arrays import Float64Array
from shift_assets.interest.histories import Histories
from shift_assets.shift.baselines.sliding_windows import MINIMUM, event_counts


@dataclass
class RawBocpd:
    """Log odds that the regime of today began within the last `recent` active days.

    Each regime draws all of its events from one mix with a symmetric Dirichlet prior of total `concentration`; a new
    one begins before an active day with probability `hazard`. Run lengths above `longest` are merged into the likelier
    of the two. Every event counts as an independent draw, so a busy focused day looks like a change: the comparison
    shows why the product's evidence counts a day once.

    Source: Adams and MacKay, "Bayesian online changepoint detection", arXiv 0710.3742 (2007).
    """

    recent: int = 7
    longest: int = 40
    hazard: float = 0.01
    concentration: float = 3.0
    minimum_active_days: int = MINIMUM
    name: str = "raw_bocpd"

    def score(self, histories: Histories) -> Float64Array:
        """Return the log odds, [entry]; nan with fewer than `minimum_active_days` active days."""
        user_days = histories.user_days
        out = np.full(len(user_days.day), np.nan)
        _log_odds(
            user_days.start,
            user_days.score_start,
            user_days.category,
            event_counts(user_days),
            len(histories.codes),
            self.recent,
            max(self.longest, self.recent + 1),
            self.hazard,
            self.concentration / max(len(histories.codes), 1),
            max(self.minimum_active_days, self.recent + 1),
            out,
        )
        return out


@njit(cache=True)
def _log_odds(  # type: ignore[no-untyped-def]  # noqa: PLR0917
    start, score_start, category, counts, n_categories, recent, longest, hazard, prior, minimum, out
):
    seen = np.zeros((longest, n_categories))  # [run length in days before today, category], events
    events = np.zeros(longest)
    log_weight = np.zeros(longest)
    for user in range(len(start) - 1):
        n_runs = 0
        for entry in range(start[user], start[user + 1]):
            # 1. every run is one day older; the oldest two merge where there is no more room
            if n_runs == longest:
                old, next_old = longest - 1, longest - 2
                if log_weight[next_old] > log_weight[old]:
                    seen[old], events[old] = seen[next_old], events[next_old]
                log_weight[old] = np.logaddexp(log_weight[old], log_weight[next_old])
                last = next_old
            else:
                last = n_runs
                n_runs += 1
            for run in range(last, 0, -1):
                seen[run], events[run] = seen[run - 1], events[run - 1]
                log_weight[run] = log_weight[run - 1]
            # 2. or a new one begins today, without events so far
            seen[0], events[0] = 0.0, 0.0
            log_weight[0] = 0.0
            if n_runs > 1:
                log_weight[0] = math.log(hazard)
                log_weight[1:n_runs] += math.log1p(-hazard)
            # 3. how well each predicted today, and its update
            for run in range(n_runs):
                today = 0.0
                for cell in range(score_start[entry], score_start[entry + 1]):
                    mass = prior + seen[run, category[cell]]
                    log_weight[run] += math.lgamma(mass + counts[cell]) - math.lgamma(mass)
                    today += counts[cell]
                    seen[run, category[cell]] += counts[cell]
                mass = prior * n_categories + events[run]
                log_weight[run] += math.lgamma(mass) - math.lgamma(mass + today)
                events[run] += today
            largest = log_weight[:n_runs].max()
            weight = np.exp(log_weight[:n_runs] - largest)
            log_weight[:n_runs] -= largest + math.log(weight.sum())
            if entry - start[user] + 1 >= minimum:
                out[entry] = math.log(weight[:recent].sum() + 1e-300) - math.log(weight[recent:].sum() + 1e-300)
