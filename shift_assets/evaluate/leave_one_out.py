"""The protocol of the published tables on short sequences: a user's last item is the test, the last but one the
validation.

It lets the training see what other users did later than a user's test item, so its figures are higher than a
split by day gives (Ji et al. 2020, arXiv 2010.11060): good for comparison with published tables, and no more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from scipy import sparse

from shift_assets.contracts import BEHAVIORS
from shift_assets.days import EPOCH
from shift_assets.evaluate.contenders import Judged, contenders, described, judge
from shift_assets.evaluate.tasks import Task
from shift_assets.evaluate.usage import measured
from shift_assets.models.sequences import Integers, Sequences, Vocabulary
from shift_assets.recommend.ranker import Cut, fit_blend
from shift_assets.recommend.source import Inputs
from shift_assets.recommend.window import Window
from shift_assets.settings import ModelSettings, Settings

EVER = 10**6
"""Days in which nothing grows old: position stands for time, and the protocol knows no now."""
ENCODER = {
    "objective": "next_event",
    "item_start": "transitions",
    "dimensions": 128,
    "dropout": 0.5,
    "learning_rate": 1e-3,
    "batch_size": 256,
    "maximum_epochs": 16,
    "patience": 2,
}
"""Of the model where the next item of short sequences is foretold; chosen on the validation items of one such file."""
LENGTHS = (50, 200)
"""Fewest and most newest events of a user that the encoder sees: as many as nine users in ten have."""
COLUMNS = ("user_id", "item_id", "pos")


class SequenceFileError(ValueError):
    """A file of sequences cannot be read; the message names file, row and remedy."""


def read_sequences(path: Path) -> tuple[Sequences, Vocabulary]:
    """The Parquet file `path`, one row per event: user_id, item_id and pos, the event's place in its user's order.

    Position stands for time: an event's day is its position. All events are purchases of items of one category.
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
        behaviors=np.full(len(items), BEHAVIORS.index("purchase") + 1),
        gaps=np.zeros(len(items), dtype=np.int64),
        days=positions[order],
    ), Vocabulary(tuple(names.tolist()), ("all",), np.append(0, np.ones(count, dtype=np.int64)))


class Attributes(NamedTuple):
    """Item i has the attributes `codes[offsets[i]]` to `codes[offsets[i + 1]]`, indices into `names`."""

    names: tuple[str, ...]
    offsets: Integers
    codes: Integers

    @property
    def documents(self) -> list[list[str]]:
        """The names [item] of each item's attributes."""
        return [
            [self.names[code] for code in self.codes[first:last]]
            for first, last in zip(self.offsets[:-1], self.offsets[1:], strict=True)
        ]


def read_attributes(path: Path, vocabulary: Vocabulary) -> Attributes:
    """Attributes of items from the Parquet file `path`: item_id, and any columns of values or lists of values.

    Attributes are told apart by column and value. Items that the vocabulary does not hold are left out.
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
    owner, code = np.concatenate(owners), np.concatenate(codes)
    order = np.lexsort((code, owner))
    counts = np.bincount(owner, minlength=len(vocabulary.items))
    return Attributes(tuple(names), np.concatenate(([0], np.cumsum(counts))), code[order])


class Split(NamedTuple):
    """`learnable` is what may teach, `validation` what may choose, `test` what is reported; histories are masked.

    Listed in `learnable` are the users who are judged, in the order of the tasks.
    """

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
    whole = Window(last, vocabulary, sequences, everyone, sequences.days[sequences.offsets[1:] - 1])
    learnable = replace(whole.prefixes(everyone, ends), listed=judged)

    def task(back: int) -> Task:
        held_back = sequences.offsets[1:][judged] - back
        window = whole.prefixes(judged, held_back)
        return Task(
            window=window,
            allowed=np.arange(len(vocabulary.items)),
            owners=np.arange(len(judged)),
            items=whole.items[held_back],
            log=learnable,
            hidden=(window.owners, window.items),
        )

    return Split(learnable, task(2), task(1))


def _encoder_settings(settings: ModelSettings, lengths: Integers) -> ModelSettings:
    seen = int(np.clip(np.quantile(lengths, 0.9), *LENGTHS))
    return settings.model_copy(update={**ENCODER, "maximum_length": seen})


def _read(path: Path, needed: tuple[str, ...]) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise SequenceFileError(f"{path}: no readable Parquet file ({error})") from error
    lacking = [name for name in needed if name not in table.column_names]
    if lacking:
        raise SequenceFileError(f"{path}: no column {', '.join(lacking)}; it has {', '.join(table.column_names)}")
    return table


class Report(NamedTuple):
    """Every contender on the test items, and what the blend is made of."""

    judged: list[Judged]
    blend: dict[str, Any] | None
    users: int
    items: int


def report(path: Path, items: Path | None, settings: Settings, *, seed: int, tell: Callable[[str], None]) -> Report:
    """Every source, the encoder and the blend on the file's test items. Nothing is chosen by them.

    Raises SequenceFileError where a file cannot be used.
    """
    from shift_assets.models.encoder import ItemAttributes
    from shift_assets.models.examples import Validation
    from shift_assets.models.training import fit
    from shift_assets.recommend.content import Content, TextSpace

    sequences, vocabulary = read_sequences(path)
    attributes = read_attributes(items, vocabulary) if items else None
    parts = split(sequences, vocabulary)
    content = known = None
    if attributes is not None:
        known = ItemAttributes.of_codes(attributes.offsets, attributes.codes)
        space = TextSpace.of(attributes.documents, seed)
        vectors = space.vectors(attributes.documents)
        content = Content(vectors, vectors, space)
    validation = parts.validation
    tell("training the encoder")
    with measured() as training:
        fitted = fit(
            parts.learnable.sequences,
            vocabulary,
            Validation(validation.window.sequences, validation.owners, validation.items + 1, masked=True),
            _encoder_settings(settings.model, parts.learnable.sequences.lengths),
            seed=seed,
            attributes=known,
        )
    wanted = settings.recommendations.model_copy(
        update={"popularity_days": EVER, "catalogue_days": EVER, "exclude_bought_days": EVER}
    )
    inputs = Inputs(parts.learnable, wanted, fitted.model, content=content, seed=seed)
    tell("fitting the blend to the validation items")
    with measured() as blending:
        taken = sparse.csr_matrix(
            (np.ones(len(validation.owners), np.float32), (parts.learnable.listed, validation.items)),
            shape=(len(parts.learnable.sequences.users), len(vocabulary.items)),
        )
        relevant = np.asarray(taken.sum(axis=1), dtype=np.int64).ravel()
        blend = fit_blend([Cut(inputs, taken, relevant)], wanted, seed)
    found = contenders(inputs, blend, encoder=training, blending=blending, tell=tell)
    samples = settings.outcomes.bootstrap_samples
    judged = judge(found, {"test": parts.test}, samples=samples, seed=seed, tell=tell)
    return Report(judged, described(blend), len(parts.test.users), len(vocabulary.items))
