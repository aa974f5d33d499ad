"""Interaction weights of users and items, decayed by age: what the collaborative generators read."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from shift_assets.recommend.window import Window

INTERACTION_CAP = 2.0


def decayed_interactions(window: Window, half_life_days: float) -> sparse.csr_matrix:
    """Interaction weight [user, item]: one per event, halved every `half_life_days`, at most INTERACTION_CAP in all."""
    found = window.user_items(np.exp2(-window.ages / half_life_days))
    found.data = np.minimum(found.data, INTERACTION_CAP)
    return found
