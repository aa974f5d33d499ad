"""Training snapshot: histories as of a day, labelled with what users took in the days after."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from shift_assets.arrays import Int64Array
from shift_assets.recommend.candidates.base import GeneratorInputs


class TrainingSnapshot(NamedTuple):
    """Histories as of a day and the labels of the days after.

    Attributes:
        inputs: Histories, and what the generators are fitted on.
        taken: 1 where the user took the item, [user, item].
        relevant: Items that the user took, also those that are new to the window, [user].
    """

    inputs: GeneratorInputs
    taken: sparse.csr_matrix
    relevant: Int64Array

    @classmethod
    def of(cls, inputs: GeneratorInputs, events_after: pa.Table) -> TrainingSnapshot:
        """Label the inputs' users by the rows of clean_events in the `validation_days` after the inputs' day."""
        window = inputs.window
        last = window.day + timedelta(days=inputs.settings.validation_days)
        after = events_after.filter(
            (pc.field("day") > window.day) & (pc.field("day") <= last) & (pc.field("behavior") != "return")
        )
        users = pc.fill_null(pc.index_in(after["user_id"], value_set=pa.array(window.sequences.users, pa.string())), -1)
        names = pc.unique(after["item_id"])
        item = pc.index_in(after["item_id"], value_set=names).to_numpy()
        owner = users.to_numpy()
        known = owner >= 0
        counts = sparse.csr_matrix(
            (np.ones(int(known.sum()), np.float32), (owner[known], item[known])),
            shape=(len(window.sequences.users), len(names)),
        ).sign()
        position = window.vocabulary.item_codes(names) - 1
        old = np.flatnonzero(position >= 0)
        to_items = sparse.csr_matrix(
            (np.ones(len(old), np.float32), (old, position[old])), shape=(len(names), window.item_count)
        )
        return cls(inputs, (counts @ to_items).tocsr(), np.diff(counts.indptr).astype(np.int64))
