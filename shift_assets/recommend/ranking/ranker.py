"""Fitted sources and the blend as one: what every user's items are worth, and which source spoke for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from shift_assets.arrays import Float32Array, Int64Array
from shift_assets.recommend.candidates.base import FittedGenerator, GeneratorInputs, Scorer
from shift_assets.recommend.candidates.registry import GENERATORS
from shift_assets.recommend.exclusions import pairs_in_block
from shift_assets.recommend.ranking.blend import Blend, BlendedScores
from shift_assets.recommend.ranking.features import ContextFeatures
from shift_assets.recommend.ranking.score_scaling import scale_to_best
from shift_assets.recommend.window import UserItems, Window, no_pairs
from shift_assets.settings.root import GeneratorName, RecommendationSettings

UserRanker = Callable[[Int64Array], BlendedScores]
"""A block of users to the worth, 0..1 of the user's best, of every allowed item."""


def fit_generators(inputs: GeneratorInputs, names: Sequence[GeneratorName]) -> dict[GeneratorName, FittedGenerator]:
    """The sources of these names that the inputs allow."""
    return {name: GENERATORS[name].fit(inputs) for name in names if GENERATORS[name].can_fit(inputs)}


@dataclass(frozen=True)
class BlendedRanker:
    """`fitted` sources, learnt from `log`, blended: by `blend`, or by fixed weights where there is none.

    Only `allowed` items, places in the vocabulary, are put into lists, and no pair (users, items) of `hidden`.
    """

    fitted: Mapping[GeneratorName, FittedGenerator]
    blend: Blend | None
    settings: RecommendationSettings
    log: Window
    allowed: Int64Array
    hidden: UserItems = field(default_factory=no_pairs)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the sources, in the order that `BlendedScores.sources` counts them."""
        return self.blend.sources if self.blend else tuple(self.fitted)

    def for_histories(self, window: Window) -> UserRanker:
        """What was learnt, turned on the histories of `window`, whose users are those of the hidden pairs."""
        scorers = {name: fitted(window) for name, fitted in self.fitted.items()}
        context_features = ContextFeatures.of(window, self.log) if self.blend else None

        def ranked(users: Int64Array) -> BlendedScores:
            hidden = pairs_in_block(self.hidden, users, self.allowed, window)
            scores = {name: self._open(scorer, users, hidden) for name, scorer in scorers.items()}
            if self.blend is None or context_features is None:
                return self._fixed(scores)
            return self.blend.score(scores, context_features, users, self.allowed)

        return ranked

    def _open(self, scorer: Scorer, users: Int64Array, hidden: UserItems) -> Float32Array:
        scores = scorer(users)[:, self.allowed]
        scores[hidden] = 0
        return scores

    def _fixed(self, scores: Mapping[GeneratorName, Float32Array]) -> BlendedScores:
        weights = self.settings.weights
        shares = [weights.get(name, 0.0) * scale_to_best(block) for name, block in scores.items()]
        best = np.zeros(shares[0].shape, dtype=np.float32)
        total, sources = np.zeros_like(best), np.zeros(best.shape, dtype=np.int64)
        for position, share in enumerate(shares):
            total += share
            sources[share > best] = position
            np.maximum(best, share, out=best)
        return BlendedScores(scale_to_best(total), sources)
