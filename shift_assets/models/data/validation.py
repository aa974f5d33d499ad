"""Validation examples: histories, and the items taken after them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from shift_assets.arrays import Int64Array
from shift_assets.models.data.sequences import RETURN, Sequences, Vocabulary

VALIDATION_USERS = 512


@dataclass(frozen=True)
class Validation:
    """Histories and their labels: user `owners[i]` of the histories took item code `items[i]` afterwards.

    `masked` leaves the items of the user's own history out of the ranking, so that repeat consumption is not predicted.
    """

    histories: Sequences
    owners: Int64Array
    items: Int64Array
    masked: bool = False

    def recoded(self, own: Vocabulary, other: Vocabulary) -> Validation:
        """The same in the codes of `other`; unknown items get code 0, which is never ranked."""
        codes = np.append(0, other.item_codes(pa.array(own.items, pa.string())))
        return replace(self, histories=self.histories.recoded(own, other), items=codes[self.items])

    @classmethod
    def of(cls, sequences: Sequences, start: int) -> Validation:
        """Users with events both before day `start` and from it on, and the items they took from it on.

        At most VALIDATION_USERS, the first by pseudonym: a digest, so that the sample is random and the same every day.
        """
        histories = sequences.until(start)
        owner = np.repeat(np.arange(len(sequences.users)), sequences.lengths)
        target = (sequences.days >= start) & (sequences.behaviors != RETURN) & (histories.lengths[owner] > 0)
        users = np.unique(owner[target])[:VALIDATION_USERS]
        target &= np.isin(owner, users)
        pairs = np.unique(np.stack([np.searchsorted(users, owner[target]), sequences.items[target]]), axis=1)
        return cls(histories.of_users(users), pairs[0], pairs[1])
