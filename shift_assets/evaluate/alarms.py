"""Alarms as all detectors' judges take them, and how scores and alert tables become alarms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.shift.histories import Histories
from shift_assets.shift.onset import mix_split_gain
from shift_assets.shift.rings import Flags, Floats, Ints

ONE_ALARM_DAYS = 14
"""Calendar days after its last day over the line in which a user's alarm is still the same one."""
LOOK_BACK_ACTIVE_DAYS = 40
"""Active days before an alarm in which a detector without an onset of its own is given one."""


@dataclass(frozen=True)
class Alarms:
    """Alarms of any detector, in any order."""

    user: Ints  # [alarm], position in `Histories.users`
    day: Ints  # [alarm], days since 1970-01-01
    onset_day: Ints  # [alarm], first day of the new interest, as claimed
    rising: Sequence[Sequence[str]]  # [alarm], risen categories, most risen first
    kind: Sequence[str]  # [alarm], kind of shift, as claimed

    def __len__(self) -> int:
        return len(self.day)


def alarms_from_scores(
    histories: Histories, scores: Floats, threshold: float, onset_entry: Ints | None = None
) -> Alarms:
    """The alarms of a detector: `scores` [entry] at or above `threshold`.

    `onset_entry` [entry] is the entry with which the new interest began, as the detector says at the end of a day.
    Where it says nothing, that is where the last active days split best into two category mixes. The categories are
    those whose mean daily share rose most from there on.
    """
    entries = opening_entries(histories, scores, threshold)
    rings = histories.rings
    onset, rising = _explained(histories, entries, None if onset_entry is None else onset_entry[entries])
    return Alarms(rings.user[entries], rings.day[entries], onset, rising, ["switch"] * len(entries))


def alarms_from_alerts(alerts: pa.Table, histories: Histories) -> Alarms:
    """The alarms that `shift_alerts` opened."""
    opened = alerts.filter(pc.equal(alerts["status"], "opened"))
    return Alarms(
        user=pc.index_in(opened["user_id"], value_set=histories.users).to_numpy().astype(np.int64),
        day=opened["day"].cast(pa.int32()).to_numpy().astype(np.int64),
        onset_day=opened["onset_day"].cast(pa.int32()).to_numpy().astype(np.int64),
        rising=[[move["category"] for move in moves] for moves in opened["rising"].to_pylist()],
        kind=opened["kind"].to_pylist(),
    )


def episode_starts(user: Ints, day: Ints) -> Flags:
    """Whether an alarm is the first of its episode, [alarm], sorted by user and day."""
    first = np.ones(len(day), dtype=bool)
    first[1:] = (np.diff(user) != 0) | (np.diff(day) > ONE_ALARM_DAYS)
    return first


def opening_entries(histories: Histories, scores: Floats, threshold: float) -> Ints:
    """Entries that open an alarm: at or above `threshold`, and none of their user's shortly before is."""
    with np.errstate(invalid="ignore"):
        over = np.flatnonzero(scores >= threshold)
    return over[episode_starts(histories.rings.user[over], histories.rings.day[over])]


def _explained(histories: Histories, entries: Ints, onset_entries: Ints | None) -> tuple[Ints, list[list[str]]]:
    """Onset day and risen categories at the end of each entry's day, [entry]."""
    rings = histories.rings
    user = rings.user
    names = histories.codes.names.to_pylist()
    onset = rings.day[entries].copy()
    rising: list[list[str]] = []
    for row, entry in enumerate(entries.tolist()):
        oldest = max(int(rings.start[user[entry]]), entry + 1 - LOOK_BACK_ACTIVE_DAYS)
        cells = slice(int(rings.score_start[oldest]), int(rings.score_start[entry + 1]))
        day = np.repeat(np.arange(entry + 1 - oldest), np.diff(rings.score_start[oldest : entry + 2]))
        scores = np.zeros((entry + 1 - oldest, len(names)))
        scores[day, rings.category[cells]] = rings.score[cells]
        scores /= np.maximum(scores.sum(axis=1, keepdims=True), 1e-12)
        first = int(mix_split_gain(scores).argmax()) if onset_entries is None else int(onset_entries[row]) - oldest
        onset[row] = rings.day[oldest + first]
        move = scores[first:].mean(axis=0) - scores[: max(first, 1)].mean(axis=0)
        rising.append([names[k] for k in np.argsort(-move, kind="stable") if move[k] > 0])
    return onset, rising
