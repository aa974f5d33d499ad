"""The protocol of the published tables on short sequences: a user's last item is the test, the last but one the
validation.

It lets the training see what other users did later than a user's test item, so its figures are higher than a
split by day gives (Ji et al. 2020, arXiv 2010.11060): good for comparison with published tables, and no more.
"""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shift_assets.contracts import BEHAVIORS
from shift_assets.days import EPOCH
from shift_assets.evaluate.tasks import Task
from shift_assets.models.sequences import Integers, Sequences, Vocabulary
from shift_assets.recommend.window import Window

COLUMNS = ("user_id", "item_id", "pos")


class SequenceFileError(ValueError):
    """A file of sequences cannot be read; the message names file, row and remedy."""


def read_sequences(path: Path) -> tuple[Sequences, Vocabulary]:
    """The Parquet file `path`, one row per event: user_id, item_id and pos, the event's place in its user's order.

    Position stands for time: an event's day is its position. All events are views of items of one category.
    """
    table = _read(path, COLUMNS)
    for name in COLUMNS:
        missing = np.flatnonzero(table[name].is_null().to_numpy())
        if len(missing):
            raise SequenceFileError(f"{path}: row {missing[0] + 1}: {name} is empty; fill it or leave the row out")
    if not pa.types.is_integer(table["pos"].type):
        raise SequenceFileError(f"{path}: column pos is {table['pos'].type}; expected whole numbers")
    users, owners = np.unique(table["user_id"].cast(pa.string()).to_numpy(zero_copy_only=False), return_inverse=True)
    names, items = np.unique(table["item_id"].cast(pa.string()).to_numpy(zero_copy_only=False), return_inverse=True)
    positions = table["pos"].to_numpy().astype(np.int64)
    order = np.lexsort((positions, owners))
    twice = np.flatnonzero((np.diff(owners[order]) == 0) & (np.diff(positions[order]) == 0))
    if len(twice):
        row = int(order[twice[0] + 1])
        raise SequenceFileError(
            f"{path}: row {row + 1}: user {users[owners[row]]} has two events at pos {positions[row]}; "
            "number the events of a user without repeats"
        )
    count = len(names)
    return Sequences(
        users=tuple(users.tolist()),
        offsets=np.concatenate(([0], np.cumsum(np.bincount(owners, minlength=len(users))))),
        items=items[order] + 1,
        categories=np.ones(len(items), dtype=np.int64),
        behaviors=np.full(len(items), BEHAVIORS.index("view") + 1),
        gaps=np.zeros(len(items), dtype=np.int64),
        days=positions[order],
    ), Vocabulary(tuple(names.tolist()), ("all",), np.append(0, np.ones(count, dtype=np.int64)))


def read_attributes(path: Path, vocabulary: Vocabulary) -> tuple[list[str], Integers, Integers]:
    """Attributes of items from the Parquet file `path`: item_id, and any columns of values or lists of values.

    Returns the names of the distinct attributes, `column=value`, and parallel arrays of item indices into the
    vocabulary and attribute indices. Items that the vocabulary does not hold are left out.
    """
    table = _read(path, ("item_id",))
    place = pc.index_in(table["item_id"].cast(pa.string()), value_set=pa.array(vocabulary.items, pa.string()))
    known = np.asarray(pc.fill_null(place, -1).to_numpy())
    names: list[str] = []
    owners: list[Integers] = []
    codes: list[Integers] = []
    for column in table.column_names:
        if column == "item_id":
            continue
        values = table[column].combine_chunks()
        rows = np.arange(table.num_rows)
        if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
            rows = pc.list_parent_indices(values).to_numpy().astype(np.int64)
            values = pc.list_flatten(values)
        kept = values.is_valid().to_numpy(zero_copy_only=False) & (known[rows] >= 0)
        texts, code = np.unique(values.cast(pa.string()).to_numpy(zero_copy_only=False)[kept], return_inverse=True)
        owners.append(known[rows[kept]])
        codes.append(code + len(names))
        names += [f"{column}={text}" for text in texts]
    if not owners:
        raise SequenceFileError(f"{path}: no column besides item_id; add the items' attributes, or leave --items out")
    return names, np.concatenate(owners), np.concatenate(codes)


class Split(NamedTuple):
    """`learnable` is what may teach, `validation` what may choose, `test` what is reported; histories are masked."""

    learnable: Window
    validation: Task
    test: Task


def split(sequences: Sequences, vocabulary: Vocabulary) -> Split:
    """The test histories hold the validation item. Users with fewer than three events only teach."""
    judged = np.flatnonzero(sequences.lengths >= 3)
    if not len(judged):
        raise SequenceFileError("no user has three events or more: there is nothing to leave out")
    ends = sequences.offsets[1:].copy()
    ends[judged] -= 2
    everyone = np.arange(len(sequences.users))
    last = EPOCH + timedelta(days=int(sequences.days.max()))
    learnable = _window(sequences.prefixes(everyone, ends), vocabulary, last, everyone)
    known = np.bincount(learnable.items, minlength=len(vocabulary.items))

    def task(back: int) -> Task:
        histories = sequences.prefixes(judged, sequences.offsets[1:][judged] - back)
        window = _window(histories, vocabulary, last, np.arange(len(judged)))
        return Task(
            window=window,
            allowed=np.arange(len(vocabulary.items)),
            owners=np.arange(len(judged)),
            items=sequences.items[sequences.offsets[1:][judged] - back] - 1,
            hidden=(window.owners, window.items),
            known=known,
        )

    return Split(learnable, task(2), task(1))


def _window(histories: Sequences, vocabulary: Vocabulary, last: date, listed: Integers) -> Window:
    today = np.zeros(len(histories.users), dtype=np.int64)
    some = histories.lengths > 0
    today[some] = histories.days[histories.offsets[1:][some] - 1]
    return Window(last, vocabulary, histories, listed, today)


def _read(path: Path, needed: tuple[str, ...]) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise SequenceFileError(f"{path}: no readable Parquet file ({error})") from error
    lacking = [name for name in needed if name not in table.column_names]
    if lacking:
        raise SequenceFileError(f"{path}: no column {', '.join(lacking)}; it has {', '.join(table.column_names)}")
    return table
