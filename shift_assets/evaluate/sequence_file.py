"""Sequences and item attributes read from Parquet files."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shift_assets.arrays import Int64Array
from shift_assets.contracts.cleaning import BEHAVIORS
from shift_assets.errors import UserError
from shift_assets.models.data.sequences import Sequences, Vocabulary

COLUMNS = ("user_id", "item_id", "pos")


class SequenceFileError(UserError):
    """A file of sequences or item attributes cannot be used; the message names file and row and says what to do."""


def read_sequences(path: Path) -> tuple[Sequences, Vocabulary]:
    """Read a Parquet file with one row per event: user_id, item_id and pos, the event's position in its user's order.

    Positions replace time: an event's day is its position. All events are purchases of items of one category.

    Raises:
        SequenceFileError: The file cannot be read, a column or value is missing, or a position occurs twice.
    """
    table = _read(path, COLUMNS)
    for name in COLUMNS:
        missing = np.flatnonzero(table[name].is_null().to_numpy())
        if len(missing):
            raise SequenceFileError(f"{path}: row {missing[0] + 1}: {name} is empty; fill it or remove the row")
    if not pa.types.is_integer(table["pos"].type):
        raise SequenceFileError(f"{path}: column pos is {table['pos'].type}; expected integers")
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
        behaviors=np.full(len(items), BEHAVIORS.index("purchase") + 1),
        gaps=np.zeros(len(items), dtype=np.int64),
        days=positions[order],
    ), Vocabulary(tuple(names.tolist()), ("all",), np.append(0, np.ones(count, dtype=np.int64)))


class Attributes(NamedTuple):
    """Item i has the attributes `codes[offsets[i]]` to before `codes[offsets[i + 1]]`, which index `names`."""

    names: tuple[str, ...]
    offsets: Int64Array
    codes: Int64Array

    @property
    def documents(self) -> list[list[str]]:
        """The names [item] of each item's attributes."""
        return [
            [self.names[code] for code in self.codes[first:last]]
            for first, last in zip(self.offsets[:-1], self.offsets[1:], strict=True)
        ]


def read_attributes(path: Path, vocabulary: Vocabulary) -> Attributes:
    """Read attributes of items from a Parquet file: item_id, and any columns of values or lists of values.

    An attribute is a pair of column and value. Items that are not in the vocabulary are left out.

    Raises:
        SequenceFileError: The file cannot be read, or has no column besides item_id.
    """
    table = _read(path, ("item_id",))
    position = pc.index_in(table["item_id"].cast(pa.string()), value_set=pa.array(vocabulary.items, pa.string()))
    known = np.asarray(pc.fill_null(position, -1).to_numpy())
    names: list[str] = []
    owners: list[Int64Array] = []
    codes: list[Int64Array] = []
    for column in table.column_names:
        if column == "item_id":
            continue
        values = table[column].combine_chunks()
        rows = np.arange(table.num_rows)
        if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
            rows = pc.list_parent_indices(values).to_numpy().astype(np.int64)
            values = pc.list_flatten(values)
        selected = values.is_valid().to_numpy(zero_copy_only=False) & (known[rows] >= 0)
        texts, code = np.unique(values.cast(pa.string()).to_numpy(zero_copy_only=False)[selected], return_inverse=True)
        owners.append(known[rows[selected]])
        codes.append(code + len(names))
        names += [f"{column}={text}" for text in texts]
    if not owners:
        raise SequenceFileError(f"{path}: no column besides item_id; add the items' attributes, or omit --items")
    owner, code = np.concatenate(owners), np.concatenate(codes)
    order = np.lexsort((code, owner))
    counts = np.bincount(owner, minlength=len(vocabulary.items))
    return Attributes(tuple(names), np.concatenate(([0], np.cumsum(counts))), code[order])


def _read(path: Path, needed: tuple[str, ...]) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise SequenceFileError(f"{path}: not a readable Parquet file ({error})") from error
    lacking = [name for name in needed if name not in table.column_names]
    if lacking:
        raise SequenceFileError(f"{path}: no column {', '.join(lacking)} (columns: {', '.join(table.column_names)})")
    return table
