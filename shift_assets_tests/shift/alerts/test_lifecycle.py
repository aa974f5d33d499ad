"""The rules of the evidence, one user's day each: the same for a confidence and for log M."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from shift_assets.settings.root import AlertSettings
from shift_assets.shift.alerts.lifecycle import EvidenceObservation, Transition, evidence_transition

STARTS = 12
NAN = float("nan")


def transition(
    before: float, now: float, *, is_open: bool = False, rule: str = "flagged_share", **changes: Any
) -> Transition:
    """The transition of one user, with a threshold of 0.8."""
    given = {"q_value": NAN, "scored_since_onset": 3, "days_since_renewal": 0} | changes
    observation = EvidenceObservation(
        before=np.array([before]),
        now=np.array([now]),
        threshold=0.8,
        q_value=np.array([given["q_value"]]),
        scored_since_onset=np.array([given["scored_since_onset"]]),
    )
    settings = AlertSettings.model_validate({"rule": rule, "false_discovery_rate": 0.1})
    return evidence_transition(
        observation, np.array([is_open]), np.array([given["days_since_renewal"]]), STARTS, settings
    )


@pytest.mark.parametrize(
    ("before", "now", "opens"),
    [
        (0.1, 0.8, True),
        (NAN, 0.9, True),
        (0.1, 0.79, False),
        (0.8, 0.9, False),  # it was above already, since an alert that closed by time
        (0.1, NAN, False),
    ],
)
def test_an_alert_opens_on_crossing_the_threshold_from_below(before: float, now: float, opens: bool) -> None:
    for rule in ("flagged_share", "average_run_length"):
        assert transition(before, now, rule=rule).opened.tolist() == [opens]


def test_by_discovery_the_q_value_opens() -> None:
    """Whatever the statistic is, but not where it was above before."""
    assert transition(0.1, 0.2, rule="discovery", q_value=0.05).opened.tolist() == [True]
    assert transition(0.1, 0.9, rule="discovery").opened.tolist() == [False]
    assert transition(0.9, 0.9, rule="discovery", q_value=0.05).opened.tolist() == [False]


@pytest.mark.parametrize(
    ("now", "changes", "status"),
    [
        (0.9, {}, "continued"),
        (0.41, {}, "continued"),
        (0.39, {}, "closed"),
        (0.9, {"scored_since_onset": STARTS}, "settled"),
        (NAN, {"days_since_renewal": 5}, ""),
        (NAN, {"days_since_renewal": 10_000}, "closed"),
    ],
)
def test_an_open_alert_goes_on_above_half_its_threshold(now: float, changes: dict[str, Any], status: str) -> None:
    """It closes below, by time, or once the new interest is the normal one; it never opens again meanwhile."""
    found = transition(0.9, now, is_open=True, **changes)
    assert found.opened.tolist() == [False]
    assert found.continued.tolist() == [status == "continued"]
    assert found.closed.tolist() == [status in ("closed", "settled")]
    assert found.settled.tolist() == [status == "settled"]
