"""The blend: a linear utility over candidate features, with attribution to a generator and JSON form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from shift_assets.arrays import Float32Array, Int64Array
from shift_assets.recommend.ranking.features import (
    GENERATOR_FEATURES,
    ITEM_FEATURE_NAMES,
    USER_ITEM_FEATURE_NAMES,
    ContextFeatures,
    candidate_pairs,
    feature_names,
)
from shift_assets.settings.root import GeneratorName

ATTRIBUTED_FEATURES = {"popularity": ITEM_FEATURE_NAMES, "repeats": USER_ITEM_FEATURE_NAMES}
"""Traits that count as the word of a source where the reason of a place is sought."""


class HeldOutMetrics(NamedTuple):
    """How well held-out users are foretold: means of recall and NDCG in lists of the set length."""

    recall: float
    ndcg: float


class BlendedScores(NamedTuple):
    """`scores` [user, item] in 0..1, the best candidate of a user at 1, no candidate at 0.

    `sources` [user, item] is the place, in the blend's sources, of the one that spoke most for a candidate.
    """

    scores: Float32Array
    sources: Int64Array


@dataclass(frozen=True)
class Blend:
    """Weights of a utility, one per name of `feature_names(sources)`; `chosen`: learned, fixed, or a source's name.

    `metrics` tells, for each that could have been chosen, how well it foretold the users held out, `users` in number.
    """

    sources: tuple[GeneratorName, ...]
    weights: tuple[float, ...]
    candidates: int
    chosen: str
    users: int
    metrics: Mapping[str, HeldOutMetrics]

    def score(
        self,
        scores: Mapping[GeneratorName, Float32Array],
        context_features: ContextFeatures,
        users: Int64Array,
        items: Int64Array,
    ) -> BlendedScores:
        """What the blend makes of `scores[source][user, item]`; a source that is absent puts nothing forward.

        `users` and `items` are the rows and columns of the scores as places in the window of the traits. What must not
        be recommended has score 0 in every source.
        """
        shape = (len(users), len(items))
        blocks = [scores.get(name, np.zeros(shape, dtype=np.float32)) for name in self.sources]
        pairs = candidate_pairs(blocks, context_features, users, items, self.candidates)
        weights = np.array(self.weights, dtype=np.float32)
        utility = pairs.features @ weights
        best = np.full(len(users), -np.inf, dtype=np.float32)
        np.maximum.at(best, pairs.rows, utility)
        blended, sources = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.int64)
        # The smallest positive number: a candidate stays one however far it lies behind.
        blended[pairs.rows, pairs.columns] = np.maximum(np.exp(utility - best[pairs.rows]), np.finfo(np.float32).tiny)
        attributed = np.where(
            pairs.nominated, pairs.features @ (self._attribution_matrix() * weights[:, None]), -np.inf
        )
        sources[pairs.rows, pairs.columns] = attributed.argmax(axis=1)
        return BlendedScores(blended, sources)

    def _attribution_matrix(self) -> Float32Array:
        """Which feature is the word of which source, [feature, source] of 0 and 1."""
        names = feature_names(self.sources)
        out = np.zeros((len(names), len(self.sources)), dtype=np.float32)
        for position, source in enumerate(self.sources):
            own = [f"{source}: {name}" for name in GENERATOR_FEATURES]
            own += [f"{name}{more}" for name in ATTRIBUTED_FEATURES.get(source, ()) for more in ("", " x activity")]
            out[[names.index(name) for name in own], position] = 1
        return out

    def to_json(self) -> str:
        """The blend as JSON, weights by the names of their features."""
        names = feature_names(self.sources)
        return json.dumps(
            {
                "sources": self.sources,
                "weights": dict(zip(names, self.weights, strict=True)),
                "candidates": self.candidates,
                "chosen": self.chosen,
                "users": self.users,
                "judged": {name: quality._asdict() for name, quality in self.metrics.items()},
            },
            indent=1,
        )

    @classmethod
    def from_json(cls, text: str) -> Blend:
        """The blend that `to_json` wrote; raises ValueError where its features are not those of this version."""
        has_positive: dict[str, Any] = json.loads(text)
        sources = tuple(has_positive["sources"])
        names = feature_names(sources)
        if set(has_positive["weights"]) != set(names):
            raise ValueError("a blend of other features; fit it again")
        return cls(
            sources,
            tuple(has_positive["weights"][name] for name in names),
            has_positive["candidates"],
            has_positive["chosen"],
            has_positive["users"],
            {name: HeldOutMetrics(**quality) for name, quality in has_positive["judged"].items()},
        )
