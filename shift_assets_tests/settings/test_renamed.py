"""Laws of renamed settings: an older file and older variables are read as before, and the log says what to change."""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from shift_assets.settings.config_file import ConfigError
from shift_assets.settings.reference import all_settings
from shift_assets.settings.renamed import REMOVED, RENAMED, RENAMED_VALUES, Constant, warn_once
from shift_assets.settings.root import Settings, load_settings, variable_name

OTHER_VALUES: dict[str, Any] = {
    "spark.remote": "sc://cluster",
    "spark.minimum_users": 7,
    "schedule.refit_weekday": 2,
    "schedule.self_check_weekday": 3,
    "schedule.retrain_days": 14,
    "alerts.average_run_length": 30.0,
    "churn.precision": 0.75,
    "model.copy_mechanism": False,
    "model.item_initialisation": "random",
    "model.eval_every_steps": 4,
    "recommendations.candidate_generators": ["popularity", "repeats"],
    "recommendations.fresh_slots": 2,
    "adaptation.rising_weight": 0.25,
    "adaptation.short_term_weight": 0.5,
    "adaptation.doubt": 1.0,
    "adaptation.half_life_days": 10.0,
}
"""A value of every renamed setting that is not its default."""
TWO_OLD_NAMES = {"moves.spark_users", "churn.threshold"}
"""Also `recommendations.spark_users` and `churn.line`; a file may hold one of the two."""


@pytest.fixture(autouse=True)
def _every_warning_is_new() -> Iterator[None]:
    warn_once.cache_clear()
    yield
    warn_once.cache_clear()


def nested(values: dict[str, Any]) -> dict[str, Any]:
    """`{"a.b": 1}` as `{"a": {"b": 1}}`."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        section, _, name = key.partition(".")
        if name:
            found.setdefault(section, {})[name] = value
        else:
            found[section] = value
    return found


def load(home: Path, content: dict[str, Any] | str) -> Settings:
    text = content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
    (home / "settings.yaml").write_text(text, encoding="utf-8")
    return load_settings(home)


def test_a_file_of_the_release_before_gives_the_same_settings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Every old key is read under its new name, and every former setting is ignored; each with one warning."""
    old = {key: OTHER_VALUES[new] for key, new in RENAMED.items() if key not in TWO_OLD_NAMES}
    former = {key: list(c.value) if isinstance(c.value, tuple) else c.value for key, c in REMOVED.items()}
    with caplog.at_level(logging.WARNING):
        found = load(tmp_path, nested(old | former | {"alerts.rule": "patience"}))
    assert found == load(tmp_path, nested(OTHER_VALUES | {"alerts.rule": "average_run_length"}))
    assert len(caplog.messages) == len(old) + len(former) + 1


@pytest.mark.parametrize("old", RENAMED)
def test_every_old_variable_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, old: str
) -> None:
    """Alone, and as JSON of its section; the warning names both variables."""
    new = RENAMED[old]
    value = OTHER_VALUES[new]
    text = value if isinstance(value, str) else json.dumps(value)
    wanted = load(tmp_path, nested({new: value}))
    (tmp_path / "settings.yaml").unlink()
    monkeypatch.setenv(variable_name(old), text)
    assert load_settings(tmp_path) == wanted
    assert caplog.messages == [
        f"environment: {variable_name(old)} is now {variable_name(new)}; rename it, the next release will not read the "
        "old name"
    ]
    section, _, name = old.partition(".")
    if name:
        monkeypatch.delenv(variable_name(old))
        monkeypatch.setenv(variable_name(section), json.dumps({name: value}))
        assert load_settings(tmp_path) == wanted


@pytest.mark.parametrize("old", REMOVED)
def test_every_former_variable_is_ignored_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, old: str
) -> None:
    monkeypatch.setenv(variable_name(old), "5")
    assert load_settings(tmp_path) == Settings(home=tmp_path.resolve())
    (message,) = caplog.messages
    assert f"{variable_name(old)}: {old} is no longer a setting; {REMOVED[old].value!r} applies" in message


