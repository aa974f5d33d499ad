"""Of several open alerts of a user, the one of largest magnitude comes last."""

from __future__ import annotations

from datetime import date

import pyarrow as pa

from shift_assets.contracts.shift import SHIFT_ALERTS
from shift_assets.shift.alerts.ranked_alerts import open_by_magnitude

DAY = date(2026, 3, 1)


def alert(alert_id: str, magnitude: float, status: str = "opened") -> dict[str, object]:
    return {
        "day": DAY,
        "segment": "uk",
        "alert_id": alert_id,
        "user_id": "a",
        "status": status,
        "kind": "switch",
        "severity": "high",
        "magnitude": magnitude,
        "onset_day": DAY,
        "rising": [],
        "falling": [],
        "explanation": "because",
        "detector": "e_value",
    }


def test_open_alerts_are_sorted_by_magnitude_and_closed_ones_left_out() -> None:
    """Ties are in order of alert_id, whatever the order of the rows."""
    rows = [alert("3", 0.9, "closed"), alert("2", 0.5), alert("4", 0.7, "continued"), alert("1", 0.5)]
    found = open_by_magnitude(pa.Table.from_pylist(rows, schema=SHIFT_ALERTS.schema))
    assert found["alert_id"].to_pylist() == ["1", "2", "4"]
