"""Messages about alerts, in the format of Prometheus Alertmanager's webhook (version 4), which many tools accept.

An alert is `firing` from the day it opens to the day it closes. The id of a message is a digest of alert, state and
severity: an alert that continues unchanged keeps its id and is therefore sent once; one whose severity changes, or
that closes, gets a new id. Nothing is sent here.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pyarrow as pa

from shift_assets.contracts.serving import ALERT_OUTBOX
from shift_assets.contracts.shift import SEVERITIES

_NOT_ENDED = "0001-01-01T00:00:00Z"
"""Alertmanager's `endsAt` of an alert that has not ended."""


def outbox_messages(alerts: pa.Table, minimum_severity: str) -> pa.Table:
    """Return a message for each alert that must be reported.

    A closed alert has a message whatever its last severity; the webhook sends it only if the alert was reported.

    Args:
        alerts: Rows of SHIFT_ALERTS.
        minimum_severity: Lowest severity to report.

    Returns:
        Rows of ALERT_OUTBOX.

    Raises:
        ValueError: The severity is unknown.
    """
    reported = frozenset(SEVERITIES[SEVERITIES.index(minimum_severity) :])
    rows = [
        {
            "day": alert["day"],
            "segment": alert["segment"],
            "message_id": message_id(alert["alert_id"], alert["status"], alert["severity"]),
            "alert_id": alert["alert_id"],
            "status": alert["status"],
            "severity": alert["severity"],
            "payload": json.dumps(_payload(alert), ensure_ascii=False, sort_keys=True),
        }
        for alert in alerts.to_pylist()
        if alert["severity"] in reported or alert["status"] == "closed"
    ]
    return pa.Table.from_pylist(rows, schema=ALERT_OUTBOX.schema)


def message_id(alert_id: str, status: str, severity: str) -> str:
    """Return the idempotency key: 32 hex characters, the same for every day on which an alert is unchanged."""
    reported = "resolved" if status == "closed" else f"firing|{severity}"
    return hashlib.sha256(f"{alert_id}|{reported}".encode()).hexdigest()[:32]


def _payload(alert: dict[str, Any]) -> dict[str, Any]:
    state = "resolved" if alert["status"] == "closed" else "firing"
    day = alert["day"].isoformat()
    labels = {
        "alertname": f"interest_{alert['kind']}",
        "kind": alert["kind"],
        "segment": alert["segment"],
        "severity": alert["severity"],
        "user_id": alert["user_id"],
    }
    annotations = {
        "summary": alert["explanation"],
        "day": day,
        "status": alert["status"],
        "magnitude": f"{alert['magnitude']:.3f}",
        "rising": _names(alert["rising"]),
        "falling": _names(alert["falling"]),
    }
    return {
        "version": "4",
        "groupKey": alert["alert_id"],
        "truncatedAlerts": 0,
        "status": state,
        "receiver": "shift_assets",
        "groupLabels": {"alertname": labels["alertname"]},
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": "",
        "alerts": [
            {
                "status": state,
                "labels": labels,
                "annotations": annotations,
                "startsAt": f"{alert['onset_day'].isoformat()}T00:00:00Z",
                "endsAt": f"{day}T00:00:00Z" if state == "resolved" else _NOT_ENDED,
                "generatorURL": "",
                "fingerprint": alert["alert_id"],
            }
        ],
    }


def _names(changes: list[dict[str, Any]]) -> str:
    return ", ".join(change["category"] for change in changes)
