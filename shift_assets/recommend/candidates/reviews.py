"""Candidates from explicit feedback: reviews, ratings, and external signals of interest.

Every signal becomes a vector in the space of the items' texts (`item_content`): a text or a category by its terms, a
rating without a text by the item that it is about. A user is the weighted, decayed sum of the vectors of its signals;
the score is the cosine to the items, as in `content`. The learned blend weighs it against implicit feedback.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from shift_assets.arrays import Float32Array, Int64Array
from shift_assets.recommend.candidates.base import CandidateGenerator, FittedGenerator, GeneratorInputs, Scorer
from shift_assets.recommend.candidates.item_content import cosine_scores
from shift_assets.recommend.candidates.popularity import popularity_weight
from shift_assets.recommend.window import Window
from shift_assets.settings.root import RecommendationSettings


@dataclass(frozen=True, slots=True)
class Config:
    """Parameters of candidates from explicit feedback."""

    half_life_days: float
    """Days in which a signal loses half its weight."""

    @classmethod
    def of(cls, settings: RecommendationSettings) -> Config:
        return cls(half_life_days=settings.half_life_days)


def _fit(inputs: GeneratorInputs) -> FittedGenerator:
    content, signals, config = inputs.content, inputs.signals, Config.of(inputs.settings)
    if content is None or signals is None:
        raise ValueError("the reviews generator needs the items' content and the users' signals")
    rows, vocabulary = signals.rows, inputs.window.vocabulary
    signal_vectors = content.embed_texts(rows["text"].to_pylist(), rows["category"].to_pylist())
    about = np.concatenate([np.zeros_like(content.text_vectors[:1]), content.text_vectors])
    signal_vectors = np.where(
        signal_vectors.any(axis=1, keepdims=True), signal_vectors, about[vocabulary.item_codes(rows["item_id"])]
    )
    days = pc.cast(rows["day"], pa.int32()).to_numpy().astype(np.int64)
    weights = rows["weight"].to_numpy()
    item_weight = popularity_weight(inputs.window)

    def scorer(window: Window) -> Scorer:
        names = pa.array(window.sequences.users, pa.string())

        def scores(users: Int64Array) -> Float32Array:
            block = names.take(pa.array(users))
            row, signal = _matching_pairs(block, rows["user_id"])
            ages = window.today[users][row] - days[signal]
            seen = ages >= 0
            row, signal, ages = row[seen], signal[seen], ages[seen]
            if not len(row):
                return np.zeros((len(users), window.item_count), dtype=np.float32)
            held = sparse.csr_matrix(
                (weights[signal] * np.exp2(-ages / config.half_life_days), (row, signal)), shape=(len(users), len(days))
            )
            return (
                cosine_scores(np.asarray(held @ signal_vectors, dtype=np.float32), content.text_vectors) * item_weight
            )

        return scores

    return scorer


def _matching_pairs(users: pa.Array, signal_users: pa.ChunkedArray) -> tuple[Int64Array, Int64Array]:
    """Pairs (index in `users`, index in `signal_users`) of the same name; `users` may hold a user several times."""
    distinct = pc.unique(users)
    position = pc.index_in(users, value_set=distinct).to_numpy()
    of_signal = pc.fill_null(pc.index_in(signal_users, value_set=distinct), -1).to_numpy()
    own = sparse.csr_matrix(
        (np.ones(len(position)), (np.arange(len(position)), position)), shape=(len(users), len(distinct))
    )
    known = np.flatnonzero(of_signal >= 0)
    theirs = sparse.csr_matrix((np.ones(len(known)), (of_signal[known], known)), shape=(len(distinct), len(of_signal)))
    found = (own @ theirs).tocoo()
    return found.row.astype(np.int64), found.col.astype(np.int64)


REVIEWS = CandidateGenerator(
    "reviews",
    _fit,
    {"en": "Fits reviews and other signs of interest", "zh": "符合评价及其他兴趣表现"},
    needs=("content", "signals"),
)
