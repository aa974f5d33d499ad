"""Every candidate source alone, and the blends, on the log of any installation, split by days.

    python benchmarks/sources.py HOME [HOME ...]

Prints Markdown. The last spans of the log are predicted, each from what was known before it: sources are fitted on the
look-back window that ends the day before, a learned blend on the spans before that. Full ranking of the catalogue
with the rules of the settings; users evaluated are those who get a list and take something in the span. Seconds are CPU
seconds for a day of the segment, memory is what Python and NumPy hold at most while a source is fitted and scores.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Callable
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from report import recorded
from shift_assets.arrays import Float32Array, Float64Array, Int64Array
from shift_assets.models.metrics import ndcg_at_k, recall_at_k, top_k_columns
from shift_assets.recommend.candidates.base import GeneratorInputs, Scorer
from shift_assets.recommend.candidates.item_content import Content
from shift_assets.recommend.candidates.registry import GENERATORS
from shift_assets.recommend.exclusions import excluded_pairs, in_catalogue
from shift_assets.recommend.ranking.blend import Blend
from shift_assets.recommend.ranking.blend_training import fit_blend
from shift_assets.recommend.ranking.features import ContextFeatures
from shift_assets.recommend.ranking.score_scaling import scale_to_best
from shift_assets.recommend.ranking.training_snapshot import TrainingSnapshot
from shift_assets.recommend.window import Window
from shift_assets.settings.root import GeneratorName, RecommendationSettings
from shift_assets.workspace.home import open_workspace
from shift_assets.workspace.landed import load_events

SPANS = 3
"""Spans predicted, one after the other at the end of the log, as far as days remain before them."""
NDCG_AT = 10
BLOCK_VALUES = 2**21
ALL_SEGMENTS, OWN, FIXED = "learned, all segments together", "learned, of the segment", "fixed"


class Metrics(NamedTuple):
    recall: Float64Array
    ndcg: Float64Array
    coverage: float
    fit_seconds: float
    score_seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("home", type=Path, nargs="+")
    parser.add_argument("--days", type=int, default=7, help="days of a span")
    asked = parser.parse_args()
    for home in asked.home:
        workspace = open_workspace(home)
        chosen = workspace.settings.recommendations.model_copy(update={"validation_days": asked.days})
        print(f"\n### {workspace.source.name}, spans of {asked.days} days\n")
        measure(load_events(workspace), chosen, workspace.settings.seed)


def measure(events: pa.Table, chosen: RecommendationSettings, seed: int) -> None:
    """Prints a table for every segment, and how the learned blends came about."""
    segments = sorted(pc.unique(events["segment"]).to_pylist())
    logs = {name: events.filter(pc.equal(events["segment"], name)) for name in segments}
    counts = {row["values"]: row["counts"] for row in pc.value_counts(events["day"]).to_pylist()}
    # A few rows may date from days long before the log begins: no day of it is so poor.
    first = min(day for day, rows in counts.items() if rows > events.num_rows / len(counts) / 10)
    spans = [max(counts) - timedelta(days=chosen.validation_days * (number + 1)) for number in range(SPANS)]
    found: dict[str, dict[str, list[Metrics]]] = {name: defaultdict(list) for name in segments}
    for day in spans:
        before = [day - timedelta(days=chosen.validation_days * (n + 1)) for n in range(chosen.validation_rounds)]
        before = [snapshot for snapshot in before if snapshot >= first]
        if not before:
            continue
        snapshots = {
            name: [TrainingSnapshot.of(generator_inputs(log, snapshot, chosen, seed), log) for snapshot in before]
            for name, log in logs.items()
        }
        started = time.process_time()
        pooled = fit_blend([snapshot for own in snapshots.values() for snapshot in own], chosen, seed)
        print(
            f"{day}: pooled blend from {len(before)} spans: {describe(pooled)}, {time.process_time() - started:.1f} s  "
        )
        for name, log in logs.items():
            own = fit_blend(snapshots[name], chosen, seed)
            print(f"{day}: {name}: {describe(own)}  ")
            for label, metrics in Day(log, day, chosen, seed).metrics({ALL_SEGMENTS: pooled, OWN: own}).items():
                found[name][label].append(metrics)
    for name in segments:
        lists = sum(len(one.recall) for one in found[name][FIXED])
        print(f"\n{name}: {lists} lists evaluated\n")
        if not lists:
            continue
        memory = peaks(generator_inputs(logs[name], spans[0], chosen, seed))
        print("| | recall@k | NDCG@10 | coverage | fit, s | score, s | peak MiB |")
        print("|---|---:|---:|---:|---:|---:|---:|")
        for label, days in found[name].items():
            recall, ndcg = (np.concatenate([getattr(one, part) for one in days]).mean() for part in ("recall", "ndcg"))
            rest = [np.mean([getattr(one, part) for one in days]) for part in Metrics._fields[2:]]
            print(
                f"| {label} | {recall:.4f} | {ndcg:.4f} | {rest[0]:.3f} | {rest[1]:.2f} | {rest[2]:.2f} | "
                f"{memory.get(label, '')} |"
            )


def generator_inputs(log: pa.Table, day: date, chosen: RecommendationSettings, seed: int) -> GeneratorInputs:
    window = Window.of(log, day, chosen)
    first = day - timedelta(days=chosen.look_back_days - 1)
    inside = log.filter((pc.field("day") >= first) & (pc.field("day") <= day))
    content = Content.of(inside, window.vocabulary, items=None, external=None, seed=seed)
    return GeneratorInputs(window, chosen, None, content, seed=seed)


def describe(blend: Blend | None) -> str:
    if blend is None:
        return "none could be fitted"
    best = sorted(blend.metrics, key=lambda name: -sum(blend.metrics[name]))[:3]
    return f"{blend.chosen} of {blend.users} users; held out (recall, NDCG) " + ", ".join(
        f"{name} {blend.metrics[name].recall:.3f} {blend.metrics[name].ndcg:.3f}" for name in best
    )


class Day:
    """The lists of a segment as of a day, evaluated by the span after it."""

    def __init__(self, log: pa.Table, day: date, chosen: RecommendationSettings, seed: int) -> None:
        self.inputs = generator_inputs(log, day, chosen, seed)
        self.snapshot, self.chosen = TrainingSnapshot.of(self.inputs, log), chosen
        window = self.inputs.window
        self.users = window.target_users[self.snapshot.relevant[window.target_users] > 0]
        self.allowed = np.flatnonzero(in_catalogue(window, chosen.catalogue_days))
        self.hidden = excluded_pairs(window, chosen)

    def metrics(self, blends: dict[str, Blend | None]) -> dict[str, Metrics]:
        window = self.inputs.window
        out: dict[str, Metrics] = {}
        scorers: dict[GeneratorName, Scorer] = {}
        seconds: dict[GeneratorName, float] = {}
        for name, source in GENERATORS.items():
            if source.can_fit(self.inputs):
                started = time.process_time()
                scorers[name] = source.fit(self.inputs)(window)
                seconds[name] = time.process_time() - started
                out[name] = self._evaluate(partial(self._scores_of, scorers[name]), seconds[name])
        weights = {name: weight for name, weight in self.chosen.weights.items() if name in scorers and weight > 0}
        out[FIXED] = self._evaluate(
            lambda users: np.sum(
                [weight * scale_to_best(self._scores_of(scorers[name], users)) for name, weight in weights.items()],
                axis=0,
            ),
            sum(seconds[name] for name in weights),
        )
        for label, blend in blends.items():
            if blend is not None:
                started = time.process_time()
                context_features = ContextFeatures.of(window, window)
                spent = time.process_time() - started + sum(seconds[name] for name in blend.generators)
                blended = partial(self._blended, blend, scorers, context_features)
                out[label] = self._evaluate(blended, spent)
        return out

    def _blended(
        self,
        blend: Blend,
        scorers: dict[GeneratorName, Scorer],
        context_features: ContextFeatures,
        users: Int64Array,
    ) -> Float32Array:
        scores = {name: self._scores_of(scorers[name], users) for name in blend.generators}
        return blend.score(scores, context_features, users, self.allowed).scores

    def _scores_of(self, scorer: Scorer, users: Int64Array) -> Float32Array:
        return self._open(scorer(users), users)

    def _open(self, scores: Float32Array, users: Int64Array) -> Float32Array:
        """Scores of the allowed items; 0 for what must not be recommended."""
        owners, items = self.hidden
        row = np.full(len(self.inputs.window.sequences.users), -1)
        row[users] = np.arange(len(users))
        inside = row[owners] >= 0
        scores = np.array(scores)
        scores[row[owners[inside]], items[inside]] = 0
        return scores[:, self.allowed]

    def _evaluate(self, scores_of: Callable[[Int64Array], Float32Array], fit_seconds: float) -> Metrics:
        started = time.process_time()
        hits, recommended = [], set()
        for users in np.array_split(self.users, len(self.users) * len(self.allowed) // BLOCK_VALUES + 1):
            best, values = top_k_columns(scores_of(users), self.chosen.k)
            items = self.allowed[best]
            taken = np.take_along_axis(self.snapshot.taken[users].toarray(), items, axis=1) > 0
            hits.append(taken & (values > 0))
            recommended.update(items[values > 0].tolist())
        spent = time.process_time() - started
        met, relevant = np.concatenate(hits), self.snapshot.relevant[self.users]
        return Metrics(
            recall_at_k(met, relevant),
            ndcg_at_k(met[:, :NDCG_AT], relevant),
            len(recommended) / len(self.allowed),
            fit_seconds,
            spent,
        )


def peaks(inputs: GeneratorInputs) -> dict[str, int]:
    """MiB that each source holds at most alongside its inputs, scoring a block of users."""
    out: dict[str, int] = {}
    window = inputs.window
    users = window.target_users[: max(BLOCK_VALUES // max(window.item_count, 1), 1)]
    for name, source in GENERATORS.items():
        if source.can_fit(inputs):
            tracemalloc.start()
            source.fit(inputs)(window)(users)
            out[name] = round(tracemalloc.get_traced_memory()[1] / 2**20)
            tracemalloc.stop()
    return out


if __name__ == "__main__":
    with recorded("07_recommendations"):
        main()
