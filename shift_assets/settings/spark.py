"""Where Spark runs and what it is used for."""

from __future__ import annotations

from pydantic import Field

from shift_assets.settings.section import Section, Users


class SparkSettings(Section):
    """The Spark engine, where `engine` selects it."""

    remote: str = Field(
        "local[*]", description="Spark master or Spark Connect address: `local[*]`, `spark://host:7077`, `sc://host`."
    )
    minimum_users: Users = Field(
        200_000,
        ge=0,
        description="Number of users from which Spark mines rules and fits recommenders; smaller segments stay on one "
        "machine.",
    )
