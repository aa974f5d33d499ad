"""Laws of the settings: one file, overridden by the environment; every mistake is named with its place and remedy."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from shift_assets.settings.config_file import ConfigError
from shift_assets.settings.root import Settings, load_settings


def written(home: Path, text: str) -> Path:
    (home / "settings.yaml").write_text(text, encoding="utf-8")
    return home


MISTAKES = {
    "unknown key": ("seed: 1\nmodell: {device: cpu}\n", r"settings\.yaml:2: modell: unknown key; did you mean 'model'"),
    "unknown inner key": ("model:\n  devise: cpu\n", r"settings\.yaml:2: model\.devise: .*did you mean 'device'"),
    "nothing like it": (
        "model:\n  xyzzy: 1\n",
        r"settings\.yaml:2: model\.xyzzy: unknown key; known here: .*batch_size",
    ),
    "written twice": ("model: {device: cpu}\nseed: 1\nmodel: {layers: 2}\n", r"settings\.yaml:3: model: written twice"),
    "out of range": ("\n\nlateness_days: 99\n", r"settings\.yaml:3: lateness_days: .*31"),
    "of another type": ("calendar: 3\n", r"settings\.yaml:1: calendar: "),
    "days in no order": (
        "calendar:\n  first_day: 2026-03-05\n  last_day: 2026-03-01\n",
        r"settings\.yaml:1: calendar: last_day 2026-03-01 lies before first_day 2026-03-05",
    ),
    "unknown behaviour": ("interest:\n  weights: {veiw: 1}\n", r"unknown behaviours \['veiw'\]; known: view"),
    "a lake that is no folder": ("lake: s3://bucket/lake\n", r"only folders are supported"),
    "an alert that could never open": (
        "state: {recent_active_days: 3, reference_active_days: 5}\n",
        r"minimum_active_days 12 is more than the 8 active days",
    ),
    "no YAML": ("lateness_days: '[\n", r"settings\.yaml:2: not valid YAML"),
    "no text": ("seed: 1\n# \x01\n", r"settings\.yaml:2: character #x0001 is not allowed in YAML; remove it"),
    "no mapping": ("- a\n", r"settings\.yaml:1: expected `key: value` lines"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_names_file_line_key_and_remedy(tmp_path: Path, case: str) -> None:
    """Whatever is wrong in the file, the message says where and what to write."""
    text, message = MISTAKES[case]
    with pytest.raises(ConfigError, match=message):
        load_settings(written(tmp_path, text))


def test_every_mistake_of_a_file_is_reported_at_once(tmp_path: Path) -> None:
    """Two wrong keys are two lines of one message."""
    with pytest.raises(ConfigError) as error:
        load_settings(written(tmp_path, "seeed: 1\nlateness_days: -1\n"))
    assert len(str(error.value).splitlines()) == 2


def test_a_file_that_is_no_text_is_reported(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 are named with their place."""
    (tmp_path / "settings.yaml").write_bytes(b"seed: 1\n# \xff\n")
    with pytest.raises(ConfigError, match="not UTF-8 at byte 10"):
        load_settings(tmp_path)


def test_without_a_file_everything_has_its_default(tmp_path: Path) -> None:
    """An empty home, and an empty file, are the defaults."""
    assert load_settings(tmp_path) == load_settings(written(tmp_path, ""))
    assert load_settings(tmp_path).home == tmp_path.resolve()


def test_the_environment_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable wins over the file, and leaves the other keys of its section as they stand there."""
    monkeypatch.setenv("SHIFT_MODEL__DEVICE", "cuda:1")
    monkeypatch.setenv("SHIFT_LATENESS_DAYS", "5")
    settings = load_settings(written(tmp_path, "lateness_days: 1\nseed: 7\nmodel: {device: cpu, layers: 2}\n"))
    assert (settings.lateness_days, settings.seed) == (5, 7)
    assert (settings.model.device, settings.model.layers) == ("cuda:1", 2)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("SHIFT_LATENESS_DAYS", "x", r"environment: SHIFT_LATENESS_DAYS: lateness_days: .*integer"),
        ("SHIFT_MODEL__LAYERS", "99", r"environment: SHIFT_MODEL__LAYERS: model\.layers: "),
        ("SHIFT_MODEL__DEVISE", "cpu", r"environment: SHIFT_MODEL__DEVISE: .*did you mean 'device'"),
        ("SHIFT_MODEL", "{bad", r"environment: .*model.*SHIFT_SECTION__KEY"),
        ("SHIFT_LATENES_DAYS", "2", r"environment: SHIFT_LATENES_DAYS: unknown; did you mean SHIFT_LATENESS_DAYS"),
    ],
)
def test_a_bad_variable_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
) -> None:
    """A wrong value in the environment is never blamed on the file, whether that sets the key or not."""
    monkeypatch.setenv(variable, value)
    for text in ("", "lateness_days: 1\nmodel: {layers: 1}\n"):
        with pytest.raises(ConfigError, match=message):
            load_settings(written(tmp_path, text))


def test_the_home_is_the_folder_that_was_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither SHIFT_HOME nor the file moves an installation that is opened by name."""
    monkeypatch.setenv("SHIFT_HOME", "/somewhere/else")
    assert load_settings(tmp_path).lake_root == str(tmp_path.resolve() / "lake")


def test_settings_never_change_once_read(tmp_path: Path) -> None:
    """Settings are frozen, sections too."""
    settings = load_settings(written(tmp_path, "calendar: {first_day: 2026-03-01}\n"))
    assert settings.calendar.first_day == date(2026, 3, 1)
    for holder, name in ((settings, "seed"), (settings.model, "layers")):
        with pytest.raises(ValueError, match="frozen"):
            setattr(holder, name, 3)


def test_every_section_refuses_unknown_keys_and_every_key_has_a_default() -> None:
    """An installation needs no settings at all, and a typo goes through nowhere."""
    open_sections = [Settings]
    while open_sections:
        section: type[BaseModel] = open_sections.pop()
        assert section.model_config.get("extra") == "forbid", section
        for name, found in section.model_fields.items():
            assert not found.is_required(), f"{section.__name__}.{name}"
            assert found.get_default(call_default_factory=True) is not PydanticUndefined
            if isinstance(found.annotation, type) and issubclass(found.annotation, BaseModel):
                open_sections.append(found.annotation)  # type: ignore[arg-type]
