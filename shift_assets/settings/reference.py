"""The settings as a Markdown page: `python -m shift_assets.settings.reference > docs/reference/settings.md`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, Literal, NamedTuple, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from shift_assets.settings.renamed import REMOVED, RENAMED_VALUES, old_keys
from shift_assets.settings.root import Settings, variable_name
from shift_assets.settings.section import Unit

TITLE = """# Settings

Written by `python -m shift_assets.settings.reference > docs/reference/settings.md`; do not edit.

Settings are read from `settings.yaml` in the home of an installation, a section's keys indented below its name.
Every key can be set by an environment variable instead, which wins over the file. A key that is absent has its
default.
"""


class Setting(NamedTuple):
    """One key."""

    key: str
    field: FieldInfo

    @property
    def default(self) -> Any:
        return self.field.get_default(call_default_factory=True)


def all_settings() -> Iterator[Setting]:
    """Every key of every section, in the order of the settings; the keys without a section first."""
    sections: list[tuple[str, type[BaseModel]]] = []
    for name, field in Settings.model_fields.items():
        if (section := section_of(field)) is None:
            yield Setting(name, field)
        else:
            sections.append((name, section))
    for name, section in sections:
        for key, field in section.model_fields.items():
            yield Setting(f"{name}.{key}", field)


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """The section that a field of the settings holds; None for a key."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def unit_of(field: FieldInfo) -> str:
    """What the number counts; empty for what is no number."""
    return next((part.name for part in field.metadata if isinstance(part, Unit)), "")


def range_of(field: FieldInfo) -> str:
    """The bounds of a number, or the words that are allowed; empty where everything of the type is."""
    kind = next((part for part in get_args(field.annotation) if part is not NoneType), field.annotation)
    words = field.annotation if get_origin(field.annotation) is Literal else kind
    if get_origin(words) is Literal:
        return ", ".join(f"`{word}`" for word in get_args(words))
    if field.annotation is bool:
        return "`true`, `false`"
    symbols = {Ge: ("≥", "ge"), Gt: (">", "gt"), Le: ("≤", "le"), Lt: ("<", "lt")}
    bounds = [
        f"{symbols[type(part)][0]} {getattr(part, symbols[type(part)][1]):,}"
        for part in field.metadata
        if type(part) in symbols
    ]
    return ", ".join(bounds)


def page() -> str:
    """Return the reference page."""
    lines = [TITLE]
    section = None
    for setting in all_settings():
        name = setting.key.partition(".")[0] if "." in setting.key else ""
        if name != section:
            section = name
            lines += _heading(name)
        lines.append(_row(setting))
    lines += [
        "",
        "## Former settings",
        "",
        "Keys that an older `settings.yaml` may hold. They are ignored with a warning; the constant applies.",
        "",
        "| Old key | Value | Constant |",
        "|---|---|---|",
        *(
            f"| `{key}` | `{_text(constant.value)}` | `{constant.name}` in `{constant.module}` |"
            for key, constant in REMOVED.items()
        ),
    ]
    return "\n".join(lines) + "\n"


def _heading(name: str) -> list[str]:
    head = ["| Key | Default | Unit | Range | Meaning | Variable | Old name |", "|---|---|---|---|---|---|---|"]
    if not name:
        return ["## Without a section", "", *head]
    about = getattr(section_of(Settings.model_fields[name]), "__doc__", None) or ""
    return ["", f"## `{name}`", "", " ".join(about.split()), "", *head]


def _row(setting: Setting) -> str:
    key = setting.key.rpartition(".")[2]
    old = [*old_keys(setting.key), *(f"{key}: {value}" for value in RENAMED_VALUES.get(setting.key, {}))]
    cells = [
        f"`{key}`",
        f"`{_text(setting.default)}`",
        unit_of(setting.field),
        range_of(setting.field),
        setting.field.description or "",
        f"`{variable_name(setting.key)}`",
        ", ".join(f"`{name}`" for name in old),
    ]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _text(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    return value if isinstance(value, str) else json.dumps(value)


if __name__ == "__main__":
    sys.stdout.write(page())
