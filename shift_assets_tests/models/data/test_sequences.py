"""Packing keeps time order and nothing of the order of delivery."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from shift_assets.models.data.sequences import Vocabulary, chunks, flat_ranges, later_visit, newest, pack, past_items
from shift_assets_tests.event_logs import clean_events, shuffled

LOGS = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from("abc"), st.sampled_from(["x-1", "x-2", "y-1"]), st.just("view")),
    min_size=1,
    max_size=30,
)


def test_importing_the_package_does_not_import_torch() -> None:
    """Who reads only the package, or a source that learns nothing, does not wait for torch."""
    code = "import sys, shift_assets.models, shift_assets.recommend.pipeline; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@settings(deadline=None, max_examples=40)
@given(LOGS)
def test_order_of_delivery_does_not_matter(rows: list[tuple[int, str, str, str]]) -> None:
    """The same events in another order pack to the same sequences."""
    events = clean_events(rows)
    vocabulary = Vocabulary.of(events)
    one, other = pack(events, vocabulary), pack(shuffled(events), Vocabulary.of(shuffled(events)))
    assert one.users == other.users
    for name in ("offsets", "items", "categories", "behaviors", "gaps", "days"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@settings(deadline=None, max_examples=40)
@given(LOGS, st.integers(1, 5))
def test_chunks_cover_every_event_once(rows: list[tuple[int, str, str, str]], length: int) -> None:
    """Cutting loses no event and repeats none, and no piece is longer than asked."""
    events = clean_events(rows)
    pieces = chunks(pack(events, Vocabulary.of(events)), length)
    _, covered = flat_ranges(pieces.starts, pieces.starts + pieces.lengths)
    assert sorted(covered.tolist()) == list(range(len(rows)))
    assert pieces.lengths.max() <= length


@settings(deadline=None, max_examples=40)
@given(LOGS)
def test_targets_lie_on_later_days(rows: list[tuple[int, str, str, str]]) -> None:
    """The range of later visits holds exactly the user's events of days after the event's own."""
    events = clean_events(rows)
    sequences = pack(events, Vocabulary.of(events))
    starts, ends = later_visit(sequences)
    for user in range(len(sequences.users)):
        own = np.arange(sequences.offsets[user], sequences.offsets[user + 1])
        for event in own:
            later = own[sequences.days[own] > sequences.days[event]]
            assert list(range(starts[event], ends[event])) == later.tolist()


def test_newest_takes_the_end_of_a_history() -> None:
    """A history longer than the maximum length loses its oldest events."""
    events = clean_events([(number, "a", f"x-{number}", "view") for number in range(6)])
    sequences = pack(events, Vocabulary.of(events))
    piece = newest(sequences, 2)
    assert sequences.days[piece.starts[0]] == sequences.days[-2]


def test_returned_items_are_no_past_items() -> None:
    """A return adds nothing to what the repeat gates see."""
    events = clean_events([(0, "a", "x-1", "purchase"), (1, "a", "x-2", "return"), (2, "a", "x-1", "purchase")])
    sequences = pack(events, Vocabulary.of(events))
    taken = past_items(sequences, sequences.offsets[:-1], sequences.offsets[1:])
    assert taken.items.tolist() == [1]
    np.testing.assert_allclose(taken.features[0, :2], [1, np.log(3)], rtol=1e-6)


def test_an_item_of_two_categories_keeps_the_more_frequent() -> None:
    """The vocabulary's category of an item is the one it is met with most."""
    events = clean_events([(number, "a", "x-1", "view") for number in range(3)])
    categories = pa.array(["rare", "usual", "usual"])
    vocabulary = Vocabulary.of(events.set_column(events.schema.get_field_index("category"), "category", categories))
    assert vocabulary.categories[vocabulary.item_categories[1] - 1] == "usual"
