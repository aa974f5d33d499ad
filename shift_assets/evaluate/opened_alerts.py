"""Opened alerts in the form that evaluation needs, from detector scores or from the table `shift_alerts`.

Called by benchmarks only; kept for a public benchmark of detectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int64

from shift_assets.arrays import BoolArray, Float64Array, Int64Array
from shift_assets.interest.histories import Histories
from shift_assets.shift.alerts.onset import mix_split_gain

SAME_ALERT_DAYS = 14
"""Calendar days after the last day above the threshold in which further days belong to the same alert."""
LOOKBACK_ACTIVE_DAYS = 40
"""Active days before an alert in which the onset is searched for detectors that give none."""


@dataclass(frozen=True)
class Alerts:
    """Alerts of any detector, in any order; days are counted from 1970-01-01.

    Attributes:
        user: Index [alert] in `Histories.users`.
        day: Day [alert] on which it opened.
        onset_day: Reported first day [alert] of the new interest.
        rising: Categories [alert] with an increased share, largest increase first.
        kind: Reported kind [alert] of shift.
    """

    user: Int64[Int64Array, " alert"]
    day: Int64[Int64Array, " alert"]
    onset_day: Int64[Int64Array, " alert"]
    rising: Sequence[Sequence[str]]
    kind: Sequence[str]

    def __len__(self) -> int:
        return len(self.day)


def alerts_from_scores(
    histories: Histories, scores: Float64Array, threshold: float, onset_entry: Int64Array | None = None
) -> Alerts:
    """Alerts of a detector: scores at or above a threshold, one per episode.

    The categories of an alert are those whose mean daily share increased most from its onset on.

    Args:
        histories: The users' active days.
        scores: Score [entry] at the end of each active day; nan where the detector gives none.
        threshold: Score from which an alert opens.
        onset_entry: Entry [entry] with which the new interest began, by the detector. Without it, the onset is where
            the newest active days split best into two category mixes.
    """
    entries = opening_entries(histories, scores, threshold)
    user_days = histories.user_days
    onset, rising = _onset_and_risen(histories, entries, None if onset_entry is None else onset_entry[entries])
    return Alerts(user_days.user[entries], user_days.day[entries], onset, rising, ["switch"] * len(entries))


def alerts_from_table(alerts: pa.Table, histories: Histories) -> Alerts:
    """The opened alerts of `shift_alerts`."""
    opened = alerts.filter(pc.equal(alerts["status"], "opened"))
    return Alerts(
        user=pc.index_in(opened["user_id"], value_set=histories.users).to_numpy().astype(np.int64),
        day=opened["day"].cast(pa.int32()).to_numpy().astype(np.int64),
        onset_day=opened["onset_day"].cast(pa.int32()).to_numpy().astype(np.int64),
        rising=[[move["category"] for move in moves] for moves in opened["rising"].to_pylist()],
        kind=opened["kind"].to_pylist(),
    )


def episode_starts(user: Int64Array, day: Int64Array) -> BoolArray:
    """Whether [alert] an alert is the first of its episode; alerts are sorted by user and day.

    >>> episode_starts(np.array([1, 1, 1]), np.array([0, 10, 40])).tolist()
    [True, False, True]
    """
    first = np.ones(len(day), dtype=bool)
    first[1:] = (np.diff(user) != 0) | (np.diff(day) > SAME_ALERT_DAYS)
    return first


def opening_entries(histories: Histories, scores: Float64Array, threshold: float) -> Int64Array:
    """Entries that open an alert: at or above `threshold`, and the first of their episode."""
    with np.errstate(invalid="ignore"):
        above = np.flatnonzero(scores >= threshold)
    return above[episode_starts(histories.user_days.user[above], histories.user_days.day[above])]


def _onset_and_risen(
    histories: Histories, entries: Int64Array, onset_entries: Int64Array | None
) -> tuple[Int64Array, list[list[str]]]:
    """Onset day and risen categories [entry] as of the end of each entry's day."""
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
