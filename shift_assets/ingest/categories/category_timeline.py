"""The categories of a log day by day: the fitted model, and the units that joined its groups since.

What is known of a landed day are its visits: who visited which unit. The joins of day D are computed from the visits
of folders before D alone, so that they never change when a later day lands, and each day's visits and joins are kept
as files: a night reads one new landed day, and a range of days gives what its days give one by one.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shift_assets.ingest.categories.category_model import CategoryModel
from shift_assets.ingest.categories.later_units import WINDOW_DAYS, LaterUnits

VISITS_PER_DAY = 200_000
"""Visits that are kept of a landed day, of whole users in the order of their pseudonyms, which is random: a few
visitors of a unit are enough, and a window of days fits in memory."""

FROM_THE_START = date(1970, 1, 1)

_VISITS = pa.schema([("user_id", pa.string()), ("unit", pa.string())])


class CategoryTimeline:
    """Category assignments that grow with the log.

    Only groups of co-occurrence grow: a later item has the text category of its text, and delivered ones need no model.
    """

    def __init__(self, model: CategoryModel, first_day: date, folder: Path | None = None) -> None:
        """Start from a fitted model.

        Args:
            model: The fitted categories.
            first_day: First landed day whose visits count.
            folder: Where visits and joins are kept; None: in memory only.
        """
        self.model = model
        self._first_day = first_day
        self._folder = folder
        self._visits: dict[date, pa.Table] = {}
        self._stored_joins = self._load_joins()
        self._stored_visits = {_day_of(path) for path in self._paths("visits-*.parquet")}
        self._joined: dict[str, tuple[str, date]] = {}
        self._groups = {name: number for number, name in enumerate(model.names)}
        self._later = LaterUnits(dict(zip(model.units, model.member.tolist(), strict=True)), len(model.names))
        self._next_day = first_day

    @property
    def grows(self) -> bool:
        """Whether units join."""
        return self.model.kind == "cooccurrence" and bool(self.model.names)

    def missing_visits(self, days: Collection[date], landed: Collection[date]) -> list[date]:
        """Return the days of `landed` whose visits the joins up to the newest of `days` need and that are not kept.

        Args:
            days: The days that are computed again.
            landed: Days with a landing folder.
        """
        needed: set[date] = set()
        for day in self._days_until(max(days)):
            if day in days or day not in self._stored_joins:
                needed.update(day - timedelta(days=before) for before in range(1, WINDOW_DAYS + 1))
        kept = self._stored_visits | self._visits.keys()
        return sorted(day for day in set(landed) & needed if day >= self._first_day and day not in kept)

    def add_visits(self, rows: pa.Table) -> None:
        """Keep the visits of landed days in place of earlier ones of the same days.

        Args:
            rows: folder_day, user_id, unit: each combination once, sorted; all rows of each day.
        """
        for day in pc.unique(rows["folder_day"]).to_pylist():
            if day >= self._first_day:
                visits = rows.filter(pc.equal(rows["folder_day"], day)).select(_VISITS.names).cast(_VISITS)
                self._keep(day, _whole_users(visits, VISITS_PER_DAY))

    def advance(self, days: Collection[date]) -> None:
        """Move on to the newest of `days`; joins of `days`, and joins that were never computed, are computed."""
        for day in self._days_until(max(days)):
            names = None if day in days else self._stored_joins.get(day)
            if names is None:
                names = {unit: self.model.names[group] for unit, group in self._joining(day).items()}
                self._keep_joins(day, names)
            new = {unit: name for unit, name in names.items() if not self._later.knows(unit)}
            self._later.assign({unit: self._groups[name] for unit, name in new.items()})
            self._joined |= {unit: (name, day) for unit, name in new.items()}
        self._next_day = max(self._next_day, max(days) + timedelta(days=1))

    def assignments(self) -> pa.Table:
        """Table of unit, category and from_day: the day from which the unit has the category."""
        fitted = self.model.assignments
        start = pa.array([FROM_THE_START] * fitted.num_rows, pa.date32())
        joined = pa.table(
            {
                "unit": pa.array(self._joined.keys(), pa.string()),
                "category": pa.array([name for name, _ in self._joined.values()], pa.string()),
                "from_day": pa.array([day for _, day in self._joined.values()], pa.date32()),
            }
        )
        return pa.concat_tables([fitted.append_column("from_day", start), joined])

    def _days_until(self, last: date) -> list[date]:
        return [self._next_day + timedelta(days=number) for number in range((last - self._next_day).days + 1)]

    def _joining(self, day: date) -> dict[str, int]:
        for earlier in self._later.days_to_add(day):
            self._later.add(earlier, self._load_visits(earlier))
        return self._later.joining(day)

    def _load_visits(self, day: date) -> pa.Table:
        if day in self._visits:
            return self._visits[day]
        if self._folder is not None and day in self._stored_visits:
            return pq.read_table(self._visits_path(self._folder, day), schema=_VISITS)
        return _VISITS.empty_table()

    def _keep(self, day: date, visits: pa.Table) -> None:
        if self._folder is None:
            self._visits[day] = visits
        else:
            _write_visits(self._visits_path(self._folder, day), visits)
            self._stored_visits.add(day)

    def _keep_joins(self, day: date, names: dict[str, str]) -> None:
        self._stored_joins[day] = names
        if self._folder is not None:
            content = json.dumps({"model": self.model.version, "joined": names}, ensure_ascii=False)
            self._folder.mkdir(parents=True, exist_ok=True)
            partial = self._folder / f".{uuid.uuid4().hex}"
            partial.write_text(content, encoding="utf-8")
            partial.replace(self._folder / f"joins-{day.isoformat()}.json")

    def _load_joins(self) -> dict[date, dict[str, str]]:
        stored: dict[date, dict[str, str]] = {}
        for path in self._paths("joins-*.json"):
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["model"] == self.model.version:
                stored[_day_of(path)] = content["joined"]
        return stored

    def _paths(self, pattern: str) -> list[Path]:
        return sorted(self._folder.glob(pattern)) if self._folder is not None and self.grows else []

    @staticmethod
    def _visits_path(folder: Path, day: date) -> Path:
        return folder / f"visits-{day.isoformat()}.parquet"


def forget_users(folder: Path, pseudonyms: Collection[str]) -> int:
    """Remove the visits of users from the files that a timeline keeps in `folder`; return the number removed."""
    users = pa.array(sorted(pseudonyms), pa.string())
    removed = 0
    for path in sorted(folder.glob("visits-*.parquet")):
        visits = pq.read_table(path, schema=_VISITS)
        remaining = visits.filter(pc.invert(pc.is_in(visits["user_id"], users)))
        if remaining.num_rows < visits.num_rows:
            _write_visits(path, remaining)
            removed += visits.num_rows - remaining.num_rows
    return removed


def _write_visits(path: Path, visits: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{uuid.uuid4().hex}")
    pq.write_table(visits, partial, compression="zstd")
    partial.replace(path)


def _whole_users(visits: pa.Table, most: int) -> pa.Table:
    """The first rows of visits sorted by user, at most `most`, none of a user whose rows would be cut."""
    if visits.num_rows <= most:
        return visits
    cut = visits["user_id"][most].as_py()
    return visits.filter(pc.less(visits["user_id"], cut))


def _day_of(path: Path) -> date:
    return date.fromisoformat(path.stem.partition("-")[2])
