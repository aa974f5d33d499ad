"""What each user's policy makes of its shift: how far the list leans, from when, and what pulls it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.special import logit

from shift_assets.days import day_number
from shift_assets.policies.assignment import RECENCY_REWEIGHTED, UNADJUSTED, Arm, Assignment
from shift_assets.recommend.gate import Gate, Shares
from shift_assets.recommend.reaction import Reaction
from shift_assets.recommend.window import Floats, Window
from shift_assets.settings import ReactionSettings


class Alarm(NamedTuple):
    """A user's open alarm: its id, onset, confidence, and gained share of every rising category over the largest."""

    alert_id: str
    onset_day: date
    confidence: float | None
    gains: dict[str, float]


class Treatment(NamedTuple):
    """What differs between the users of a window; arrays run along its users.

    `adjusts`: the policy reacts to a shift; `rising_weight` is then its pull towards what rises in an open alarm.
    """

    alarms: Mapping[str, Alarm]
    reaction: Reaction
    adjusts: npt.NDArray[np.bool_]
    rising_weight: Floats

    @classmethod
    def of(
        cls,
        window: Window,
        alerts: pa.Table,
        gate: Gate | None,
        dealt: Assignment,
        *,
        settings: ReactionSettings,
        rising_weight: float,
    ) -> Treatment:
        """The treatment of the listed users by the arms that they were dealt to; of others, none.

        `alerts` holds the shift_alerts of the day. Of an alarm and the gate the stronger word counts.
        """
        count = len(window.sequences.users)
        arms = [Arm.of(name) for name in dealt.arms]
        reacts = np.array([arm.policy not in (UNADJUSTED, RECENCY_REWEIGHTED) for arm in arms])
        looks_back = np.array([arm.policy == RECENCY_REWEIGHTED for arm in arms])
        pulls = np.array([rising_weight if arm.rising_weight is None else arm.rising_weight for arm in arms])
        adjusts, newest = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
        adjusts[window.listed], newest[window.listed] = reacts[dealt.arm], looks_back[dealt.arm]
        rising = np.zeros(count, dtype=np.float32)
        rising[window.listed] = (reacts * pulls)[dealt.arm]
        alarms = open_alarms(alerts)
        shifted = _of_alarms(window, alarms, settings)
        if gate is not None:
            odds, since = gate.log_odds(window, Shares.of(window))
            shifted = Reaction.of(odds, since, window.today, settings).or_stronger(shifted)
        recent = Reaction.to_newest(window, settings.newest_events)
        return cls(alarms, shifted.only(adjusts).or_stronger(recent.only(newest)), adjusts, rising)


def open_alarms(alerts: pa.Table) -> dict[str, Alarm]:
    """Per user the open alarm with something rising; of several the one of largest magnitude."""
    alarms: dict[str, Alarm] = {}
    columns = ["user_id", "alert_id", "status", "magnitude", "rising", "onset_day", "confidence"]
    for row in sorted(alerts.select(columns).to_pylist(), key=lambda r: (r["magnitude"], r["alert_id"])):
        gains = {c["category"]: c["share_after"] - c["share_before"] for c in row["rising"]}
        largest = max(gains.values(), default=0.0)
        if row["status"] != "closed" and largest > 0:
            of_largest = {category: max(gain, 0.0) / largest for category, gain in gains.items()}
            alarms[row["user_id"]] = Alarm(row["alert_id"], row["onset_day"], row["confidence"], of_largest)
    return alarms


def _of_alarms(window: Window, alarms: Mapping[str, Alarm], settings: ReactionSettings) -> Reaction:
    """The reaction to open alarms alone."""
    odds, since = np.full(len(window.sequences.users), -np.inf), window.today.copy()
    for user, name in enumerate(window.sequences.users):
        alarm = alarms.get(name)
        if alarm is not None and alarm.confidence is not None:
            odds[user], since[user] = logit(alarm.confidence), day_number(alarm.onset_day)
    return Reaction.of(odds, since, window.today, settings)
