"""Alarms as all detectors' judges take them, and how scores and alert tables become alarms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.arrays import BoolArray, Float64Array, Int64Array
from shift_assets.interest.histories import Histories
from shift_assets.shift.alerts.onset import mix_split_gain

SAME_ALERT_DAYS = 14
"""Calendar days after its last day over the line in which a user's alarm is still the same one."""
LOOKBACK_ACTIVE_DAYS = 40
"""Active days before an alarm in which a detector without an onset of its own is given one."""


@dataclass(frozen=True)
class Alerts:
    """Alarms of any detector, in any order."""

    user: Int64Array  # [alarm], position in `Histories.users`
    day: Int64Array  # [alarm], days since 1970-01-01
    onset_day: Int64Array  # [alarm], first day of the new interest, as claimed
    rising: Sequence[Sequence[str]]  # [alarm], risen categories, most risen first
    kind: Sequence[str]  # [alarm], kind of shift, as claimed

    def __len__(self) -> int:
        return len(self.day)


def alerts_from_scores(
    histories: Histories, scores: Float64Array, threshold: float, onset_entry: Int64Array | None = None
) -> Alerts:
    """The alarms of a detector: `scores` [entry] at or above `threshold`.

    `onset_entry` [entry] is the entry with which the new interest began, as the detector says at the end of a day.
    Where it says nothing, that is where the last active days split best into two category mixes. The categories are
    those whose mean daily share rose most from there on.
    """
    entries = opening_entries(histories, scores, threshold)
    user_days = histories.user_days
    onset, rising = _onset_and_risen(histories, entries, None if onset_entry is None else onset_entry[entries])
    return Alerts(user_days.user[entries], user_days.day[entries], onset, rising, ["switch"] * len(entries))


def alerts_from_table(alerts: pa.Table, histories: Histories) -> Alerts:
    """The alarms that `shift_alerts` opened."""
    opened = alerts.filter(pc.equal(alerts["status"], "opened"))
    return Alerts(
        user=pc.index_in(opened["user_id"], value_set=histories.users).to_numpy().astype(np.int64),
        day=opened["day"].cast(pa.int32()).to_numpy().astype(np.int64),
        onset_day=opened["onset_day"].cast(pa.int32()).to_numpy().astype(np.int64),
        rising=[[move["category"] for move in moves] for moves in opened["rising"].to_pylist()],
        kind=opened["kind"].to_pylist(),
    )


def episode_starts(user: Int64Array, day: Int64Array) -> BoolArray:
    """Whether an alarm is the first of its episode, [alarm], sorted by user and day."""
    first = np.ones(len(day), dtype=bool)
    first[1:] = (np.diff(user) != 0) | (np.diff(day) > SAME_ALERT_DAYS)
    return first


def opening_entries(histories: Histories, scores: Float64Array, threshold: float) -> Int64Array:
    """Entries that open an alarm: at or above `threshold`, and none of their user's shortly before is."""
    with np.errstate(invalid="ignore"):
        above = np.flatnonzero(scores >= threshold)
    return above[episode_starts(histories.user_days.user[above], histories.user_days.day[above])]


def _onset_and_risen(
    histories: Histories, entries: Int64Array, onset_entries: Int64Array | None
) -> tuple[Int64Array, list[list[str]]]:
    """Onset day and risen categories at the end of each entry's day, [entry]."""
    user_days = histories.user_days
    user = user_days.user
    names = histories.codes.names.to_pylist()
    onset = user_days.day[entries].copy()
    rising: list[list[str]] = []
    for row, entry in enumerate(entries.tolist()):
        oldest = max(int(user_days.start[user[entry]]), entry + 1 - LOOKBACK_ACTIVE_DAYS)
        cells = slice(int(user_days.score_start[oldest]), int(user_days.score_start[entry + 1]))
        day = np.repeat(np.arange(entry + 1 - oldest), np.diff(user_days.score_start[oldest : entry + 2]))
        scores = np.zeros((entry + 1 - oldest, len(names)))
        scores[day, user_days.category[cells]] = user_days.score[cells]
        scores /= np.maximum(scores.sum(axis=1, keepdims=True), 1e-12)
        first = int(mix_split_gain(scores).argmax()) if onset_entries is None else int(onset_entries[row]) - oldest
        onset[row] = user_days.day[oldest + first]
        move = scores[first:].mean(axis=0) - scores[: max(first, 1)].mean(axis=0)
        rising.append([names[k] for k in np.argsort(-move, kind="stable") if move[k] > 0])
    return onset, rising
