"""Fitted sources and the blend as one: what every user's items are worth, and which source spoke for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from shift_assets.models.sequences import Integers
from shift_assets.recommend.blend import normalised
from shift_assets.recommend.ranker import Blend, Ranked, Traits
from shift_assets.recommend.reaction import Reaction
from shift_assets.recommend.rules import places_of
from shift_assets.recommend.source import Fitted, Inputs, Scorer
from shift_assets.recommend.sources import SOURCES
from shift_assets.recommend.window import Floats, UserItems, Window, no_pairs
from shift_assets.settings import RecommendationSettings, SourceName

RankedUsers = Callable[[Integers], Ranked]
"""A block of users to the worth, 0..1 of the user's best, of every allowed item."""


def fit_sources(inputs: Inputs, names: Sequence[SourceName]) -> dict[SourceName, Fitted]:
    """The sources of these names that the inputs allow."""
    return {name: SOURCES[name].fit(inputs) for name in names if SOURCES[name].possible(inputs)}


@dataclass(frozen=True)
class Mixer:
    """`fitted` sources, learnt from `log`, blended: by `blend`, or by fixed weights where there is none.

    Only `allowed` items, places in the vocabulary, are put into lists, and no pair (users, items) of `hidden`.
    """

    fitted: Mapping[SourceName, Fitted]
    blend: Blend | None
    settings: RecommendationSettings
    log: Window
    allowed: Integers
    hidden: UserItems = field(default_factory=no_pairs)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the sources, in the order that `Ranked.sources` counts them."""
        return self.blend.sources if self.blend else tuple(self.fitted)

    def on(self, window: Window) -> RankedUsers:
        """What was learnt, turned on the histories of `window`, whose users are those of the hidden pairs."""
        scorers = {name: fitted(window) for name, fitted in self.fitted.items()}
        traits = Traits.of(window, self.log) if self.blend else None

        def ranked(users: Integers) -> Ranked:
            hidden = places_of(self.hidden, users, self.allowed, window)
            scores = {name: self._open(scorer, users, hidden) for name, scorer in scorers.items()}
            if self.blend is None or traits is None:
                return self._fixed(scores)
            return self.blend.score(scores, traits, users, self.allowed)

        return ranked

    def _open(self, scorer: Scorer, users: Integers, hidden: UserItems) -> Floats:
        scores = scorer(users)[:, self.allowed]
        scores[hidden] = 0
        return scores

    def _fixed(self, scores: Mapping[SourceName, Floats]) -> Ranked:
        weights = self.settings.weights
        shares = [weights.get(name, 0.0) * normalised(block) for name, block in scores.items()]
        best = np.zeros(shares[0].shape, dtype=np.float32)
        total, sources = np.zeros_like(best), np.zeros(best.shape, dtype=np.int64)
        for place, share in enumerate(shares):
            total += share
            sources[share > best] = place
            np.maximum(best, share, out=best)
        return Ranked(normalised(total), sources)


def leaning(ranked_on: Callable[[Window], RankedUsers], window: Window, reaction: Reaction) -> RankedUsers:
    """Every user's ranking of the whole history and that of its newest part, mixed as the `reaction` says."""
    long = ranked_on(window)
    moved = reaction.weight > 0
    short = ranked_on(window.since(np.where(moved, reaction.since, window.today + 1)))

    def ranked(users: Integers) -> Ranked:
        found = long(users)
        rows = np.flatnonzero(moved[users])
        if len(rows):
            weight = reaction.weight[users[rows], None]
            recent = short(users[rows])
            old_part, new_part = (1 - weight) * found.scores[rows], weight * recent.scores
            found.sources[rows] = np.where(new_part > old_part, recent.sources, found.sources[rows])
            found.scores[rows] = old_part + new_part
        return found

    return ranked
