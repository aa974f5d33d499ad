"""The alert columns of the users active today: continued, closed and opened by the rules of `lifecycle`."""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa

from shift_assets.arrays import BoolArray, Int64Array, integers
from shift_assets.contracts.day import day_number
from shift_assets.interest.user_days import UserDays
from shift_assets.settings.root import AlertSettings, Settings
from shift_assets.shift.alerts.kinds import AlertContext, is_return, kind_of_change
from shift_assets.shift.alerts.lifecycle import (
    MIX_KINDS,
    EvidenceObservation,
    Excess,
    Transition,
    alert_id,
    evidence_transition,
    threshold_transition,
)
from shift_assets.shift.alerts.onset import likeliest_start, onset_entry

NO_DAY = -(2**31)
ALERT_DAYS = ("alert_opened_day", "alert_onset_day", "alert_exceeded_day", "alert_first_onset_day")


class OpenAlerts:
    """The alert columns of the users active today, while they change; every column is [user]."""

    def __init__(self, before: pa.Table, day: date) -> None:
        self.day = day
        was_closed = np.array([status == "closed" for status in before["alert_status"].to_pylist()], dtype=bool)
        self.id: list[str | None] = _without(before["alert_id"].to_pylist(), was_closed)
        self.kind: list[str | None] = _without(before["alert_kind"].to_pylist(), was_closed)
        self.opened, self.onset, self.exceeded, first_onset = (
            np.where(was_closed, NO_DAY, integers(before[name].cast(pa.int32()), NO_DAY)) for name in ALERT_DAYS
        )
        # Versions up to 0.2.0 kept no first estimate: what they stored was never revised.
        self.first_onset = np.where(first_onset == NO_DAY, self.onset, first_onset)
        self.is_open = np.array([kind is not None for kind in self.kind], dtype=bool)  # this morning
        self.status: list[str | None] = [None] * len(was_closed)
        self.to_open = self.by_mix = self.settled = np.zeros(len(was_closed), dtype=bool)

    def scored_since_onset(self, user_days: UserDays) -> Int64Array:
        """Scored days from the open alert's onset on, [user]; 0 without an open alert.

        Where the recent days no longer reach back to the onset the number is unknown, and as large as can be.
        """
        since = user_days.is_scored & (user_days.day >= np.repeat(self.onset, user_days.n_days))
        counted = np.bincount(user_days.user[since], minlength=user_days.n_users)
        counted[self.onset < user_days.day[user_days.start[:-1]]] = np.iinfo(np.int32).max
        return np.where(self.is_open, counted, 0)

    def revise_onset(self, user_days: UserDays, scored: BoolArray, starts: int) -> None:
        """Estimate the onsets of open alerts again, for users `scored` today [user].

        A start after the day on which an alert opened cannot have opened it, and is not considered. starts: number of
        newest scored days that are possible starts.
        """
        for user in np.flatnonzero(self.is_open & scored):
            entry = likeliest_start(user_days, int(user), starts, int(self.opened[user]))
            if entry is not None:
                self.onset[user] = user_days.day[entry]

    def apply_evidence(self, observation: EvidenceObservation, settings: Settings) -> None:
        """Mark the alerts that are continued, closed or to be opened by the evidence."""
        days_since_renewal = day_number(self.day) - self.exceeded
        step = evidence_transition(
            observation, self.is_open, days_since_renewal, settings.evidence.starts, settings.alerts
        )
        self._mark(step)
        self.settled = step.settled

    def apply_thresholds(self, before: Excess, now: Excess, settings: AlertSettings) -> None:
        """Mark the alerts that are continued, closed or to be opened by the thresholds on the indicators."""
        step = threshold_transition(before, now, self.kind, day_number(self.day) - self.exceeded, settings)
        became_mix = step.continued & step.by_mix & np.array([kind not in MIX_KINDS for kind in self.kind], dtype=bool)
        self._mark(step)
        self.by_mix = step.by_mix & (step.opened | became_mix)
        rises = now.activity > 0
        for user in np.flatnonzero(step.opened & ~step.by_mix):
            self.kind[user] = "surge" if rises[user] else "fade"

    def _mark(self, step: Transition) -> None:
        self.exceeded = np.where(step.opened | step.continued, day_number(self.day), self.exceeded)
        for flags, status in ((step.opened, "opened"), (step.continued, "continued"), (step.closed, "closed")):
            for user in np.flatnonzero(flags):
                self.status[user] = status
        self.to_open = step.opened

    def open_by_evidence(self, user_ids: list[str], context: AlertContext, onset: Int64Array, starts: int) -> None:
        """Give the alerts that open their id, onset and kind.

        Args:
            user_ids: the users.
            context: their recent days and profiles.
            onset: likeliest start by the evidence, as an entry, [user]; it counts where the days on both sides of it
                are too few for a split.
            starts: number of newest scored days that are possible starts.
        """
        users = np.flatnonzero(self.to_open)
        if len(users) == 0:
            return
        self._assign_ids(users, user_ids)
        today = day_number(self.day)
        splits = [likeliest_start(context.user_days, int(user), starts, today) for user in users]
        entry = np.array([onset[user] if split is None else split for user, split in zip(users, splits, strict=True)])
        self.onset[users] = self.first_onset[users] = context.user_days.day[entry]
        is_after = context.since(users, entry)
        kinds = kind_of_change(context, users, is_after)
        returns = is_return(context, users, is_after)
        for user, kind, is_back in zip(users, kinds, returns, strict=True):
            self.kind[user] = "return" if is_back else kind

    def open_by_thresholds(self, user_ids: list[str], context: AlertContext) -> None:
        """Give the alerts that open id, onset and kind; one whose mix crosses later gets a new onset and kind."""
        self._assign_ids(np.flatnonzero(self.to_open), user_ids)
        changed = np.flatnonzero(self.to_open | self.by_mix)
        entry = np.array(
            [onset_entry(context.user_days, int(user), by_activity=not self.by_mix[user]) for user in changed],
            dtype=np.int64,
        )
        self.onset[changed] = self.first_onset[changed] = context.user_days.day[entry]
        mixed = self.by_mix[changed]
        users = changed[mixed]
        if len(users):
            returns = is_return(context, users, context.since(users, entry[mixed]))
            for user, is_back in zip(users, returns, strict=True):
                self.kind[user] = "return" if is_back else "switch"

    def _assign_ids(self, users: Int64Array, user_ids: list[str]) -> None:
        for user in users:
            self.id[user] = alert_id(user_ids[user], self.day)
            self.opened[user] = day_number(self.day)

    def columns(self) -> dict[str, pa.Array]:
        """Return the alert columns of `interest_state`."""
        days = {
            name: pa.array(value.astype(np.int32), mask=value == NO_DAY).cast(pa.date32())
            for name, value in zip(ALERT_DAYS, (self.opened, self.onset, self.exceeded, self.first_onset), strict=True)
        }
        return {
            "alert_id": pa.array(self.id, pa.string()),
            "alert_kind": pa.array(self.kind, pa.string()),
            "alert_status": pa.array(self.status, pa.string()),
            **days,
        }


def _without(values: list[str | None], gone: BoolArray) -> list[str | None]:
    """`values` with None where `gone`."""
    return [None if is_gone else value for value, is_gone in zip(values, gone, strict=True)]
