"""Windows of spliced histories: labelled shifts of interest made from a log's own events."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.contracts.day import day_number
from shift_assets.models.data.sequences import pack
from shift_assets.models.data.spliced_histories import SplicedHistories, splice_at_day
from shift_assets.recommend.window import Window


def splice_window(
    events: pa.Table, before: Window, *, days: int, minimum_days: int, maximum_pairs: int, seed: int
) -> tuple[SplicedHistories, Window] | None:
    """Splice the histories of a window at the day after it, continued by the events of the `days` after it.

    Args:
        events: clean_events, any days, in any order.
        before: The window whose histories are continued.
        minimum_days: Active days within the window that a user needs, besides an event after it.
        maximum_pairs: Users that are spliced at most.
        seed: Seed of the users and their donors.

    Returns:
        The spliced histories and the window that holds them, all of whose users are target users; None where fewer
        than two users qualify.
    """
    first, last = before.day + timedelta(days=1), before.day + timedelta(days=days)
    after = pack(events.filter((pc.field("day") >= first) & (pc.field("day") <= last)), before.vocabulary)
    spliced = splice_at_day(
        before.sequences,
        after,
        day_number(first),
        minimum_days=minimum_days,
        maximum_pairs=maximum_pairs,
        seed=seed,
    )
    if spliced is None:
        return None
    everyone = np.arange(len(spliced.pair))
    today = np.full(len(everyone), day_number(last))
    return spliced, Window(last, before.vocabulary, spliced.sequences, everyone, today)
