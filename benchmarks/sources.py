"""Every candidate source alone, and the blends, on the log of any installation, split by days.

    python benchmarks/sources.py HOME [HOME ...]

Prints Markdown. The last spans of the log are foretold, each from what was known before it: sources are fitted on the
look-back window that ends the day before, a learned blend on the spans before that. Full ranking of the catalogue
with the rules of the settings; users judged are those who get a list and take something in the span. Seconds are CPU
seconds for a day of the segment, memory is what Python and NumPy hold at most while a source is fitted and scores.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.home import open_platform
from shift_assets.landed import events_of
from shift_assets.models.ranking import best_columns, ndcg_at_k, recall_at_k
from shift_assets.models.sequences import Integers
from shift_assets.recommend.blend import normalised
from shift_assets.recommend.content import Content
from shift_assets.recommend.ranker import Blend, Cut, Traits, fit_blend
from shift_assets.recommend.rules import excluded_pairs, in_catalogue
from shift_assets.recommend.source import Inputs
from shift_assets.recommend.sources import SOURCES
from shift_assets.recommend.window import Floats, Window
from shift_assets.settings import RecommendationSettings

SPANS = 3
"""Spans foretold, one after the other at the end of the log, as far as days remain before them."""
NDCG_AT = 10
BLOCK_VALUES = 2**21
POOLED, OWN, FIXED = "learned, all segments together", "learned, of the segment", "fixed"


class Judged(NamedTuple):
    recall: Floats
    ndcg: Floats
    coverage: float
    fit_seconds: float
    score_seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("home", type=Path, nargs="+")
    parser.add_argument("--days", type=int, default=7, help="days of a span")
    asked = parser.parse_args()
    for home in asked.home:
        platform = open_platform(home)
        chosen = platform.settings.recommendations.model_copy(update={"validation_days": asked.days})
        print(f"\n### {platform.source.name}, spans of {asked.days} days\n")
        measure(events_of(platform), chosen, platform.settings.seed)


def measure(events: pa.Table, chosen: RecommendationSettings, seed: int) -> None:
    """Prints a table for every segment, and how the learned blends came about."""
    segments = sorted(pc.unique(events["segment"]).to_pylist())
    logs = {name: events.filter(pc.equal(events["segment"], name)) for name in segments}
    counts = {row["values"]: row["counts"] for row in pc.value_counts(events["day"]).to_pylist()}
    # A few rows may tell of days long before the log begins: no day of it is so poor.
    first = min(day for day, rows in counts.items() if rows > events.num_rows / len(counts) / 10)
    spans = [max(counts) - timedelta(days=chosen.validation_days * (number + 1)) for number in range(SPANS)]
    found: dict[str, dict[str, list[Judged]]] = {name: defaultdict(list) for name in segments}
    for day in spans:
        before = [day - timedelta(days=chosen.validation_days * (n + 1)) for n in range(chosen.validation_rounds)]
        before = [cut for cut in before if cut >= first]
        if not before:
            continue
        cuts = {name: [Cut.of(inputs_of(log, cut, chosen, seed), log) for cut in before] for name, log in logs.items()}
        started = time.process_time()
        pooled = fit_blend([cut for own in cuts.values() for cut in own], chosen, seed)
        print(f"{day}: pooled blend from {len(before)} spans: {told(pooled)}, {time.process_time() - started:.1f} s  ")
        for name, log in logs.items():
            own = fit_blend(cuts[name], chosen, seed)
            print(f"{day}: {name}: {told(own)}  ")
            for label, judged in Day(log, day, chosen, seed).judged({POOLED: pooled, OWN: own}).items():
                found[name][label].append(judged)
    for name in segments:
        lists = sum(len(one.recall) for one in found[name][FIXED])
        print(f"\n{name}: {lists} lists judged\n")
        if not lists:
            continue
        memory = peaks(inputs_of(logs[name], spans[0], chosen, seed))
        print("| | recall@k | NDCG@10 | coverage | fit, s | score, s | peak MiB |")
        print("|---|---:|---:|---:|---:|---:|---:|")
        for label, days in found[name].items():
            recall, ndcg = (np.concatenate([getattr(one, part) for one in days]).mean() for part in ("recall", "ndcg"))
            rest = [np.mean([getattr(one, part) for one in days]) for part in Judged._fields[2:]]
            print(
                f"| {label} | {recall:.4f} | {ndcg:.4f} | {rest[0]:.3f} | {rest[1]:.2f} | {rest[2]:.2f} | "
                f"{memory.get(label, '')} |"
            )


def inputs_of(log: pa.Table, day: date, chosen: RecommendationSettings, seed: int) -> Inputs:
    window = Window.of(log, day, chosen)
    first = day - timedelta(days=chosen.look_back_days - 1)
    inside = log.filter((pc.field("day") >= first) & (pc.field("day") <= day))
    content = Content.of(inside, window.vocabulary, items=None, delivered=None, seed=seed)
    return Inputs(window, chosen, None, content, seed=seed)


def told(blend: Blend | None) -> str:
    if blend is None:
        return "none could be fitted"
    best = sorted(blend.judged, key=lambda name: -sum(blend.judged[name]))[:3]
    return f"{blend.chosen} of {blend.users} users; held out (recall, NDCG) " + ", ".join(
        f"{name} {blend.judged[name].recall:.3f} {blend.judged[name].ndcg:.3f}" for name in best
    )


class Day:
    """The lists of a segment as of a day, judged by the span after it."""

    def __init__(self, log: pa.Table, day: date, chosen: RecommendationSettings, seed: int) -> None:
        self.inputs = inputs_of(log, day, chosen, seed)
        self.cut, self.chosen = Cut.of(self.inputs, log), chosen
        window = self.inputs.window
        self.users = window.listed[self.cut.relevant[window.listed] > 0]
        self.allowed = np.flatnonzero(in_catalogue(window, chosen.catalogue_days))
        self.hidden = excluded_pairs(window, chosen)

    def judged(self, blends: dict[str, Blend | None]) -> dict[str, Judged]:
        window = self.inputs.window
        out, scorers, seconds = {}, {}, {}
        for name, source in SOURCES.items():
            if source.possible(self.inputs):
                started = time.process_time()
                scorers[name] = source.fit(self.inputs)(window)
                seconds[name] = time.process_time() - started
                out[name] = self._judge(lambda users, name=name: self._open(scorers[name](users), users), seconds[name])
        weights = {name: weight for name, weight in self.chosen.weights.items() if name in scorers and weight > 0}
        out[FIXED] = self._judge(
            lambda users: np.sum(
                [weight * normalised(self._open(scorers[name](users), users)) for name, weight in weights.items()],
                axis=0,
            ),
            sum(seconds[name] for name in weights),
        )
        for label, blend in blends.items():
            if blend is not None:
                started = time.process_time()
                traits = Traits.of(window, window)
                spent = time.process_time() - started + sum(seconds[name] for name in blend.sources)
                out[label] = self._judge(
                    lambda users, blend=blend, traits=traits: (
                        blend.score(
                            {name: self._open(scorers[name](users), users) for name in blend.sources},
                            traits,
                            users,
                            self.allowed,
                        ).scores
                    ),
                    spent,
                )
        return out

    def _open(self, scores: Floats, users: Integers) -> Floats:
        """Scores of the allowed items; 0 for what must not be recommended."""
        owners, items = self.hidden
        row = np.full(len(self.inputs.window.sequences.users), -1)
        row[users] = np.arange(len(users))
        inside = row[owners] >= 0
        scores = np.array(scores)
        scores[row[owners[inside]], items[inside]] = 0
        return scores[:, self.allowed]

    def _judge(self, scores_of: Callable[[Integers], Floats], fit_seconds: float) -> Judged:
        started = time.process_time()
        hits, listed = [], set()
        for users in np.array_split(self.users, len(self.users) * len(self.allowed) // BLOCK_VALUES + 1):
            best, values = best_columns(scores_of(users), self.chosen.k)
            items = self.allowed[best]
            taken = np.take_along_axis(self.cut.taken[users].toarray(), items, axis=1) > 0
            hits.append(taken & (values > 0))
            listed.update(items[values > 0].tolist())
        spent = time.process_time() - started
        met, relevant = np.concatenate(hits), self.cut.relevant[self.users]
        return Judged(
            recall_at_k(met, relevant),
            ndcg_at_k(met[:, :NDCG_AT], relevant),
            len(listed) / len(self.allowed),
            fit_seconds,
            spent,
        )


def peaks(inputs: Inputs) -> dict[str, int]:
    """MiB that each source holds at most beside its inputs, scoring a block of users."""
    out: dict[str, int] = {}
    window = inputs.window
    users = window.listed[: max(BLOCK_VALUES // max(window.item_count, 1), 1)]
    for name, source in SOURCES.items():
        if source.possible(inputs):
            tracemalloc.start()
            source.fit(inputs)(window)(users)
            out[name] = round(tracemalloc.get_traced_memory()[1] / 2**20)
            tracemalloc.stop()
    return out


if __name__ == "__main__":
    main()
