"""Agreement of change points with the annotations of several people: F measure and covering.

Called by benchmarks only; kept for a public benchmark of detectors.

van den Burg & Williams, "An Evaluation of Change Point Detection Algorithms", arXiv 2003.06222, section 4.2. The first
position counts as a change point on both sides, so that the metrics are defined without any other change point.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

MARGIN = 5
"""Positions by which a change point may differ from an annotated one, as in the paper."""


def f_measure(annotated: Sequence[Iterable[int]], found: Iterable[int], margin: int = MARGIN) -> float:
    """Harmonic mean of precision, over the union of annotations, and recall, the mean over annotators.

    Each change point of the method matches at most one annotated change point.

    Args:
        annotated: Change points of each annotator.
        found: Change points of the method.
        margin: Positions by which matching change points may differ.

    >>> f_measure([[50]], [52])
    1.0
    """
    answer = {0, *found}
    annotators = [{0, *points} for points in annotated]
    precision = _true_positives(set().union(*annotators), answer, margin) / len(answer)
    recall = sum(_true_positives(points, answer, margin) / len(points) for points in annotators) / len(annotators)
    return 2 * precision * recall / (precision + recall)


def covering(annotated: Sequence[Iterable[int]], found: Iterable[int], length: int) -> float:
    """Mean over annotators of the length-weighted overlap (Jaccard) of their segments with the best found segment.

    Args:
        annotated: Change points of each annotator.
        found: Change points of the method.
        length: Positions of the series.

    >>> covering([[50]], [50], 100)
    1.0
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
