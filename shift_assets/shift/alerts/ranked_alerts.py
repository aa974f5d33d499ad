"""The open alerts of a day in order of magnitude: one rule for which of several alerts of a user counts."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc


def open_by_magnitude(alerts: pa.Table) -> pa.Table:
    """The open rows of `shift_alerts`, smallest magnitude first, ties by alert_id.

    So in a mapping filled in this order the alert of largest magnitude of each user remains.
    """
    return alerts.filter(pc.field("status") != "closed").sort_by(
        [("magnitude", "ascending"), ("alert_id", "ascending")]
    )
