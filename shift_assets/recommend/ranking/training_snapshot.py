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
    """Histories as of a day and what came after: `taken` [user, item] is 1 where the user took the item.

    `relevant` [user] counts the items taken, those among them that nobody had met before.
    """

    inputs: GeneratorInputs
    taken: sparse.csr_matrix
    relevant: Int64Array

    @classmethod
    def of(cls, inputs: GeneratorInputs, events_after: pa.Table) -> TrainingSnapshot:
        """`events_after`: clean_events; those of the `validation_days` after the inputs' day are looked at."""
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
        met = sparse.csr_matrix(
            (np.ones(int(known.sum()), np.float32), (owner[known], item[known])),
            shape=(len(window.sequences.users), len(names)),
        ).sign()
        position = window.vocabulary.item_codes(names) - 1
        old = np.flatnonzero(position >= 0)
        to_items = sparse.csr_matrix(
            (np.ones(len(old), np.float32), (old, position[old])), shape=(len(names), window.item_count)
        )
        return cls(inputs, (met @ to_items).tocsr(), np.diff(met.indptr).astype(np.int64))
