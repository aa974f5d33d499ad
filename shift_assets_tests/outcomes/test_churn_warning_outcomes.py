"""Churn warnings are evaluated after the four weeks that they are about."""

from __future__ import annotations

from datetime import timedelta

import pyarrow as pa

from shift_assets.churn.bg_nbd import HORIZON_DAYS
from shift_assets.contracts.outcomes import ALERT_OUTCOMES
from shift_assets.contracts.shift import SHIFT_ALERTS
from shift_assets.outcomes.alerts import alert_outcomes
from shift_assets.outcomes.churn import churn_warning_outcomes
from shift_assets.settings.root import Settings
from shift_assets_tests.shift.logs import SEGMENT, day, series_of, states_of, user_id

WARNED = ("ann", "bob", "cid")


def alerts_of(status: str = "opened", kind: str = "churn_risk") -> pa.Table:
    rows = [
        {
            "day": day(0),
            "segment": SEGMENT,
            "alert_id": user_id(f"alert of {name}"),
            "user_id": user_id(name),
            "status": status,
            "kind": kind,
            "severity": "low",
            "magnitude": 0.0,
            "onset_day": day(0) - timedelta(days=20),
            "rising": [],
            "falling": [],
            "explanation": "Away.",
            "detector": "bg-nbd",
        }
        for name in WARNED
    ]
    return SHIFT_ALERTS.conform(pa.Table.from_pylist(rows, schema=SHIFT_ALERTS.schema))


def test_who_stayed_away_confirms_the_warning() -> None:
    """Ann buys on the last day, Bob only brings something back, Cid does not come; others do not count."""
    nothing: list[dict[str, int]] = [{}] * (HORIZON_DAYS - 1)
    visits = {"ann": [*nothing, {"mugs": 3}], "bob": [{"mugs": 0}], "dan": [{"mugs": 5}]}
    found = churn_warning_outcomes(alerts_of(), series_of(visits, first=1))
    rows = {row["alert_id"]: row for row in ALERT_OUTCOMES.conform(found).to_pylist()}
    outcomes = [rows[user_id(f"alert of {name}")] for name in WARNED]
    assert [row["confirmed"] for row in outcomes] == [False, False, True]
    assert [row["n_events"] for row in outcomes] == [3, 0, 0]
    assert {(row["horizon_days"], row["log_likelihood_gain"]) for row in outcomes} == {(HORIZON_DAYS, None)}


def test_shifts_and_warnings_are_evaluated_apart() -> None:
    """Neither function evaluates the other's alerts, nor any that did not open on the day."""
    series = series_of({"ann": [{"mugs": 9}]}, first=1)
    for other in (alerts_of(kind="switch"), alerts_of(status="closed"), alerts_of().slice(0, 0)):
        assert churn_warning_outcomes(other, series).num_rows == 0
    (state,) = states_of({name: [{"mugs": 1}] for name in WARNED}, Settings())
    assert alert_outcomes(alerts_of(), state, series, Settings()).num_rows == 0
