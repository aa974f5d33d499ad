"""The category models of an installation, one folder per first day, and what later days added to their groups."""

from __future__ import annotations

import shutil
import uuid
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from shift_assets.storage.lake import MissingPartition

if TYPE_CHECKING:
    from shift_assets.ingest.categories.category_model import CategoryModel
    from shift_assets.ingest.categories.category_timeline import CategoryTimeline
    from shift_assets.ingest.cleaning.engines.engine import EngineName
    from shift_assets.ingest.rows.parse_context import ParseContext
    from shift_assets.settings.root import Settings


@dataclass(frozen=True)
class CategoryModels:
    """The models stored in `folder`."""

    folder: Path

    def load(self, day: date) -> CategoryModel:
        """Return the categories fitted for `day`.

        Raises:
            MissingPartition: none was fitted; the message names the asset to materialise.
        """
        from shift_assets.ingest.categories.category_model import CategoryModel

        stored = self.folder / day.isoformat()
        if not stored.exists():
            raise MissingPartition(
                f"category_model has no partition {day.isoformat()}; materialise it in the UI, or run a range of days: "
                "shift-assets run --from D --to D"
            )
        return CategoryModel.load(stored)

    @property
    def later_folder(self) -> Path:
        """Where visits of landed days, and the units that joined a group since the fit, are kept."""
        return self.folder / "later"

    def timeline(self, day: date) -> CategoryTimeline:
        """Return the categories fitted for `day`, which grow with the days after it.

        Raises:
            MissingPartition: as `load`.
        """
        from shift_assets.ingest.categories.category_timeline import CategoryTimeline

        return CategoryTimeline(self.load(day), day, self.later_folder)

    def refit_is_due(self, day: date, landed: int) -> bool:
        """Return whether the categories for `day` were fitted on too few days of a log that has `landed` by now."""
        from shift_assets.ingest.categories.fit import refit_is_due

        return (self.folder / day.isoformat()).exists() and refit_is_due(self.load(day).landed_days, landed)

    def fit(self, day: date, context: ParseContext, settings: Settings, engine: EngineName) -> CategoryModel:
        """Fit the categories on the first landed days from `day`, and store them in place of an earlier fit."""
        from shift_assets.ingest.cleaning.category_window import fit_landed_categories

        model = fit_landed_categories(
            context,
            day,
            seed=settings.seed,
            engine=engine,
            spark_remote=settings.spark.remote,
            staging=settings.staging,
        )
        partial = self.folder / f".{day.isoformat()}-{uuid.uuid4().hex}"
        model.save(partial)
        target = self.folder / day.isoformat()
        if target.exists():
            shutil.rmtree(target)
        partial.replace(target)
        return model
