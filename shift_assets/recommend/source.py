"""The interface of a candidate source."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from shift_assets.models.sequences import Integers
from shift_assets.recommend.window import Floats, Window
from shift_assets.settings import RecommendationSettings

if TYPE_CHECKING:
    from shift_assets.models.scoring import InterestModel

Scorer = Callable[[Integers], Floats]
"""Listed users (indices into the window's) to scores [user, item]; 0 for an item the source does not propose."""


class Inputs(NamedTuple):
    """What a source may learn from."""

    window: Window
    settings: RecommendationSettings
    model: InterestModel | None


class Source(NamedTuple):
    """One way to propose items: `fit` learns from the inputs and returns what scores users.

    A source that `needs_model` is left out of the blend on a day without one.
    """

    name: str
    fit: Callable[[Inputs], Scorer]
    needs_model: bool = False
