"""The leave-one-out protocol: nothing is trained on held-out items, and errors name the file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from shift_assets.cli.app import app
from shift_assets.evaluate.leave_one_out import split
from shift_assets.evaluate.sequence_file import SequenceFileError, read_attributes, read_sequences

USERS, ITEMS, LENGTH = 40, 12, 6


def ring(folder: Path) -> Path:
    """Whoever took item i takes item i + 1 next; rows in no order, identifiers as numbers."""
    rows = [(user, 100 + (user + pos) % ITEMS, pos) for user in range(USERS) for pos in range(LENGTH)]
    order = np.random.default_rng(0).permutation(len(rows))
    columns = zip(*(rows[position] for position in order), strict=True)
    path = folder / "sequences.parquet"
    pq.write_table(pa.table(dict(zip(("user_id", "item_id", "pos"), map(list, columns), strict=True))), path)
    return path


def attributes(folder: Path) -> Path:
    path = folder / "items.parquet"
    items = list(range(100, 100 + ITEMS))
    colours = ["red" if item % 2 else None for item in items]
    pq.write_table(pa.table({"item_id": items, "tags": [[item % 3, 7] for item in items], "colour": colours}), path)
    return path


def test_what_is_left_out_is_the_end_of_every_sequence(tmp_path: Path) -> None:
    """Learnable histories end two items early, the validation's with them, the test's one item later."""
    sequences, vocabulary = read_sequences(ring(tmp_path))
    parts = split(sequences, vocabulary)
    names = np.array(vocabulary.items)
    assert parts.learnable.sequences.lengths.tolist() == [LENGTH - 2] * USERS
    assert parts.validation.window.sequences.lengths.tolist() == [LENGTH - 2] * USERS
    assert parts.test.window.sequences.lengths.tolist() == [LENGTH - 1] * USERS
    for position, user in enumerate(sequences.users):
        assert names[parts.validation.items[position]] == str(100 + (int(user) + LENGTH - 2) % ITEMS)
        assert names[parts.test.items[position]] == str(100 + (int(user) + LENGTH - 1) % ITEMS)
    hidden = set(zip(parts.test.hidden[0].tolist(), parts.test.hidden[1].tolist(), strict=True))
    assert len(hidden) == USERS * (LENGTH - 1)


def test_attributes_are_distinct_by_column_and_value(tmp_path: Path) -> None:
    """Values and lists of values become attributes of the items that the sequences hold."""
    _, vocabulary = read_sequences(ring(tmp_path))
    found = read_attributes(attributes(tmp_path), vocabulary)
    assert set(found.names) == {"tags=0", "tags=1", "tags=2", "tags=7", "colour=red"}
    assert sorted(found.documents[vocabulary.items.index("103")]) == ["colour=red", "tags=1", "tags=7"]
    assert sorted(found.documents[vocabulary.items.index("102")]) == ["tags=0", "tags=7"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"user_id": [1], "item_id": [1]}, "no column pos"),
        ({"user_id": [1, None], "item_id": [1, 2], "pos": [0, 1]}, "row 2: user_id is empty"),
        ({"user_id": [1, 1], "item_id": [1, 2], "pos": [3, 3]}, "row 2: user 1 has two events at pos 3"),
        ({"user_id": [1, 1], "item_id": [1, 2], "pos": ["a", "b"]}, "column pos is string"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_row_and_remedy(
    tmp_path: Path, rows: dict[str, list[object]], message: str
) -> None:
    path = tmp_path / "bad.parquet"
    pq.write_table(pa.table(rows), path)
    with pytest.raises(SequenceFileError, match=message) as caught:
        read_sequences(path)
    assert str(path) in str(caught.value)


def test_the_command_predicts_the_ring(tmp_path: Path) -> None:
    """Generators that use the order predict the ring, popularity does not, and the blend is no worse than its best."""
    command = ["evaluate", "sequences", str(ring(tmp_path)), "--items", str(attributes(tmp_path)), "--json"]
    home = tmp_path / "home"
    home.mkdir()
    (home / "settings.yaml").write_text("model: {maximum_epochs: 3}\n")
    done = CliRunner().invoke(app, [*command, "--home", str(home)])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    hits = {row["contender"]: row["ndcg_at_10"]["value"] for row in found["contenders"]}
    assert hits["transitions"] > 0.95
    assert hits["transitions"] > hits["popularity"] + 0.2
    assert hits["blend"] > 0.9
    assert {"interest_model", "fixed_blend", "content"} <= set(hits)
    assert all(row["training_peak_memory_mib"] > 0 for row in found["contenders"])
    missing = CliRunner().invoke(app, ["evaluate", "sequences", str(tmp_path / "absent.parquet")])
    assert missing.exit_code != 0
