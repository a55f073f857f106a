from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as arrays

pytest.importorskip("tflite", reason="tflite is a build requirement, not installed here")

from recaster.perception.convert_tflite import Level, densify

NONE = np.empty(0, np.int64)


def dense_level(size: int) -> Level:
    return Level(size, NONE, NONE)


def compressed(rows: np.ndarray) -> tuple[Level, np.ndarray]:
    """The CSR level of a matrix's columns, and its numbers that are not zero."""
    filled = rows != 0
    segments = np.concatenate([[0], np.cumsum(filled.sum(axis=1))])
    return Level(None, segments, np.nonzero(filled)[1]), rows[filled]


@given(arrays.arrays(np.float32, st.tuples(*[st.integers(1, 4)] * 4), elements=st.sampled_from([0.0, 0.0, 1.0, -2.5])))
def test_a_sparse_kernel_unpacks_to_the_dense_one(kernel: np.ndarray) -> None:
    level, values = compressed(kernel.reshape(-1, kernel.shape[-1]))
    levels = [*map(dense_level, kernel.shape[:-1]), level]
    np.testing.assert_array_equal(densify(values, kernel.shape, levels, [0, 1, 2, 3], []), kernel)


@given(arrays.arrays(np.float16, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=st.sampled_from([0.0, 3.0])))
def test_the_order_of_the_dimensions_is_kept(matrix: np.ndarray) -> None:
    level, values = compressed(matrix.T)
    unpacked = densify(values, matrix.shape, [dense_level(matrix.shape[1]), level], [1, 0], [])
    np.testing.assert_array_equal(unpacked, matrix)
    assert unpacked.dtype == np.float16


@given(
    arrays.arrays(np.bool_, st.tuples(st.integers(1, 3), st.integers(1, 3))),
    st.integers(1, 3),
    st.integers(1, 3),
)
def test_blocks_are_put_in_their_places(present: np.ndarray, height: int, width: int) -> None:
    rows, columns = present.shape
    blocks = np.arange(1, rows * columns * height * width + 1, dtype=np.float32).reshape(rows, columns, height, width)
    blocks *= present[:, :, None, None]
    level, _ = compressed(present.astype(int))
    levels = [dense_level(rows), level, dense_level(height), dense_level(width)]
    matrix = blocks.transpose(0, 2, 1, 3).reshape(rows * height, columns * width)
    unpacked = densify(blocks[present].ravel(), matrix.shape, levels, [0, 1, 2, 3], [0, 1])
    np.testing.assert_array_equal(unpacked, matrix)
