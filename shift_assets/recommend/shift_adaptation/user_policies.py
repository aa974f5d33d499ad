"""Per-user policies: the adaptation to a shift, and the boost of what rises in an open alert."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from scipy.special import logit

from shift_assets.arrays import BoolArray, Float32Array
from shift_assets.contracts.day import day_number
from shift_assets.experiments.assignment import RECENCY_REWEIGHTED, UNADJUSTED, Arm, Assignment
from shift_assets.recommend.shift_adaptation.adaptation import NEWEST_EVENTS, Adaptation
from shift_assets.recommend.shift_adaptation.shift_classifier import EventShares, ShiftClassifier
from shift_assets.recommend.window import Window
from shift_assets.settings.root import AdaptationSettings
from shift_assets.shift.alerts.ranked_alerts import open_by_magnitude


class OpenAlert(NamedTuple):
    """A user's open alert; `gains` holds the gained share of every rising category over the largest."""

    alert_id: str
    onset_day: date
    confidence: float | None
    gains: dict[str, float]


class UserPolicies(NamedTuple):
    """What differs between the users of a window.

    Attributes:
        open_alerts: By pseudonym.
        adaptation: Weight and first day of the short-term interest.
        adjusts: Whether the policy reacts to a shift, [user].
        rising_weight: Weight of the categories that rise in an open alert, 0 where the policy does not react, [user].
    """

    open_alerts: Mapping[str, OpenAlert]
    adaptation: Adaptation
    adjusts: BoolArray
    rising_weight: Float32Array

    @classmethod
    def of(
        cls,
        window: Window,
        alerts: pa.Table,
        shift_classifier: ShiftClassifier | None,
        assignment: Assignment,
        *,
        settings: AdaptationSettings,
        rising_weight: float,
    ) -> UserPolicies:
        """The policies of the target users by their arms; other users are neither adapted nor boosted.

        Of an alert and the shift classifier the adaptation of larger weight counts.

        Args:
            window: Histories of the users.
            alerts: Rows of shift_alerts of the day.
            shift_classifier: None: only alerts adapt.
            assignment: Arms of the target users.
            settings: Parameters of the adaptation.
            rising_weight: Weight of rising categories of an arm that does not carry its own.
        """
        count = len(window.sequences.users)
        arms = [Arm.of(name) for name in assignment.arms]
        reacts = np.array([arm.policy not in (UNADJUSTED, RECENCY_REWEIGHTED) for arm in arms])
        reweights = np.array([arm.policy == RECENCY_REWEIGHTED for arm in arms])
        weights = np.array([rising_weight if arm.rising_weight is None else arm.rising_weight for arm in arms])
        adjusts, reweights_recent = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
        adjusts[window.target_users], reweights_recent[window.target_users] = (
            reacts[assignment.arm],
            reweights[assignment.arm],
        )
        rising = np.zeros(count, dtype=np.float32)
        rising[window.target_users] = (reacts * weights)[assignment.arm]
        open_alerts = open_alerts_by_user(alerts)
        shifted = _adaptation_to_alerts(window, open_alerts, settings)
        if shift_classifier is not None:
            odds, since = shift_classifier.log_odds(window, EventShares.of(window))
            shifted = Adaptation.of(odds, since, window.today, settings).or_stronger(shifted)
        recent = Adaptation.to_newest(window, NEWEST_EVENTS)
        return cls(open_alerts, shifted.only(adjusts).or_stronger(recent.only(reweights_recent)), adjusts, rising)


def open_alerts_by_user(alerts: pa.Table) -> dict[str, OpenAlert]:
    """By user the open alert with a rising category; of several the one of largest magnitude."""
    open_alerts: dict[str, OpenAlert] = {}
    columns = ["user_id", "alert_id", "rising", "onset_day", "confidence"]
    for row in open_by_magnitude(alerts).select(columns).to_pylist():
        gains = {change["category"]: change["share_after"] - change["share_before"] for change in row["rising"]}
        largest = max(gains.values(), default=0.0)
        if largest > 0:
            of_largest = {category: max(gain, 0.0) / largest for category, gain in gains.items()}
            open_alerts[row["user_id"]] = OpenAlert(row["alert_id"], row["onset_day"], row["confidence"], of_largest)
    return open_alerts


def _adaptation_to_alerts(
    window: Window, open_alerts: Mapping[str, OpenAlert], settings: AdaptationSettings
) -> Adaptation:
    """The adaptation to open alerts alone."""
    odds, since = np.full(len(window.sequences.users), -np.inf), window.today.copy()
    for user, name in enumerate(window.sequences.users):
        alert = open_alerts.get(name)
        if alert is not None and alert.confidence is not None:
            odds[user], since[user] = logit(alert.confidence), day_number(alert.onset_day)
    return Adaptation.of(odds, since, window.today, settings)
