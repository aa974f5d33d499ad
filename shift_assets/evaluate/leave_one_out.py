"""Leave-one-out evaluation: the last item of every user is the test item, the one before it the validation item.

Published results on short sequences use this protocol. Training sees events of other users that are later than a user's
test item, so the metrics are higher than with a temporal split (Ji et al. 2020, arXiv 2010.11060): use it only to
compare with published results.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from shift_assets.arrays import Int64Array
from shift_assets.contracts.day import EPOCH
from shift_assets.evaluate.contenders import ContenderResult, blend_description, contenders, evaluate_contenders
from shift_assets.evaluate.ranking_tasks import RankingTask
from shift_assets.evaluate.resource_usage import measure_usage
from shift_assets.evaluate.sequence_file import SequenceFileError, read_attributes, read_sequences
from shift_assets.models.data.sequences import Sequences, Vocabulary
from shift_assets.models.training.parameters import ModelParameters
from shift_assets.recommend.candidates.base import GeneratorInputs
from shift_assets.recommend.ranking.blend_training import fit_blend
from shift_assets.recommend.ranking.training_snapshot import TrainingSnapshot
from shift_assets.recommend.window import Window
from shift_assets.settings.root import ModelSettings, Settings

EVER = 10**6
"""Days of a window that includes everything: positions replace time, and the protocol has no current day."""
ENCODER = {
    "objective": "next_event",
    "item_initialisation": "transitions",
    "dimensions": 128,
    "dropout": 0.5,
    "learning_rate": 1e-3,
    "batch_size": 256,
    "maximum_epochs": 16,
    "patience": 2,
}
"""Encoder settings for next-item prediction on short sequences, tuned on the validation items of one such file."""
LENGTHS = (50, 200)
"""Bounds of the encoder's maximum length, which is the 90 % quantile of the users' numbers of events."""


class Split(NamedTuple):
    """Training window, validation task and test task; items of a user's history are not ranked.

    The target users of `learnable` are the evaluated users, in the order of the tasks.
    """

    learnable: Window
    validation: RankingTask
    test: RankingTask


def split(sequences: Sequences, vocabulary: Vocabulary) -> Split:
    """Split sequences; the test histories include the validation item.

    Users with fewer than three events are used for training only.

    Raises:
        SequenceFileError: No user has three events.
    """
    evaluated = np.flatnonzero(sequences.lengths >= 3)
    if not len(evaluated):
        raise SequenceFileError("no user has three or more events, which leave-one-out needs; use a longer log")
    ends = sequences.offsets[1:].copy()
    ends[evaluated] -= 2
    everyone = np.arange(len(sequences.users))
    last = EPOCH + timedelta(days=int(sequences.days.max()))
    whole = Window(last, vocabulary, sequences, everyone, sequences.days[sequences.offsets[1:] - 1])
    learnable = replace(whole.prefixes(everyone, ends), target_users=evaluated)

    def task(back: int) -> RankingTask:
        held_back = sequences.offsets[1:][evaluated] - back
        window = whole.prefixes(evaluated, held_back)
        return RankingTask(
            window=window,
            allowed=np.arange(len(vocabulary.items)),
            owners=np.arange(len(evaluated)),
            items=whole.items[held_back],
            log=learnable,
            hidden=(window.owners, window.items),
        )

    return Split(learnable, task(2), task(1))


def _encoder_parameters(settings: ModelSettings, lengths: Int64Array) -> ModelParameters:
    seen = int(np.clip(np.quantile(lengths, 0.9), *LENGTHS))
    return ModelParameters.of(settings).model_copy(update={**ENCODER, "maximum_length": seen})


class Report(NamedTuple):
    """Every contender on the test items, and the blend's description."""

    evaluated: list[ContenderResult]
    blend: dict[str, Any] | None
    users: int
    items: int


def report(
    path: Path, items: Path | None, settings: Settings, *, seed: int, on_progress: Callable[[str], None]
) -> Report:
    """Evaluate every candidate generator, the encoder and the blend on the file's test items.

    Args:
        path: Parquet file of sequences (`read_sequences`).
        items: Parquet file of item attributes (`read_attributes`), or None.
        settings: Settings of the home.
        seed: Seed of training and bootstrap.
        on_progress: Called with a description of each phase.

    Raises:
        SequenceFileError: A file cannot be used.
    """
    from shift_assets.models.data.item_attributes import ItemAttributes
    from shift_assets.models.data.validation import Validation
    from shift_assets.models.training.fit import fit
    from shift_assets.recommend.candidates.item_content import Content, TextSpace

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
    on_progress("training the encoder")
    with measure_usage() as training:
        fitted = fit(
            parts.learnable.sequences,
            vocabulary,
            Validation(validation.window.sequences, validation.owners, validation.items + 1, masked=True),
            _encoder_parameters(settings.model, parts.learnable.sequences.lengths),
            seed=seed,
            attributes=known,
        )
    wanted = settings.recommendations.model_copy(
        update={"popularity_days": EVER, "catalogue_days": EVER, "exclude_bought_days": EVER}
    )
    inputs = GeneratorInputs(parts.learnable, wanted, fitted.model, content=content, seed=seed)
    on_progress("fitting the blend to the validation items")
    with measure_usage() as blending:
        taken = sparse.csr_matrix(
            (np.ones(len(validation.owners), np.float32), (parts.learnable.target_users, validation.items)),
            shape=(len(parts.learnable.sequences.users), len(vocabulary.items)),
        )
        relevant = np.asarray(taken.sum(axis=1), dtype=np.int64).ravel()
        blend = fit_blend([TrainingSnapshot(inputs, taken, relevant)], wanted, seed)
    found = contenders(inputs, blend, encoder=training, blending=blending, on_progress=on_progress)
    samples = settings.outcomes.bootstrap_samples
    evaluated = evaluate_contenders(found, {"test": parts.test}, samples=samples, seed=seed, on_progress=on_progress)
    return Report(evaluated, blend_description(blend), len(parts.test.users), len(vocabulary.items))
