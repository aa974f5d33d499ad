"""The blend: a linear utility over candidate features, attributed to candidate generators, with a JSON form."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

from shift_assets.arrays import Float32Array, Int64Array
from shift_assets.errors import PermanentError
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
"""Context features whose contribution is attributed to a generator."""
_STORED_FEATURES = {
    "is candidate": "listed",
    "days since first seen": "newness",
    "days since last seen": "rest",
    "event recency": "turn",
    "saved": "kept",
}
"""Features that the stored weights hold by another name than the code."""


class HeldOutMetrics(NamedTuple):
    """Ranking quality on held-out users: mean recall and NDCG at the length of a slate."""

    recall: float
    ndcg: float


class BlendedScores(NamedTuple):
    """Scores of items and what they are attributed to.

    Attributes:
        scores: [user, item] in 0..1; each user's best candidate has 1, what is no candidate 0.
        generators: [user, item] index, among the names of the blend, of the generator of the largest contribution.
    """

    scores: Float32[Float32Array, "user item"]
    generators: Int64[Int64Array, "user item"]


@dataclass(frozen=True)
class Blend:
    """Weights of a linear utility, and how they were chosen.

    Attributes:
        generators: Candidate generators whose scores it reads.
        weights: One per name of `feature_names(generators)`.
        candidates: Items that each generator proposes per user.
        chosen: "learned", "fixed", or the name of the one generator that won.
        users: Users that it was fitted on.
        metrics: Metrics on held-out users of each option that could have been chosen.
    """

    generators: tuple[GeneratorName, ...]
    weights: tuple[float, ...]
    candidates: int
    chosen: str
    users: int
    metrics: Mapping[str, HeldOutMetrics]

    def score(
        self,
        scores: Mapping[GeneratorName, Float32[Float32Array, "user item"]],
        context_features: ContextFeatures,
        users: Int64[Int64Array, " user"],
        items: Int64[Int64Array, " item"],
    ) -> BlendedScores:
        """Blend the generators' scores.

        Args:
            scores: [user, item] of each generator, 0 for what must not be recommended; one that is missing proposes
                nothing.
            context_features: Features of the users and items of a window.
            users: Rows of the scores, as indices into that window's users.
            items: Columns of the scores, as indices into that window's items.
        """
        shape = (len(users), len(items))
        blocks = [scores.get(name, np.zeros(shape, dtype=np.float32)) for name in self.generators]
        pairs = candidate_pairs(blocks, context_features, users, items, self.candidates)
        weights = np.array(self.weights, dtype=np.float32)
        utility = pairs.features @ weights
        best = np.full(len(users), -np.inf, dtype=np.float32)
        np.maximum.at(best, pairs.rows, utility)
        blended, generators = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.int64)
        # The smallest positive number: a candidate remains one however far behind the best it is.
        blended[pairs.rows, pairs.columns] = np.maximum(np.exp(utility - best[pairs.rows]), np.finfo(np.float32).tiny)
        contributions = np.where(
            pairs.nominated, pairs.features @ (self._attribution_matrix() * weights[:, None]), -np.inf
        )
        generators[pairs.rows, pairs.columns] = contributions.argmax(axis=1)
        return BlendedScores(blended, generators)

    def _attribution_matrix(self) -> Float32Array:
        """1 where the contribution of a feature is attributed to a generator, [feature, generator]."""
        names = feature_names(self.generators)
        out = np.zeros((len(names), len(self.generators)), dtype=np.float32)
        for position, generator in enumerate(self.generators):
            own = [f"{generator}: {name}" for name in GENERATOR_FEATURES]
            own += [f"{name}{more}" for name in ATTRIBUTED_FEATURES.get(generator, ()) for more in ("", " x activity")]
            out[[names.index(name) for name in own], position] = 1
        return out

    def to_json(self) -> str:
        """The blend as JSON, its weights by the stored names of their features."""
        return json.dumps(
            {
                "sources": self.generators,
                "weights": dict(zip(_stored_names(self.generators), self.weights, strict=True)),
                "candidates": self.candidates,
                "chosen": self.chosen,
                "users": self.users,
                "judged": {name: metrics._asdict() for name, metrics in self.metrics.items()},
            },
            indent=1,
        )

    @classmethod
    def from_json(cls, text: str) -> Blend:
        """The blend that `to_json` wrote.

        Raises:
            PermanentError: Its features are not those of this version.
        """
        found: dict[str, Any] = json.loads(text)
        generators = tuple(found["sources"])
        names = _stored_names(generators)
        if set(found["weights"]) != set(names):
            other = ", ".join(sorted(set(found["weights"]) ^ set(names)))
            raise PermanentError(f"stored blend: its features are not those of this version ({other}); fit it again")
        return cls(
            generators,
            tuple(found["weights"][name] for name in names),
            found["candidates"],
            found["chosen"],
            found["users"],
            {name: HeldOutMetrics(**metrics) for name, metrics in found["judged"].items()},
        )


def _stored_names(generators: Sequence[str]) -> list[str]:
    """Names of the features in the stored weights, in order."""
    names = []
    for name in feature_names(generators):
        generator, colon, feature = name.rpartition(": ")
        feature, times, _ = feature.partition(" x activity")
        names.append(f"{generator}{colon}{_STORED_FEATURES.get(feature, feature)}{times}")
    return names
