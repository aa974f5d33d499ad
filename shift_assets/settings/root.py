"""The settings of an installation: `settings.yaml` in its home, overridden by `SHIFT_*` environment variables.

A variable sets the key of a section with two underscores: `SHIFT_MODEL__DEVICE=cpu`. This module joins the sections;
a setting is defined in the module of its section.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from shift_assets.settings import renamed
from shift_assets.settings.adaptation import AdaptationSettings
from shift_assets.settings.alerts import AlertSettings, ChurnSettings
from shift_assets.settings.calendar import CalendarSettings
from shift_assets.settings.config_file import ConfigError, LineNumbers, describe, read_yaml
from shift_assets.settings.experiments import POLICIES, ExperimentSettings
from shift_assets.settings.forecast import ForecastSettings
from shift_assets.settings.ingest import BotSettings
from shift_assets.settings.interest import FeatureSettings, InterestSettings
from shift_assets.settings.model import ModelSettings, TaskSettings
from shift_assets.settings.outcomes import OutcomeSettings
from shift_assets.settings.recommendations import GeneratorName, RecommendationSettings
from shift_assets.settings.schedule import ScheduleSettings
from shift_assets.settings.section import Days, Unit
from shift_assets.settings.serving import NotifySettings, PublicSettings
from shift_assets.settings.shift import (
    EvidenceSettings,
    MoveSettings,
    SelfCheckSettings,
    SignalSettings,
    StateSettings,
)
from shift_assets.settings.spark import SparkSettings

__all__ = [
    "POLICIES",
    "AdaptationSettings",
    "AlertSettings",
    "BotSettings",
    "ChurnSettings",
    "EvidenceSettings",
    "ExperimentSettings",
    "FeatureSettings",
    "ForecastSettings",
    "GeneratorName",
    "InterestSettings",
    "ModelSettings",
    "OutcomeSettings",
    "RecommendationSettings",
    "SelfCheckSettings",
    "Settings",
    "SignalSettings",
    "StateSettings",
    "TaskSettings",
    "load_settings",
]

DEFAULT_HOME = Path(".shift")
PREFIX = "SHIFT_"


class Settings(BaseSettings):
    """Everything that the operator of one installation may set."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
    )

    home: Path = Field(DEFAULT_HOME, description="Folder of the installation; `--home` and `SHIFT_HOME` set it.")
    lake: str | None = Field(None, description="Folder of the Delta tables; `null` is `lake/` in the home.")
    seed: Annotated[int, Unit("number")] = Field(
        20260101, ge=0, lt=2**32, description="Seed of everything that is drawn at random."
    )
    lateness_days: Days = Field(
        3, ge=0, le=31, description="How late an event may arrive and still be counted on the day on which it happened."
    )
    engine: Literal["auto", "spark", "embedded"] = Field(
        "auto",
        description="What cleans the events: Spark, or the embedded engine (DuckDB). `auto` takes Spark where it can "
        "run.",
    )
    calendar: CalendarSettings = CalendarSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    spark: SparkSettings = SparkSettings()
    bots: BotSettings = BotSettings()
    interest: InterestSettings = InterestSettings()
    features: FeatureSettings = FeatureSettings()
    state: StateSettings = StateSettings()
    signals: SignalSettings = SignalSettings()
    evidence: EvidenceSettings = EvidenceSettings()
    alerts: AlertSettings = AlertSettings()
    churn: ChurnSettings = ChurnSettings()
    forecast: ForecastSettings = ForecastSettings()
    moves: MoveSettings = MoveSettings()
    self_check: SelfCheckSettings = SelfCheckSettings()
    model: ModelSettings = ModelSettings()
    tasks: TaskSettings = TaskSettings()
    recommendations: RecommendationSettings = RecommendationSettings()
    adaptation: AdaptationSettings = AdaptationSettings()
    outcomes: OutcomeSettings = OutcomeSettings()
    experiments: ExperimentSettings = ExperimentSettings()
    public: PublicSettings = PublicSettings()
    notify: NotifySettings = NotifySettings()

    @model_validator(mode="after")
    def _possible(self) -> Settings:
        if self.lake is not None and "://" in self.lake:
            raise ValueError(f"lake {self.lake}: only folders are supported so far; name a mounted folder")
        held = self.state.recent_active_days + self.state.reference_active_days
        needed = max(self.signals.minimum_active_days, self.alerts.minimum_active_days)
        if needed > held:
            raise ValueError(
                f"minimum_active_days {needed} is more than the {held} active days that the state holds "
                "(state.recent_active_days + state.reference_active_days): no alert could ever open"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the base class names the arguments
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        if isinstance(env_settings, EnvSettingsSource):
            env_settings.env_vars = renamed.rename_variables(env_settings.env_vars)
        return env_settings, init_settings

    @property
    def landing(self) -> Path:
        return self.home / "landing"

    @property
    def lake_root(self) -> str:
        return self.lake or str(self.home / "lake")

    @property
    def bi(self) -> Path:
        return self.home / "bi"

    @property
    def models(self) -> Path:
        return self.home / "models"

    @property
    def category_models(self) -> Path:
        """Of each first day a folder."""
        return self.models / "category_model"

    @property
    def privacy(self) -> Path:
        return self.home / "privacy"

    @property
    def evaluation(self) -> Path:
        """Scores of users that `evaluate` wrote; made again by calling it again."""
        return self.home / "evaluation"

    @property
    def staging(self) -> Path:
        """Run-unique folders of work in progress; safe to delete when nothing runs."""
        return self.home / "staging"

    @property
    def dagster_home(self) -> Path:
        return self.home / "dagster"


def load_settings(home: Path) -> Settings:
    """Return the settings of the installation at `home`; its `settings.yaml` may be absent.

    Keys that were renamed since the release before are read under their old name, with a warning.

    Raises:
        ConfigError: The file or a variable is wrong; the message names file, line, key and remedy.
    """
    home = home.resolve()
    path = home / "settings.yaml"
    content, lines = read_yaml(path) if path.exists() else ({}, LineNumbers(None))
    content = renamed.rename_keys(content, lines, path)
    _refuse_misspelt_variables()
    try:
        settings = Settings(**{**content, "home": home})
    except ValidationError as error:
        raise ConfigError(describe(error, path, lines, Settings, _variable_of)) from error
    except SettingsError as error:
        raise ConfigError(f"environment: {error}; write a section's keys as SHIFT_SECTION__KEY=value") from error
    return settings.model_copy(update={"home": home})


def _variable_of(path: tuple[str | int, ...]) -> str | None:
    """The set variable that gives the key at `path` its value; variables win over the file."""
    for length in range(len(path), 0, -1):
        dotted = ".".join(str(part) for part in path[:length])
        for key in (dotted, *renamed.old_keys(dotted)):
            name = variable_name(key)
            if name in os.environ:
                return f"environment: {name}"
    return None


def variable_name(key: str) -> str:
    """Return the environment variable that sets the key, written `section.key`."""
    return PREFIX + key.replace(".", "__").upper()


def _refuse_misspelt_variables() -> None:
    """A variable whose name is nearly a setting's would otherwise do nothing, silently."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    known |= {variable_name(key).partition("__")[0] for key in (*renamed.RENAMED, *renamed.REMOVED)}
    for variable in sorted(os.environ):
        name = variable.partition("__")[0]
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.9)
        if variable.startswith(PREFIX) and name not in known and close:
            raise ConfigError(f"environment: {variable}: unknown; did you mean {close[0]}?")
