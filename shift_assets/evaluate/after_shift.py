"""What lists are worth in the days after a shift, with and without reaction to it.

Nobody publishes this, so it is defined here, on histories that go on as another user's (`recommend.joined`). All
that is learnt is frozen on the days before the border, in which the other was a user like any. Two ways of serving:

- `live`: before every event, from all events before it.
- `nightly`: for a whole day, from all events of the days before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shift_assets.days import day_number
from shift_assets.evaluate.tasks import Task, hits_of, top_lists
from shift_assets.models.ranking import ndcg_at_k, recall_at_k
from shift_assets.models.sequences import RETURN, Integers
from shift_assets.recommend.joined import Cases
from shift_assets.recommend.reaction import Reaction, leaning
from shift_assets.recommend.source import Fitted
from shift_assets.recommend.window import Window

Floats = npt.NDArray[np.float64]

LIVE, NIGHTLY = "live", "nightly"
EVENTS = ((0, 5), (5, 15), (15, 30))
DAYS = ((0, 3), (3, 7), (7, 14))
PLACES = 20


class Looks(NamedTuple):
    """Moments at which a list is judged: `task` with one history per look, and where it stands after the border.

    `case[look]` is the user of the cases, `events[look]` the number of its events since the border before the look,
    `days[look]` the days since the border.
    """

    task: Task
    case: Integers
    events: Integers
    days: Integers


def looks(cases: Cases, serving: str, known: Integers) -> Looks:
    """Every judged moment of the cases: of each user the first events, or days, that the windows cover."""
    sequences, owners = cases.window.sequences, cases.window.owners
    first = cases.first_event
    if serving == LIVE:
        _, events = cases.moments(EVENTS[-1][1])
        ends = events
    else:
        since = sequences.days - day_number(cases.border)
        events = np.flatnonzero((since >= 0) & (since < DAYS[-1][1]) & (sequences.behaviors != RETURN))
        begins = np.ones(len(owners), dtype=bool)
        begins[1:] = (np.diff(sequences.days) != 0) | (np.diff(owners) != 0)
        ends = np.flatnonzero(begins)[(np.cumsum(begins) - 1)[events]]
    moments, look = np.unique(ends, return_inverse=True)
    user = owners[moments]
    pairs = np.unique(np.stack([look, sequences.items[events] - 1]), axis=1)
    nothing = np.zeros(0, dtype=np.int64)
    task = Task(
        window=cases.window.prefixes(user, moments),
        allowed=np.arange(cases.window.item_count),
        owners=pairs[0],
        items=pairs[1],
        hidden=(nothing, nothing),
        known=known,
    )
    return Looks(task, user, moments - first[user], sequences.days[moments] - day_number(cases.border))


def newest_events(scorer_on: Fitted, events: int) -> Fitted:
    """Plain recency: `scorer_on` looking at the newest `events` of every history and at nothing before."""

    def on(window: Window):  # type: ignore[no-untyped-def]
        lengths = window.sequences.lengths
        place = np.arange(len(window.owners)) - window.sequences.offsets[:-1][window.owners]
        kept = window.sequences.where(place >= (lengths - events)[window.owners])
        return scorer_on(replace(window, sequences=kept))

    return on


def per_look(scorer_on: Fitted, found: Looks, reaction: Reaction | None) -> Mapping[str, Floats]:
    """recall@20 and ndcg@10 [look]; nan for a look whose labels no list could hold."""
    task = found.task
    scorer = scorer_on(task.window) if reaction is None else leaning(scorer_on, task.window, reaction)
    users = task.users
    lists = top_lists(scorer, task, users, PLACES)
    hits, relevant = hits_of(lists, task, users)
    values = {}
    for name, value in (
        ("recall_at_20", recall_at_k(hits, relevant)),
        ("ndcg_at_10", ndcg_at_k(hits[:, :10], relevant)),
    ):
        values[name] = np.full(len(found.case), np.nan)
        values[name][users] = value
    return values
