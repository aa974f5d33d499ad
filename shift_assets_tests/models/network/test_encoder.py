"""Packed sequences: neither other sequences nor later events change an output."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shift_assets.arrays import Int64Array
from shift_assets.models.data.item_attributes import ItemAttributes
from shift_assets.models.network.batch import Batch, attention_runs
from shift_assets.models.network.blocks import BLOCKS, Architecture, Shape
from shift_assets.models.network.encoder import CausalEncoder


def batch(lengths: Int64Array, codes: Int64Array) -> Batch:
    return Batch.of(codes, codes, codes, codes, lengths)


def encoder(architecture: Architecture = "transformer") -> CausalEncoder:
    """Two layers with weights as if trained: as they start they would do nothing."""
    torch.manual_seed(0)
    network = CausalEncoder(Shape(20, 5, 16, 2, 2, 0.0, 40, architecture=architecture)).eval()
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return network


architectures = st.sampled_from(list(BLOCKS))


chunk_lengths = st.lists(st.integers(1, 40), min_size=1, max_size=30)


@settings(deadline=None, max_examples=40)
@given(lengths=chunk_lengths, seed=st.integers(0, 9), architecture=architectures)
def test_a_packed_sequence_is_encoded_as_if_it_were_alone(
    lengths: list[int], seed: int, architecture: Architecture
) -> None:
    """For any other chunks in the batch, and any division of attention into runs."""
    network = encoder(architecture)
    counts = np.array(lengths)
    codes = np.random.default_rng(seed).integers(0, 5, counts.sum())
    bounds = np.append(0, np.cumsum(counts))
    with torch.inference_mode():
        together = network(batch(counts, codes))
        for start, end in pairwise(bounds):
            alone = network(batch(np.array([end - start]), codes[start:end]))
            torch.testing.assert_close(together[start:end], alone, atol=1e-4, rtol=1e-4)


@given(lengths=chunk_lengths)
def test_runs_hold_every_token_once(lengths: list[int]) -> None:
    """In the order of the tokens, with as many positions as rows times length."""
    runs = attention_runs(np.array(lengths))
    assert [run.first for run in runs] == [0, *(run.last for run in runs[:-1])]
    assert runs[-1].last == sum(lengths)
    assert sum(run.rows for run in runs) == len(lengths)
    for run in runs:
        if run.padded_index is None or run.unpadded_index is None:
            assert run.rows * run.length == run.last - run.first
        else:
            assert run.padded_index[run.unpadded_index].tolist() == list(range(run.last - run.first))
            assert len(run.padded_index) == run.rows * run.length


def test_many_sequences_of_one_length_need_no_padding() -> None:
    """Runs of equal length are worth their overhead in a large batch, and are merged in a small one."""
    large = attention_runs(np.repeat([5, 40], 200))
    assert [run.padded_index for run in large] == [None, None]
    assert len(attention_runs(np.array([5, 6, 7]))) == 1


@pytest.mark.parametrize("architecture", list(BLOCKS))
def test_a_position_does_not_attend_to_later_events(architecture: Architecture) -> None:
    """Changing later events changes no earlier vector."""
    network = encoder(architecture)
    codes = np.array([1, 2, 3, 4, 1, 2])
    changed = codes.copy()
    changed[4:] = 0
    with torch.inference_mode():
        one, other = (network(batch(np.array([6]), c)) for c in (codes, changed))
    torch.testing.assert_close(one[:4], other[:4])
    assert not torch.allclose(one[4:], other[4:])


def test_an_items_row_is_its_own_vector_plus_attributes_and_content() -> None:
    """The mean of its attributes and the image of its content; of single codes as of the whole table."""
    torch.manual_seed(0)
    offsets, codes = np.array([0, 2, 2, 3]), np.array([0, 2, 1])
    content = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
    attributes = ItemAttributes(offsets, codes, 3, content)
    network = CausalEncoder(Shape(3, 1, 8, 1, 2, 0.0, 5, attributes=3, attribute_entries=3, content=2)).eval()
    network.set_item_attributes(attributes)
    torch.nn.init.normal_(network.attribute.weight)
    torch.nn.init.normal_(network.content.weight)
    with torch.inference_mode():
        rows = network.item_rows()
        some = torch.tensor([3, 1, 1, 0, 2])
        torch.testing.assert_close(network.item_rows(some), rows[some])
        attribute_part = rows - network.item.weight
        content_part = network.content(torch.from_numpy(content))
        torch.testing.assert_close(attribute_part[1], network.attribute.weight[[0, 2]].mean(0) + content_part[0])
        torch.testing.assert_close(attribute_part[2], content_part[1])
        torch.testing.assert_close(attribute_part[0], torch.zeros(8))


def test_dropped_items_are_represented_by_their_attributes_alone() -> None:
    """In training a share of the rows is the attributes' part; in use none is."""
    torch.manual_seed(0)
    count = 400
    attributes = ItemAttributes.of_codes(np.arange(count + 1), np.zeros(count, dtype=np.int64))
    shape = Shape(count, 1, 4, 1, 1, 0.0, 5, attributes=1, attribute_entries=count, item_dropout=0.25)
    network = CausalEncoder(shape)
    network.set_item_attributes(attributes)
    left_out = (network.item_rows()[1:] == 0).all(dim=1).float().mean()
    assert 0.15 < left_out < 0.35
    assert torch.equal(network.eval().item_rows(), network.item.weight)