def test_warnings_name_file_line_and_both_keys(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A command reads the settings several times and says it once."""
    text = "seed: 1\nalerts:\n  rule: patience\n  patience_active_days: 30\nevidence: {hazard: 0.01}\n"
    for _ in range(2):
        assert load(tmp_path, text).alerts.average_run_length == 30
    file = tmp_path.resolve() / "settings.yaml"
    assert caplog.messages == [
        f"{file}:4: alerts.patience_active_days is now alerts.average_run_length; rename it, the next release will not "
        "read the old name",
        f"{file}:5: evidence.hazard is no longer a setting; 0.001 applies (EvidenceParameters.hazard in "
        "shift_assets/shift/detector/evidence.py). Remove it",
        f"{file}:3: alerts.rule: patience is now average_run_length; the next release will not read it",
    ]


@pytest.mark.parametrize("text", ["churn:\n  line: 0.7\n  precision: 0.8\n", "churn: {precision: 0.7, line: 0.7}\n"])
def test_a_setting_under_both_names_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"settings\.yaml:\d: churn\.line: is now churn\.precision, which line \d"):
        load(tmp_path, text)


def test_two_old_names_of_one_setting_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"recommendations\.spark_users: is now spark\.minimum_users, .*as moves\."):
        load(tmp_path, "moves: {spark_users: 1}\nrecommendations: {spark_users: 2}\n")


def test_both_variables_of_a_setting_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHIFT_CHURN__LINE", "0.7")
    monkeypatch.setenv("SHIFT_CHURN__PRECISION", "0.7")
    with pytest.raises(ConfigError, match=r"SHIFT_CHURN__LINE: is now SHIFT_CHURN__PRECISION, which is set too"):
        load_settings(tmp_path)


def test_an_old_variable_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a new one does, and whichever name the file uses."""
    monkeypatch.setenv("SHIFT_CHURN__LINE", "0.9")
    for name in ("line", "threshold", "precision"):
        assert load(tmp_path, f"churn: {{{name}: 0.7}}\n").churn.precision == 0.9


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("churn:\n  line: 2\n", r"settings\.yaml:2: churn\.precision: .*less than 1"),
        ("churn:\n  lime: 0.5\n", r"settings\.yaml:2: churn\.lime: unknown key"),
        ("reaction:\n  doubt: 1\n  doupt: 1\n", r"settings\.yaml:1: reaction: unknown key"),
        ("alerts:\n  avrage_run_length: 9\n", r"settings\.yaml:2: .*did you mean 'average_run_length'"),
        ("schedule: 3\nforecast: {refit_weekday: 1}\n", r"settings\.yaml:1: schedule: "),
    ],
)
def test_mistakes_are_refused_as_before(tmp_path: Path, text: str, message: str) -> None:
    """A bad value under an old name is named at its line, and a misspelt key is no old name."""
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, text)


def test_a_bad_value_of_an_old_variable_is_blamed_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHIFT_CHURN__LINE", "2")
    with pytest.raises(ConfigError, match=r"environment: SHIFT_CHURN__LINE: churn\.precision: "):
        load_settings(tmp_path)


def test_every_new_name_is_a_setting_and_no_old_one_is() -> None:
    keys = {setting.key for setting in all_settings()}
    assert set(RENAMED.values()) == set(OTHER_VALUES) <= keys
    assert not keys & (RENAMED.keys() | REMOVED.keys())
    assert not RENAMED.keys() & REMOVED.keys()
    assert RENAMED_VALUES.keys() <= keys


@pytest.mark.parametrize("old", REMOVED)
def test_the_constant_of_a_former_setting_has_the_value_that_the_warning_names(old: str) -> None:
    assert value_of(REMOVED[old]) == REMOVED[old].value


def value_of(constant: Constant) -> object:
    module = importlib.import_module(constant.module.removesuffix(".py").replace("/", "."))
    holder, _, name = constant.name.rpartition(".")
    if not holder:
        return getattr(module, name)
    owner: Any = module
    for part in holder.split("."):
        owner = getattr(owner, part)
    if isinstance(owner, type) and issubclass(owner, BaseModel):
        return owner.model_fields[name].default
    if is_dataclass(owner):
        return next(field.default for field in fields(owner) if field.name == name)
    return owner._field_defaults[name]
