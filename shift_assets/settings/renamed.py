"""Settings that changed their name or are settings no more. Old names are read for one release, with a warning.

Take an entry out when the release after the one that brought it is made. What does not belong here: defaults of
settings, and the constants themselves; REMOVED repeats their values, and a test compares the two.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from shift_assets.settings.config_file import ConfigError, LineNumbers

log = logging.getLogger(__name__)

RENAMED: dict[str, str] = {
    "spark_remote": "spark.remote",
    "moves.spark_users": "spark.minimum_users",
    "recommendations.spark_users": "spark.minimum_users",
    "forecast.refit_weekday": "schedule.refit_weekday",
    "self_check.weekday": "schedule.self_check_weekday",
    "model.retrain_days": "schedule.retrain_days",
    "alerts.patience_active_days": "alerts.average_run_length",
    "churn.line": "churn.precision",
    "churn.threshold": "churn.precision",
    "model.repeats": "model.copy_mechanism",
    "model.item_start": "model.item_initialisation",
    "model.look_every": "model.eval_every_steps",
    "recommendations.sources": "recommendations.candidate_generators",
    "recommendations.fresh_places": "recommendations.fresh_slots",
    "recommendations.rising_weight": "adaptation.rising_weight",
    "reaction.short_term_weight": "adaptation.short_term_weight",
    "reaction.doubt": "adaptation.doubt",
    "reaction.half_life_days": "adaptation.half_life_days",
}
"""Old key: new key."""

RENAMED_VALUES: dict[str, dict[str, str]] = {"alerts.rule": {"patience": "average_run_length"}}
"""Key: old value: new value."""


class Constant(NamedTuple):
    """The constant that a former setting became."""

    value: object
    module: str
    name: str


_EVIDENCE = "shift_assets/shift/detector/evidence.py"
_TRAINING = "shift_assets/models/training/parameters.py"
_SELF_CHECK = "shift_assets/evaluate/detector_self_check.py"
_CANDIDATES = "shift_assets/recommend/candidates"
_ITEM_NEIGHBOURS = f"{_CANDIDATES}/item_neighbours.py"

REMOVED: dict[str, Constant] = {
    "signals.smoothing": Constant(0.5, "shift_assets/shift/detector/signals.py", "SMOOTHING"),
    "evidence.hazard": Constant(0.001, _EVIDENCE, "EvidenceParameters.hazard"),
    "evidence.prior_days": Constant(3.0, _EVIDENCE, "EvidenceParameters.prior_days"),
    "evidence.null_learning": Constant(0.5, _EVIDENCE, "EvidenceParameters.null_learning"),
    "evidence.day_cap": Constant(3.0, _EVIDENCE, "EvidenceParameters.day_cap"),
    "evidence.minimum_days_before": Constant(4, _EVIDENCE, "EvidenceParameters.minimum_days_before"),
    "evidence.least_share": Constant(0.002, "shift_assets/shift/detector/memory.py", "LEAST_SHARE"),
    "evidence.platform_prior_users": Constant(20.0, _EVIDENCE, "EvidenceParameters.platform_prior_users"),
    "evidence.promotion_guard_from": Constant(0.1, _EVIDENCE, "EvidenceParameters.promotion_guard_from"),
    "calibration.users": Constant(500, "shift_assets/shift/detector/calibration.py", "PERMUTED_HISTORIES"),
    "calibration.days_kept": Constant(4, "shift_assets/shift/detector/calibration.py", "NEWEST_DAYS"),
    "alerts.return_share": Constant(0.5, "shift_assets/shift/alerts/kinds.py", "RETURN_SHARE"),
    "alerts.severity_magnitude": Constant(
        (0.8, 0.95), "shift_assets/settings/alerts.py", "AlertSettings.severity_quantiles"
    ),
    "churn.fit_users": Constant(2_000, "shift_assets/churn/model.py", "FIT_USERS"),
    "churn.close_below": Constant(0.75, "shift_assets/churn/warnings.py", "CLOSE_FRACTION"),
    "forecast.ewma_half_life_weeks": Constant(2, "shift_assets/forecast/features.py", "EWMA_HALF_LIFE_WEEKS"),
    "forecast.least_share": Constant(0.01, "shift_assets/forecast/validation.py", "LEAST_SHARE"),
    "forecast.maximum_rows": Constant(20_000, "shift_assets/forecast/interest_forecasts.py", "MAXIMUM_ROWS"),
    "forecast.quality_rows": Constant(12_000, "shift_assets/outcomes/forecasts.py", "QUALITY_ROWS"),
    "forecast.folds": Constant(3, "shift_assets/forecast/validation.py", "FOLDS"),
    "moves.clusters": Constant(8, "shift_assets/shift/segment/alert_clusters.py", "MAXIMUM_CLUSTERS"),
    "self_check.active_days": Constant(8, _SELF_CHECK, "ACTIVE_DAYS"),
    "self_check.minimum_users": Constant(30, "shift_assets/shift/learned/shift_model.py", "MINIMUM_USERS"),
    "self_check.starts": Constant(12, "shift_assets/settings/shift.py", "EvidenceSettings.starts"),
    "self_check.posterior_windows": Constant(8, "shift_assets/settings/shift.py", "EvidenceSettings.posterior_window"),
    "self_check.bootstrap_samples": Constant(100, _SELF_CHECK, "BOOTSTRAP_SAMPLES"),
    "model.negatives": Constant(256, _TRAINING, "ModelParameters.negatives"),
    "model.negative_sampling": Constant("uniform", _TRAINING, "ModelParameters.negative_sampling"),
    "model.gbce_calibration": Constant(0.75, _TRAINING, "ModelParameters.gbce_calibration"),
    "model.full_softmax_items": Constant(20_000, _TRAINING, "ModelParameters.full_softmax_items"),
    "model.cropped_share": Constant(0.0, _TRAINING, "ModelParameters.cropped_share"),
    "model.hidden_share": Constant(0.0, _TRAINING, "ModelParameters.hidden_share"),
    "model.item_dropout": Constant(0.0, _TRAINING, "ModelParameters.item_dropout"),
    "model.target_span": Constant(50, _TRAINING, "ModelParameters.target_span"),
    "model.warm_learning_rate": Constant(5e-4, _TRAINING, "ModelParameters.warm_learning_rate"),
    "tasks.weighting": Constant("fixed", _TRAINING, "TaskParameters.weighting"),
    "tasks.stop_gradient": Constant(("purchase", "shift"), _TRAINING, "TaskParameters.stop_gradient"),
    "tasks.steps": Constant(30, _TRAINING, "TaskParameters.steps"),
    "tasks.warm_steps": Constant(10, _TRAINING, "TaskParameters.warm_steps"),
    "tasks.shift_active_days": Constant(3, _TRAINING, "TaskParameters.shift_active_days"),
    "tasks.batch_size": Constant(32, _TRAINING, "TaskParameters.batch_size"),
    "tasks.learning_rate": Constant(1e-2, _TRAINING, "TaskParameters.learning_rate"),
    "recommendations.similarity": Constant("cosine", _ITEM_NEIGHBOURS, "Config.similarity"),
    "recommendations.shrinkage": Constant(10.0, _ITEM_NEIGHBOURS, "Config.shrinkage"),
    "recommendations.neighbours": Constant(100, _ITEM_NEIGHBOURS, "Config.neighbours"),
    "recommendations.alike_users": Constant(50, f"{_CANDIDATES}/user_neighbours.py", "Config.neighbours"),
    "recommendations.factors": Constant(64, f"{_CANDIDATES}/als.py", "Config.factors"),
    "recommendations.ease_items": Constant(8_000, f"{_CANDIDATES}/ease.py", "Config.items"),
    "recommendations.ease_regularisation": Constant(100.0, f"{_CANDIDATES}/ease.py", "Config.regularisation"),
    "recommendations.rule_baskets": Constant(5, f"{_CANDIDATES}/association_rules.py", "Config.minimum_baskets"),
    "reaction.newest_events": Constant(10, "shift_assets/recommend/shift_adaptation/adaptation.py", "NEWEST_EVENTS"),
    "outcomes.minimum_effective_users": Constant(
        100, "shift_assets/outcomes/recommendations.py", "MINIMUM_EFFECTIVE_USERS"
    ),
    "experiments.effect_scale": Constant(0.03, "shift_assets/outcomes/experiments.py", "EFFECT_SCALE"),
}
"""Old key: the constant that applies instead."""

_OLD_SECTIONS = {key.partition(".")[0] for key in (*RENAMED, *REMOVED) if "." in key}


def old_keys(key: str) -> list[str]:
    """Return the old names of a key."""
    return [old for old, new in RENAMED.items() if new == key]


def rename_keys(content: Mapping[str, Any], lines: LineNumbers, file: Path) -> dict[str, Any]:
    """Return the content of a settings file under the names of this release, and log a warning for each old name.

    `lines` then knows the renamed keys by their new names.

    Raises:
        ConfigError: A setting is written under two names.
    """
    current = {key: dict(value) if isinstance(value, dict) else value for key, value in content.items()}
    written: dict[str, str] = {}
    for old, value in list(_present(current)):
        place = f"{file}:{lines.of(_path(old))}"
        _remove(current, old)
        if old in REMOVED:
            warn_once(_no_longer(place, old))
            continue
        new = RENAMED[old]
        other = written.get(new) or (new if _has(current, new) else None)
        if other:
            raise ConfigError(
                f"{place}: {old}: is now {new}, which line {lines.of(_path(other))} sets too (as {other}); "
                f"keep {new} alone"
            )
        warn_once(f"{place}: {old} is now {new}; rename it, the next release will not read the old name")
        section, _, name = new.partition(".")
        if not isinstance(current.setdefault(section, {}), dict):
            raise ConfigError(f"{file}:{lines.of((section,))}: {section}: expected the keys of a section")
        current[section][name] = value
        written[new] = old
        lines.move(_path(old), _path(new))
    for key, values in RENAMED_VALUES.items():
        section, _, name = key.partition(".")
        if _has(current, key) and str(current[section][name]) in values:
            old, new = str(current[section][name]), values[str(current[section][name])]
            warn_once(f"{file}:{lines.of(_path(key))}: {key}: {old} is now {new}; the next release will not read it")
            current[section][name] = new
    return current


def rename_variables(variables: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return environment variables under the names of this release, and log a warning for each old name.

    Names in `variables` are in lower case. A section's variable may hold its keys as JSON.

    Raises:
        ConfigError: A setting has two variables.
    """
    current = dict(variables)
    for section in sorted(_OLD_SECTIONS):
        current.update(_split_old_keys(current, section))
    for old in [key for key in (*RENAMED, *REMOVED) if _variable(key) in current]:
        value = current.pop(_variable(old))
        place = f"environment: {_variable(old).upper()}"
        if old in REMOVED:
            warn_once(_no_longer(place, old))
            continue
        new = _variable(RENAMED[old])
        if new in current:
            raise ConfigError(
                f"{place}: is now {new.upper()}, which is set too, under that name or another old one; "
                f"keep {new.upper()} alone"
            )
        warn_once(f"{place} is now {new.upper()}; rename it, the next release will not read the old name")
        current[new] = value
    for key, values in RENAMED_VALUES.items():
        found = current.get(_variable(key))
        if found in values:
            warn_once(
                f"environment: {_variable(key).upper()}: {found} is now {values[found]}; the next release will not "
                "read it"
            )
            current[_variable(key)] = values[found]
    return current


