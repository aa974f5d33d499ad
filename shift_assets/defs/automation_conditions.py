"""Named automation conditions.

The landing sensor asks for the range run of a new day. Conditions only catch what no range run covers: a
partition rebuilt by hand, or corrected long after its day.
"""

from __future__ import annotations

from typing import Any

import dagster as dg

Condition = dg.AutomationCondition[Any]


def content_changed(*ignored: str) -> Condition:
    """Recompute a partition of any day when the content of one of its inputs changed, once nothing else is busy.

    - `data_version_changed` and not `newly_updated`: an input recomputed to the same rows stops the cascade.
    - no restriction to the latest day: late data are the point.
    - a partition that was never made is not asked for: history that only the state needed stays as it is.
    - missing inputs hold it back, and so does a run that already has the partition or its inputs in hand.
    - an input that changes again between the asking and the next tick asks again.
    - it asks for every partition whose window holds the changed one and no more: an input read through a window of
      28 days concerns 28 days of the segment, in one backfill.
    - `ignored` inputs do not count: the state's chain over days must never crawl one day per tick.
    """
    updated = dg.AutomationCondition.any_deps_match(
        dg.AutomationCondition.data_version_changed() | dg.AutomationCondition.will_be_requested()
    )
    if ignored:
        updated = updated.ignore(dg.AssetSelection.assets(*ignored))
    return (
        updated.since(
            (dg.AutomationCondition.newly_requested() & ~updated)
            | dg.AutomationCondition.newly_updated()
            | dg.AutomationCondition.initial_evaluation()
        )
        & ~dg.AutomationCondition.missing()
        & ~dg.AutomationCondition.any_deps_missing()
        & ~dg.AutomationCondition.any_deps_in_progress()
        & ~dg.AutomationCondition.in_progress()
    ).with_label("the content of an input changed")
