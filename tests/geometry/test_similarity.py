from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.typing import NDArray

from recaster.geometry.mean_face import MEAN_FACE
from recaster.geometry.similarity import apply_matrix, compose, fit_similarity, invert_matrix, scale_of
from recaster.types import Matrix


def similarity(angle: float, scale: float, x: float, y: float) -> Matrix:
    cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
    return np.array([[cosine, -sine, x], [sine, cosine, y]])


def umeyama_by_decomposition(source: NDArray[np.float64], target: NDArray[np.float64]) -> Matrix:
    """The general n-dimensional solution, as printed in the paper (eq. 38-43)."""
    origin, centre = source.mean(axis=0), target.mean(axis=0)
    covariance = (target - centre).T @ (source - origin) / len(source)
    left, singular, right = np.linalg.svd(covariance)
    signs = np.diag([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    turn = left @ signs @ right
    scale = np.trace(np.diag(singular) @ signs) / np.square(source - origin).sum(axis=1).mean()
    return np.column_stack([scale * turn, centre - scale * turn @ origin])


similarities = st.builds(
    similarity,
    st.floats(-math.pi, math.pi),
    st.floats(0.01, 100),
    st.floats(-5000, 5000),
    st.floats(-5000, 5000),
)
seeds = st.integers(0, 2**32 - 1)


@given(similarities)
def test_the_fit_recovers_a_similarity(matrix: Matrix) -> None:
    np.testing.assert_allclose(fit_similarity(MEAN_FACE, apply_matrix(matrix, MEAN_FACE)), matrix, atol=1e-6)


@given(seeds, st.integers(3, 40))
def test_the_fit_is_umeyamas(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    source, target = random.normal(size=(2, count, 2))
    np.testing.assert_allclose(
        fit_similarity(source, target), umeyama_by_decomposition(source, target), rtol=1e-6, atol=1e-6
    )


@given(seeds, similarities)
def test_moving_the_input_moves_the_fit_with_it(seed: int, motion: Matrix) -> None:
    source = np.random.default_rng(seed).normal(MEAN_FACE, 0.05)
    moved = apply_matrix(motion, source)
    before = apply_matrix(fit_similarity(source, MEAN_FACE), source)
    after = apply_matrix(fit_similarity(moved, MEAN_FACE), moved)
    np.testing.assert_allclose(after, before, atol=1e-7)


@given(similarities, similarities, similarities)
def test_compose_and_invert_obey_their_laws(a: Matrix, b: Matrix, c: Matrix) -> None:
    points = MEAN_FACE * 100
    np.testing.assert_allclose(
        apply_matrix(compose(a, b), points), apply_matrix(b, apply_matrix(a, points)), rtol=1e-9, atol=1e-6
    )
    np.testing.assert_allclose(compose(compose(a, b), c), compose(a, compose(b, c)), rtol=1e-9, atol=1e-4)
    np.testing.assert_allclose(compose(a, invert_matrix(a)), np.eye(2, 3), atol=1e-6)
    np.testing.assert_allclose(invert_matrix(invert_matrix(a)), a, rtol=1e-9, atol=1e-6)
    assert scale_of(compose(a, b)) == pytest.approx(scale_of(a) * scale_of(b))


def test_apply_keeps_the_leading_axes() -> None:
    points = np.zeros((4, 7, 2), np.float32)
    moved = apply_matrix(similarity(0, 2, 3, 5), points)
    assert moved.shape == (4, 7, 2)
    assert np.all(moved == (3, 5))


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        (np.full((33, 2), 7.0), np.ones((33, 2)), "all source points are equal"),
        (np.arange(8.0).reshape(4, 2), np.full((4, 2), 3.0), "target points are equal"),
        (np.full((4, 2), np.nan), np.ones((4, 2)), "source has points that are not finite"),
        (np.arange(8.0).reshape(4, 2), np.full((4, 2), np.inf), "target has points that are not finite"),
        (np.ones((1, 2)), np.ones((1, 2)), "at least 2 points"),
        (np.ones((3, 2)), np.ones((4, 2)), "expected the same"),
        (np.ones((3, 3)), np.ones((3, 3)), r"expected \(N, 2\)"),
    ],
)
def test_degenerate_points_are_refused(source: NDArray[np.float64], target: NDArray[np.float64], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fit_similarity(source, target)


@pytest.mark.parametrize("fill", [0.0, np.nan, np.inf])
def test_a_matrix_without_inverse_is_refused(fill: float) -> None:
    with pytest.raises(ValueError, match="no inverse"):
        invert_matrix(np.full((2, 3), fill))
