"""The interface of a candidate source: fitted on one window, it scores the histories of any other.

So what was learnt can stay frozen while histories go on, as in a test, or be turned on a part of a history only,
as after a shift.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from shift_assets.models.sequences import Integers
from shift_assets.recommend.window import Floats, Window
from shift_assets.settings import RecommendationSettings

if TYPE_CHECKING:
    from shift_assets.models.scoring import InterestModel

Scorer = Callable[[Integers], Floats]
"""Users (indices into a window's) to scores [user, item]; 0 for an item the source does not propose."""
Fitted = Callable[[Window], Scorer]
"""What a source learnt, turned on the histories of a window with the same vocabulary."""


class Inputs(NamedTuple):
    """What a source may learn from."""

    window: Window
    settings: RecommendationSettings
    model: InterestModel | None


class Source(NamedTuple):
    """One way to propose items: `fit` learns from the inputs.

    A source that `needs_model` is left out of the blend on a day without one.
    """

    name: str
    fit: Callable[[Inputs], Fitted]
    needs_model: bool = False
