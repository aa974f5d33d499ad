"""YAML files that people write, read into typed models; an error names file, line, key and remedy."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from shift_assets.errors import UserError

Model = TypeVar("Model", bound=BaseModel)
KeyPath = tuple[str | int, ...]


class ConfigError(UserError):
    """A file or variable that a person wrote is wrong; the message says where and what to write instead."""


class LineNumbers:
    """Line of every key path of one YAML document."""

    def __init__(self, node: yaml.Node | None) -> None:
        self._line_of: dict[KeyPath, int] = {}
        if node is not None:
            self._walk(node, ())

    def _walk(self, node: yaml.Node, path: KeyPath) -> None:
        self._line_of.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                inner = (*path, key.value)
                if inner in self._line_of:
                    raise ConfigError(f"{key.start_mark.line + 1}: {key.value}: written twice; keep one")
                self._line_of[inner] = key.start_mark.line + 1
                self._walk(value, inner)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                self._walk(value, (*path, index))

    def move(self, old: KeyPath, new: KeyPath) -> None:
        """Let `new` and what is in it have the lines of `old`."""
        for path, line in list(self._line_of.items()):
            if path[: len(old)] == old:
                self._line_of[(*new, *path[len(old) :])] = line

    def of(self, path: KeyPath) -> int:
        """Return the line of the key, or of the nearest key around it."""
        while path and path not in self._line_of:
            path = path[:-1]
        return self._line_of.get(path, 1)


def read_yaml(path: Path) -> tuple[dict[str, Any], LineNumbers]:
    """The mapping in the YAML file at `path` and the line of each of its keys; raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}; save the file as UTF-8") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        lines = LineNumbers(node)
        content = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}:{line}: not valid YAML: {error.problem}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            f"{path}:{line}: character #x{error.character:04x} is not allowed in YAML; remove it"
        ) from error
    except ConfigError as error:
        raise ConfigError(f"{path}:{error}") from error
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path}:1: expected `key: value` lines, found {type(content).__name__}")
    return content, lines


def describe(
    error: ValidationError,
    where: Path,
    lines: LineNumbers,
    model: type[BaseModel],
    elsewhere: Callable[[KeyPath], str | None] = lambda _: None,
) -> str:
    """One line per problem: `file:line: key: problem; remedy`.

    `elsewhere` names the place of a key that was not written in the file.
    """
    messages = []
    for problem in error.errors(include_url=False):
        path: KeyPath = problem["loc"]
        is_key = path[-1:] == ("[key]",)
        path = path[:-1] if is_key else path
        dotted = ".".join(str(part) for part in path) or "(file)"
        text = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            known = _known_keys(model, path[:-1])
            close = difflib.get_close_matches(str(path[-1]), known, n=1)
            text = (
                f"unknown key; did you mean {close[0]!r}?" if close else f"unknown key; known here: {', '.join(known)}"
            )
        elif is_key and problem["type"] == "literal_error":
            text = f"unknown key; known here: {problem['ctx']['expected']}"
        elif problem["type"] == "missing":
            text = "missing; add this key"
        messages.append(f"{elsewhere(path) or f'{where}:{lines.of(path)}'}: {dotted}: {text}")
    return "\n".join(messages)


def _known_keys(model: type[BaseModel], path: KeyPath) -> list[str]:
    current: type[BaseModel] | None = model
    for part in path:
        field = current.model_fields.get(str(part)) if current else None
        candidates = [field.annotation, *getattr(field.annotation, "__args__", ())] if field else []
        current = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
    return sorted(field.alias or name for name, field in current.model_fields.items()) if current else []


def load_model(path: Path, model: type[Model], **more: Any) -> Model:
    """The YAML file at `path` as `model`, with `more` added; raises ConfigError naming line, key and remedy."""
    content, lines = read_yaml(path)
    try:
        return model(**{**content, **more})
    except ValidationError as error:
        raise ConfigError(describe(error, path, lines, model)) from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
