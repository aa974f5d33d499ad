"""The model card: what a model was trained on, and its metrics on the validation days."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

from shift_assets import __version__


@lru_cache(maxsize=1)
def code_revision() -> str:
    """Git revision that last changed this package, with `+` for uncommitted changes; the version outside a checkout."""
    package = Path(__file__).parents[2]
    git = shutil.which("git")
    if git is None:
        return __version__

    def contents(*arguments: str) -> str:
        found = subprocess.run(  # noqa: S603 - fixed arguments
            [git, *arguments, "--", "."], cwd=package, capture_output=True, text=True, timeout=30, check=False
        )
        return found.stdout.strip() if found.returncode == 0 else ""

    revision = contents("log", "-1", "--format=%h", "--abbrev=12")
    return revision + ("+" if contents("status", "--porcelain") else "") if revision else __version__


@dataclass(frozen=True)
class ModelCard:
    """Data, training and metrics of a model; stored as `card.json` and, for people, as `README.md`."""

    day: date
    outcome: str
    window_start: date
    window_end: date
    events: int
    users: int
    items: int
    steps: int
    seed: int
    warm_start: str | None
    settings: dict[str, Any]
    metrics: dict[str, float] = field(default_factory=dict)
    code_version: str = __version__
    promoted: bool = True
    judged_against: str | None = None
    revision: str = field(default_factory=code_revision)

    def _task_names(self) -> str:
        tasks = (self.settings.get("tasks") or {}).get("weights", {})
        return "; also predicts: " + ", ".join(tasks) if tasks else ""

    def _served(self) -> str:
        if not self.promoted:
            return f"no, {self.judged_against} is better on the validation days"
        return (
            "yes" if self.judged_against is None else f"yes, better than {self.judged_against} on the validation days"
        )

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=2, sort_keys=True, default=str) + "\n"

    def as_markdown(self) -> str:
        """The card as Markdown."""
        metrics = "\n".join(f"| {name} | {value:.4f} |" for name, value in sorted(self.metrics.items()))
        return (
            f"# Next-item model of {self.day}\n\n"
            f"Ranks a segment's items by what a user takes next{self._task_names()}. {self.outcome}.\n\n"
            f"- Data: {self.events} events of {self.users} users on {self.items} items, "
            f"{self.window_start} to {self.window_end}\n"
            f"- Training: {self.steps} steps, seed {self.seed}, started from {self.warm_start or 'random weights'}, "
            f"code {self.code_version}, revision {self.revision}\n"
            f"- Served: {self._served()}\n"
            "- Use: daily recommendations and shift signals of the segment it was trained on. "
            "Not for decisions about individuals.\n"
            "- Limits: items without events in the window have no score; the weights were not trained on the "
            "validation days.\n\n"
            "| metric on the validation days | value |\n|---|---|\n" + metrics + "\n"
        )
