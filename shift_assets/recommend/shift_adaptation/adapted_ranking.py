"""Mix of the ranking of the whole history with that of its newest part."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from shift_assets.arrays import Int64Array
from shift_assets.recommend.ranking.blend import BlendedScores
from shift_assets.recommend.ranking.ranker import UserRanker
from shift_assets.recommend.shift_adaptation.adaptation import Adaptation
from shift_assets.recommend.window import Window


def adapt_ranking(ranked_on: Callable[[Window], UserRanker], window: Window, adaptation: Adaptation) -> UserRanker:
    """Every user's ranking of the whole history and that of its newest part, mixed as the `adaptation` says."""
    long = ranked_on(window)
    moved = adaptation.weight > 0
    short = ranked_on(window.since(np.where(moved, adaptation.since, window.today + 1)))

    def ranked(users: Int64Array) -> BlendedScores:
        found = long(users)
        rows = np.flatnonzero(moved[users])
        if len(rows):
            weight = adaptation.weight[users[rows], None]
            recent = short(users[rows])
            old_part, new_part = (1 - weight) * found.scores[rows], weight * recent.scores
            found.sources[rows] = np.where(new_part > old_part, recent.sources, found.sources[rows])
            found.scores[rows] = old_part + new_part
        return found

    return ranked
