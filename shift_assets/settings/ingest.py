"""What is accepted of the landed events."""

from __future__ import annotations

from pydantic import Field

from shift_assets.settings.section import Events, Section


class BotSettings(Section):
    """Limits above which a user counts as a bot; all its events of that minute or day are rejected."""

    events_per_minute: Events = Field(300, ge=1, description="Most events of one user in one minute.")
    events_per_day: Events = Field(20_000, ge=1, description="Most events of one user in one day.")
