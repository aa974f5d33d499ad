"""The interface of a candidate generator: fitted on one window, it scores the histories of any other.

So a fit can stay frozen while histories go on, as in an offline evaluation, or score only the newest part of a
history, as after a shift of interest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

from shift_assets.arrays import Float32Array, Int64Array
from shift_assets.recommend.window import Window
from shift_assets.settings.root import GeneratorName, RecommendationSettings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from shift_assets.models.network.interest_model import InterestModel
    from shift_assets.recommend.candidates.item_content import Content
    from shift_assets.recommend.candidates.user_signals import UserSignals

Scorer = Callable[[Int64Array], Float32Array]
"""Users (indices into a window's) to scores [user, item]; 0 for an item that the generator does not propose."""
FittedGenerator = Callable[[Window], Scorer]
"""A fitted generator, to be applied to the histories of a window with the same vocabulary."""
Language = Literal["en", "zh"]


class GeneratorInputs(NamedTuple):
    """What a candidate generator is fitted on.

    Attributes:
        window: The histories.
        settings: Parameters of the generators.
        model: The interest model served on the day; None without one.
        content: Vectors of the items; None where none are needed.
        signals: Ratings, reviews and external signals of the users; None where none are needed.
        session: Spark session for the large sums; None: they are computed in this process.
        seed: Seed of the generators with a random start.
    """

    window: Window
    settings: RecommendationSettings
    model: InterestModel | None
    content: Content | None = None
    signals: UserSignals | None = None
    session: SparkSession | None = None
    seed: int = 0


class CandidateGenerator(NamedTuple):
    """One way to propose items.

    Attributes:
        name: Its name in the settings and in column `source` of the recommendations.
        fit: Fits it on the inputs.
        reasons: Why it proposes an item, a short phrase per language.
        needs_model: Left out on a day without an interest model.
        needs: Parts of the inputs without which it is left out.
    """

    name: GeneratorName
    fit: Callable[[GeneratorInputs], FittedGenerator]
    reasons: Mapping[Language, str]
    needs_model: bool = False
    needs: tuple[Literal["content", "signals"], ...] = ()

    def can_fit(self, inputs: GeneratorInputs) -> bool:
        """Whether `inputs` hold what the generator needs."""
        if self.needs_model and inputs.model is None:
            return False
        return all(getattr(inputs, name) is not None for name in self.needs)
