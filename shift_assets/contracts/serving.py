"""Part of shift_assets.contracts.registry."""

from __future__ import annotations

from shift_assets.contracts.columns import HEX_32, STRING
from shift_assets.contracts.shift import ALERT_STATUSES, SEVERITIES
from shift_assets.contracts.table import Column, Table

ALERT_OUTBOX = Table(
    "alert_outbox",
    grain="one message about one alarm",
    key=("message_id",),
    consumer="the webhook notifier",
    own_columns=(
        Column("message_id", STRING, "Idempotency key of the message", pattern=HEX_32),
        Column("alert_id", STRING, "Alarm it tells of", pattern=HEX_32),
        Column("status", STRING, "Status of the alarm", allowed=ALERT_STATUSES),
        Column("severity", STRING, "How large", allowed=SEVERITIES),
        Column("payload", STRING, "JSON body that the webhook receives"),
    ),
)
