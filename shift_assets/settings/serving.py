"""What leaves the installation: public BI files and notifications."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shift_assets.settings.section import Count, Section, Users


class PublicSettings(Section):
    """The public BI file `bi_public.duckdb`."""

    minimum_users: Users = Field(10, ge=1, description="Cells with fewer users are suppressed.")
    keep_generations: Count = Field(2, ge=1, description="Older versions of the BI files that are kept.")


class NotifySettings(Section):
    """Notifications about new alerts."""

    webhook_url: str | None = Field(None, description="Address that notifications are posted to; `null` sends none.")
    minimum_severity: Literal["low", "medium", "high"] = Field(
        "medium", description="Alerts of lower severity are not sent."
    )
