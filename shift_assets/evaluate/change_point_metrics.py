"""How well change points agree with what several people marked: F measure and covering.

van den Burg & Williams, "An Evaluation of Change Point Detection Algorithms", arXiv 2003.06222, section 4.2. The first
position counts as a change point on either side, so an empty marking and an empty answer have something to agree on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

MARGIN = 5
"""Positions by which a change point may miss a marked one, as in the paper."""


def f_measure(annotated: Sequence[Iterable[int]], found: Iterable[int], margin: int = MARGIN) -> float:
    """Harmonic mean of precision, over what anybody marked, and recall, the mean over the annotators.

    marked: change points by each annotator. found: change points of a method. Each found one counts for one marked.
    """
    answer = {0, *found}
    annotators = [{0, *points} for points in annotated]
    precision = _true_positives(set().union(*annotators), answer, margin) / len(answer)
    recall = sum(_true_positives(points, answer, margin) / len(points) for points in annotators) / len(annotators)
    return 2 * precision * recall / (precision + recall)


def covering(annotated: Sequence[Iterable[int]], found: Iterable[int], length: int) -> float:
    """Mean over the annotators of how well their segments, weighted by length, overlap the best found one (Jaccard).

    length: positions of the series.
    """
    answer = _segments(found, length)
    return sum(
        sum(len(segment) * max(_overlap(segment, other) for other in answer) for segment in _segments(points, length))
        for points in annotated
    ) / (length * len(annotated))


def _true_positives(annotated: set[int], found: set[int], margin: int) -> int:
    free = set(found)
    for point in sorted(annotated):
        if near := [other for other in free if abs(other - point) <= margin]:
            free.remove(min(near, key=lambda other: (abs(other - point), other)))
    return len(found) - len(free)


def _segments(points: Iterable[int], length: int) -> list[range]:
    return [range(first, last) for first, last in pairwise(sorted({0, length, *points}))]


def _overlap(one: range, other: range) -> float:
    common = min(one.stop, other.stop) - max(one.start, other.start)
    return common / (len(one) + len(other) - common) if common > 0 else 0.0