def _present(content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for old in (*RENAMED, *REMOVED):
        if _has(content, old):
            section, _, name = old.partition(".")
            yield old, content[section][name] if name else content[section]


def _has(content: Mapping[str, Any], key: str) -> bool:
    section, _, name = key.partition(".")
    return section in content and (not name or (isinstance(content[section], dict) and name in content[section]))


def _remove(content: dict[str, Any], key: str) -> None:
    """Take the key out, and its section with it where that is empty."""
    section, _, name = key.partition(".")
    if name:
        del content[section][name]
    if not name or not content[section]:
        del content[section]


def _split_old_keys(variables: Mapping[str, str | None], section: str) -> dict[str, str | None]:
    """The old keys in the JSON of a section's variable as variables of their own, and that variable without them."""
    name = f"shift_{section}"
    try:
        content = json.loads(variables.get(name) or "")
    except json.JSONDecodeError:
        return {}  # the settings report it
    if not isinstance(content, dict):
        return {}
    old = [key for key in _keys_of(section, (*RENAMED, *REMOVED)) if key in content]
    found: dict[str, str | None] = {}
    for key in old:
        value = content.pop(key)
        found[_variable(f"{section}.{key}")] = value if isinstance(value, str) else json.dumps(value)
    return {**found, name: json.dumps(content)} if found else {}


def _keys_of(section: str, keys: Iterable[str]) -> list[str]:
    return [key.partition(".")[2] for key in keys if key.partition(".")[0] == section]


def _no_longer(place: str, key: str) -> str:
    constant = REMOVED[key]
    return (
        f"{place}: {key} is no longer a setting; {constant.value!r} applies ({constant.name} in {constant.module}). "
        "Remove it"
    )


def _path(key: str) -> tuple[str, ...]:
    return tuple(key.split("."))


def _variable(key: str) -> str:
    return f"shift_{key.replace('.', '__')}"


@cache
def warn_once(message: str) -> None:
    """Log a warning, once however often a process reads its settings."""
    log.warning(message)
