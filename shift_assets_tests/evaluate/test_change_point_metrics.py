"""Agreement with annotators, on the worked examples of the benchmark's authors and by law."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shift_assets.evaluate.change_point_metrics import covering, f_measure

LENGTH = 60
POINTS = st.sets(st.integers(1, LENGTH - 1), max_size=6)


@pytest.mark.parametrize(
    ("marked", "found", "expected"),
    [
        ([[10, 20], [11, 20], [10], [0, 5]], [10, 20], 1.0),
        ([[], [10], [50]], [10], 10 / 11),
        ([[], [10], [50]], [], 0.8),
    ],
)
def test_f_measure_of_worked_examples(marked: list[list[int]], found: list[int], expected: float) -> None:
    """Precision uses the union of the annotators, recall each of them."""
    assert f_measure(marked, found) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("marked", "found", "expected"),
    [
        ([[10, 20], [10], [0, 5]], [10, 20], 0.7962962962962963),
        ([[], [10], [40]], [10], 0.7954144620811286),
        ([[], [10], [40]], [], 0.8189300411522634),
    ],
)
def test_covering_of_worked_examples(marked: list[list[int]], found: list[int], expected: float) -> None:
    """Segments are weighted by length, annotators equally."""
    assert covering(marked, found, 45) == pytest.approx(expected)


@given(POINTS, POINTS)
def test_only_the_same_answer_is_perfect(marked: set[int], found: set[int]) -> None:
    """Both scores lie in 0..1, and without a margin are 1 exactly for what was marked."""
    scores = f_measure([marked], found, margin=0), covering([marked], found, LENGTH)
    for score in scores:
        assert 0 <= score <= 1 + 1e-12
        assert (score == pytest.approx(1)) == (marked == found)


def test_a_found_point_counts_once() -> None:
    """Two marked change points are not both met by one found between them."""
    assert f_measure([[20, 22]], [21]) == pytest.approx(2 * 1 * (2 / 3) / (1 + 2 / 3))
