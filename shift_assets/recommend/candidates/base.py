"""The interface of a candidate source: fitted on one window, it scores the histories of any other.

So what was learnt can stay frozen while histories go on, as in a test, or be turned on a part of a history only,
as after a shift.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

from shift_assets.arrays import Float32Array, Int64Array
from shift_assets.recommend.window import Window
from shift_assets.settings.root import GeneratorName, RecommendationSettings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from shift_assets.models.inference.scoring import InterestModel
    from shift_assets.recommend.candidates.item_content import Content
    from shift_assets.recommend.candidates.user_signals import UserSignals

Scorer = Callable[[Int64Array], Float32Array]
"""Users (indices into a window's) to scores [user, item]; 0 for an item the source does not propose."""
FittedGenerator = Callable[[Window], Scorer]
"""What a source learnt, turned on the histories of a window with the same vocabulary."""


class GeneratorInputs(NamedTuple):
    """What a source may learn from.

    `session`: a Spark session that does the large sums; None: this process does. `content` and `signals` are None
    where nothing is known of the items, or nothing but events of the users.
    """

    window: Window
    settings: RecommendationSettings
    model: InterestModel | None
    content: Content | None = None
    signals: UserSignals | None = None
    session: SparkSession | None = None
    seed: int = 0


class CandidateGenerator(NamedTuple):
    """One way to propose items: `fit` learns from the inputs.

    A source that `needs_model` is left out of the blend on a day without one; so is one that `needs` content or
    signals where there are none.
    """

    name: GeneratorName
    fit: Callable[[GeneratorInputs], FittedGenerator]
    needs_model: bool = False
    needs: tuple[Literal["content", "signals"], ...] = ()

    def can_fit(self, inputs: GeneratorInputs) -> bool:
        """Whether `inputs` hold what the source needs."""
        if self.needs_model and inputs.model is None:
            return False
        return all(getattr(inputs, name) is not None for name in self.needs)
