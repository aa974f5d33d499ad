"""Fitted candidate generators and their blend as one: scores of every user's items, attributed to a generator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from jaxtyping import Int64

from shift_assets.arrays import Float32Array, Int64Array
from shift_assets.recommend.candidates.base import FittedGenerator, Scorer
from shift_assets.recommend.exclusions import pairs_in_block
from shift_assets.recommend.ranking.blend import Blend, BlendedScores
from shift_assets.recommend.ranking.features import ContextFeatures
from shift_assets.recommend.ranking.score_scaling import scale_to_best
from shift_assets.recommend.shift_adaptation.adaptation import Adaptation
from shift_assets.recommend.window import UserItems, Window, no_pairs
from shift_assets.settings.root import GeneratorName, RecommendationSettings


@dataclass(frozen=True)
class BlendedRanker:
    """Ranks items for the histories of a window.

    Attributes:
        fitted: Candidate generators, fitted on `log`.
        blend: Learned blend of their scores; None: the fixed weights of the settings.
        settings: Parameters of the recommendations.
        log: Window that the generators were fitted on; item features are computed from it.
        histories: Histories to score, with the vocabulary of `log`.
        allowed: Items that may be recommended, the columns of the scores.
        excluded: Pairs of user of `histories` and item that must not be recommended.
        adaptation: Weight and first day of every user's short-term interest; None: whole histories only.
    """

    fitted: Mapping[GeneratorName, FittedGenerator]
    blend: Blend | None
    settings: RecommendationSettings
    log: Window
    histories: Window
    allowed: Int64[Int64Array, " item"]
    excluded: UserItems = field(default_factory=no_pairs)
    adaptation: Adaptation | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the generators, in the order that `BlendedScores.generators` indexes."""
        return self.blend.generators if self.blend else tuple(self.fitted)

    def score(self, users: Int64[Int64Array, " user"]) -> BlendedScores:
        """Scores [user, allowed item] in 0..1 of each user's best, and the generator of each.

        With an adaptation of weight g the score is (1 - g) · score of the whole history + g · score of its newest
        part, attributed to the generator of the larger term.
        """
        found = self._blended(users)
        if self.adaptation is None:
            return found
        rows = np.flatnonzero(self.adaptation.weight[users] > 0)
        if len(rows):
            weight = self.adaptation.weight[users[rows], None]
            recent = self._short_term.score(users[rows])
            long_part, short_part = (1 - weight) * found.scores[rows], weight * recent.scores
            found.generators[rows] = np.where(short_part > long_part, recent.generators, found.generators[rows])
            found.scores[rows] = long_part + short_part
        return found

    @cached_property
    def _short_term(self) -> BlendedRanker:
        """The same ranker on the newest part of the adapted users' histories."""
        if self.adaptation is None:
            return self
        since = np.where(self.adaptation.weight > 0, self.adaptation.since, self.histories.today + 1)
        return replace(self, histories=self.histories.since(since), adaptation=None)

    @cached_property
    def _scorers(self) -> dict[GeneratorName, Scorer]:
        return {name: fitted(self.histories) for name, fitted in self.fitted.items()}

    @cached_property
    def _context_features(self) -> ContextFeatures:
        return ContextFeatures.of(self.histories, self.log)

    def _blended(self, users: Int64Array) -> BlendedScores:
        excluded = pairs_in_block(self.excluded, users, self.allowed, self.histories)
        scores = {}
        for name, scorer in self._scorers.items():
            scores[name] = scorer(users)[:, self.allowed]
            scores[name][excluded] = 0
        if self.blend is None:
            return self._fixed_blend(scores)
        return self.blend.score(scores, self._context_features, users, self.allowed)

    def _fixed_blend(self, scores: Mapping[GeneratorName, Float32Array]) -> BlendedScores:
        """Sum of the generators' scaled scores, by the weights of the settings."""
        weights = self.settings.weights
        weighted = [weights.get(name, 0.0) * scale_to_best(block) for name, block in scores.items()]
        best = np.zeros(weighted[0].shape, dtype=np.float32)
        total, generators = np.zeros_like(best), np.zeros(best.shape, dtype=np.int64)
        for position, block in enumerate(weighted):
            total += block
            generators[block > best] = position
            np.maximum(best, block, out=best)
        return BlendedScores(scale_to_best(total), generators)
