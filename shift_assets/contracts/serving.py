"""The table of messages about alerts."""

from __future__ import annotations

from shift_assets.contracts.columns import HEX_32, STRING
from shift_assets.contracts.shift import ALERT_STATUSES, SEVERITIES
from shift_assets.contracts.table import Column, Table

ALERT_OUTBOX = Table(
    "alert_outbox",
    description="Messages about alerts of sufficient severity, waiting for the webhook",
    grain="one message about one alert",
    key=("message_id",),
    consumer="`alert_notifications`",
    own_columns=(
        Column("message_id", STRING, "Idempotency key of the message", pattern=HEX_32),
        Column("alert_id", STRING, "Alert that the message is about", pattern=HEX_32),
        Column("status", STRING, "Status of the alert", allowed=ALERT_STATUSES),
        Column("severity", STRING, "Severity of the alert", allowed=SEVERITIES),
        Column("payload", STRING, "JSON body of the request"),
    ),
)
