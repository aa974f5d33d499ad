"""Annotated shapes are checked while tests run."""

from __future__ import annotations

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from shift_assets.arrays import sum_by
from shift_assets.churn.bg_nbd import Visits
from shift_assets_tests.shapes import modules_with_shapes


def test_an_array_of_another_length_or_dtype_is_refused() -> None:
    group = np.array([0, 1, 0])
    with pytest.raises(TypeCheckError, match=r"f64\[2\]"):
        sum_by(group, np.array([1.0, 2.0]), 2)
    with pytest.raises(TypeCheckError, match=r"i64\[3\]"):
        sum_by(group, np.array([1, 2, 3]), 2)
    assert sum_by(group, np.array([1.0, 2.0, 3.0]), 2).tolist() == [4, 2]


def test_fields_of_a_data_class_share_their_axis() -> None:
    with pytest.raises(TypeCheckError, match=r"f64\[1\]"):
        Visits(np.zeros(2), np.zeros(2), np.zeros(1))


def test_the_rooms_with_numerical_functions_are_checked() -> None:
    rooms = {module.split(".")[1] for module in modules_with_shapes()}
    assert rooms >= {"arrays", "churn", "experiments", "forecast", "ingest", "interest", "models", "recommend", "shift"}
