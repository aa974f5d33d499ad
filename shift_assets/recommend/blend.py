"""How the scores of several sources become one.

Rule. Each source's scores of a user are divided by the user's best, so that they lie in 0..1; weighted by
settings; added; and divided by the sum of the weights. For a user with an open alarm, with r = rising_weight:

    score = (1 - r) · blend + r · gain(category) · blend / best blend among the rising categories

where gain is the category's gained share over the largest gained share. The best item of the category that rose
most is pulled by r, and no item outside the rising categories overtakes one inside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from shift_assets.models.sequences import Integers
from shift_assets.recommend.source import Fitted, Scorer
from shift_assets.recommend.window import Floats, Window
from shift_assets.settings import SourceName


def normalised(scores: Floats) -> Floats:
    """`scores[user, item]` over each user's largest; a user without a positive score keeps zeros."""
    best = scores.max(axis=1, keepdims=True, initial=0)
    return np.asarray(scores / np.where(best > 0, best, 1), dtype=np.float32)


def blend(shares: Sequence[Floats]) -> Floats:
    """Sum of the sources' weighted shares [user, item]."""
    total = np.zeros_like(shares[0])
    for share in shares:
        total += share
    return total


def fixed_blend(fitted: Mapping[SourceName, Fitted], weights: Mapping[SourceName, float]) -> Fitted:
    """All `fitted` sources that have a weight as one, which scores in 0..1."""
    used = {name: weight for name, weight in weights.items() if weight > 0 and name in fitted}
    total = sum(used.values())

    def scorer_on(window: Window) -> Scorer:
        scorers = {name: fitted[name](window) for name in used}

        def scores(users: Integers) -> Floats:
            return blend([used[name] / total * normalised(scorer(users)) for name, scorer in scorers.items()])

        return scores

    return scorer_on


def pull_to_rising(blended: Floats, gains: Floats, rising_weight: float) -> Floats:
    """`blended[user, item]` pulled towards items with `gains[user, item]` in 0..1; rows without gain stay."""
    rising = np.where(gains > 0, blended, 0)
    best = rising.max(axis=1, keepdims=True, initial=0)
    pulled = (1 - rising_weight) * blended + rising_weight * gains * rising / np.where(best > 0, best, 1)
    return np.asarray(np.where(best > 0, pulled, blended), dtype=np.float32)
