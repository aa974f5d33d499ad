"""Days on which categories were fitted: no detector is evaluated on them."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.ingest.categories.category_model import CategoryModel
from shift_assets.ingest.categories.fit import FIT_DAYS
from shift_assets.ingest.readers.source_files import list_landing
from shift_assets.settings.root import Settings


def without_learned_days(series: pa.Table, settings: Settings) -> pa.Table:
    """Leave out the days on whose visitors the categories were fitted.

    Categories of texts and delivered ones do not depend on visitors.

    Args:
        series: `interest_series` of any days.
        settings: Settings of the home, with its landing folder and models.
    """
    days = sorted({file.folder_day for file in list_landing(settings.landing).files})
    first = settings.calendar.first_day or (days[0] if days else None)
    if first is None or not _are_learned(settings.category_models / first.isoformat()):
        return series
    last: date = max([day for day in days if day >= first][:FIT_DAYS], default=first)
    return series.filter(pc.greater(series["day"], pa.scalar(last, pa.date32())))


def _are_learned(folder: Path) -> bool:
    return folder.exists() and CategoryModel.load(folder).kind == "cooccurrence"
