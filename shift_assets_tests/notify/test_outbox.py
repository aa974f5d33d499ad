"""Laws of the outbox: an alert is reported once per severity, and once when it ends."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shift_assets.contracts.serving import ALERT_OUTBOX
from shift_assets.contracts.shift import ALERT_STATUSES, SEVERITIES, SHIFT_ALERTS
from shift_assets.notify.outbox import message_id, outbox_messages
from shift_assets_tests.lakes import partitions, rows_of

ALERTS = rows_of(SHIFT_ALERTS, partitions(1)[0], 60, users=1000)


@pytest.mark.parametrize("minimum", SEVERITIES)
def test_severe_and_closed_alerts_are_reported(minimum: str) -> None:
    messages = outbox_messages(ALERTS, minimum)
    assert ALERT_OUTBOX.conform(messages).schema == ALERT_OUTBOX.schema
    reported = set(messages["alert_id"].to_pylist())
    for alert in ALERTS.to_pylist():
        severe = SEVERITIES.index(alert["severity"]) >= SEVERITIES.index(minimum)
        assert (alert["alert_id"] in reported) == (severe or alert["status"] == "closed")


def test_no_alerts_make_no_messages() -> None:
    assert outbox_messages(SHIFT_ALERTS.empty(), "low").num_rows == 0


def test_a_payload_is_an_alertmanager_message() -> None:
    payload = json.loads(outbox_messages(ALERTS, "low")["payload"][0].as_py())
    assert payload["version"] == "4"
    (alert,) = payload["alerts"]
    assert alert["labels"]["segment"] == "uk"
    assert alert["status"] in ("firing", "resolved")
    assert alert["startsAt"].endswith("T00:00:00Z")
    assert alert["annotations"]["summary"].startswith("explanation")


@given(
    st.sampled_from(ALERT_STATUSES),
    st.sampled_from(ALERT_STATUSES),
    st.sampled_from(SEVERITIES),
    st.sampled_from(SEVERITIES),
)
def test_a_message_is_new_when_the_alert_ends_or_changes_severity(
    before: str, after: str, severity_before: str, severity_after: str
) -> None:
    same = message_id("a", before, severity_before) == message_id("a", after, severity_after)
    ended = [status == "closed" for status in (before, after)]
    assert same == (all(ended) or (not any(ended) and severity_before == severity_after))
    assert message_id("a", before, severity_before) != message_id("b", before, severity_before)


def test_messages_depend_on_the_alerts_alone() -> None:
    again = outbox_messages(pa.concat_tables([ALERTS.slice(0, 10), ALERTS.slice(10)]), "low")
    assert again.equals(outbox_messages(ALERTS, "low"))
