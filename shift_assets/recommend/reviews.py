"""Interest that users put in words, or that was seen elsewhere: reviews, ratings, and delivered signals.

Every signal becomes a vector in the space of the items' words (`content`): a text or a category by its terms, a
rating without words by the item that it is about. A user is the sum of the vectors of its signals, weighted and
decayed; the score is the cosine to the items, as in `content`. What that is worth beside what the user took, the
learned blend finds out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from scipy import sparse

from shift_assets.models.sequences import Integers
from shift_assets.recommend.content import OWN_TEXT, affinity, standing
from shift_assets.recommend.source import Fitted, Inputs, Scorer, Source
from shift_assets.recommend.window import Floats, Window

NEUTRAL_STARS = 3.0
SIGNAL_TYPES = {
    "day": pa.date32(),
    "user_id": pa.string(),
    "text": pa.string(),
    "category": pa.string(),
    "weight": pa.float64(),
}
_SCHEMA = pa.schema([*SIGNAL_TYPES.items(), ("item_id", pa.string())])


@dataclass(frozen=True)
class Signals:
    """Rows of day, user_id (pseudonym), text, category, item_id (null where none) and weight; below 0: dislike."""

    rows: pa.Table

    @classmethod
    def of(cls, events: pa.Table, delivered: pa.Table | None) -> Signals:
        """The ratings and reviews of `events` (clean_events), and `delivered` signals in the columns of SIGNAL_TYPES.

        A review weighs as its stars lie above NEUTRAL_STARS, 1 without stars.
        """
        own = events.filter(pc.is_in(events["behavior"], OWN_TEXT))
        stars = pc.subtract(own["rating"], NEUTRAL_STARS)
        reviews = pa.table(
            {
                "day": own["day"],
                "user_id": own["user_id"],
                "text": own["text"],
                "category": pa.nulls(own.num_rows, pa.string()),
                "weight": pc.fill_null(stars, 1.0),
                "item_id": own["item_id"],
            },
            schema=_SCHEMA,
        )
        if delivered is None:
            return cls(reviews)
        given = delivered.append_column("item_id", pa.nulls(delivered.num_rows, pa.string())).cast(_SCHEMA)
        return cls(pa.concat_tables([reviews, given]))


def read_signals(path: Path) -> pa.Table:
    """The delivered signals; of text and category one may be absent.

    Raises ValueError where another column is absent or has another type.
    """
    table = pq.read_table(path)
    columns = {}
    for name, kind in SIGNAL_TYPES.items():
        if name in table.column_names:
            columns[name] = table[name]
        elif name in ("text", "category"):
            columns[name] = pa.nulls(table.num_rows, kind)
        else:
            raise ValueError(f"{path}: column {name} is absent; expected {', '.join(SIGNAL_TYPES)}")
    if not {"text", "category"} & set(table.column_names):
        raise ValueError(f"{path}: a signal needs a text or a category")
    try:
        return pa.table(columns).cast(pa.schema(SIGNAL_TYPES))
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: {error}") from error


def _fit(inputs: Inputs) -> Fitted:
    content, signals, half_life = inputs.content, inputs.signals, inputs.settings.half_life_days
    if content is None or signals is None:
        raise ValueError("the reviews source needs the items' content and the users' signals")
    rows, vocabulary = signals.rows, inputs.window.vocabulary
    said = content.of_texts(rows["text"].to_pylist(), rows["category"].to_pylist())
    about = np.concatenate([np.zeros_like(content.described[:1]), content.described])
    said = np.where(said.any(axis=1, keepdims=True), said, about[vocabulary.item_codes(rows["item_id"])])
    days = pc.cast(rows["day"], pa.int32()).to_numpy().astype(np.int64)
    weights = rows["weight"].to_numpy()
    known = standing(inputs.window)

    def scorer(window: Window) -> Scorer:
        names = pa.array(window.sequences.users, pa.string())

        def scores(users: Integers) -> Floats:
            block = names.take(pa.array(users))
            row, signal = _meetings(block, rows["user_id"])
            ages = window.today[users][row] - days[signal]
            seen = ages >= 0
            row, signal, ages = row[seen], signal[seen], ages[seen]
            if not len(row):
                return np.zeros((len(users), window.item_count), dtype=np.float32)
            held = sparse.csr_matrix(
                (weights[signal] * np.exp2(-ages / half_life), (row, signal)), shape=(len(users), len(days))
            )
            return affinity(np.asarray(held @ said, dtype=np.float32), content.described) * known

        return scores

    return scorer


def _meetings(users: pa.Array, signallers: pa.ChunkedArray) -> tuple[Integers, Integers]:
    """Pairs (place in `users`, place in `signallers`) of the same name; a user may stand in `users` several times."""
    distinct = pc.unique(users)
    place = pc.index_in(users, value_set=distinct).to_numpy()
    of_signal = pc.fill_null(pc.index_in(signallers, value_set=distinct), -1).to_numpy()
    own = sparse.csr_matrix((np.ones(len(place)), (np.arange(len(place)), place)), shape=(len(users), len(distinct)))
    known = np.flatnonzero(of_signal >= 0)
    theirs = sparse.csr_matrix((np.ones(len(known)), (of_signal[known], known)), shape=(len(distinct), len(of_signal)))
    met = (own @ theirs).tocoo()
    return met.row.astype(np.int64), met.col.astype(np.int64)


REVIEWS = Source("reviews", _fit, needs=("content", "signals"))
