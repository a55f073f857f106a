from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.typing import NDArray

from recaster.geometry.landmarks import mirror_points
from recaster.geometry.mean_face import MEAN_FACE, MODEL_3D
from recaster.geometry.pose import estimate_pose


def rotation(yaw: float, pitch: float, roll: float) -> NDArray[np.float64]:
    y, p, r = (math.radians(angle) for angle in (yaw, pitch, roll))
    about_y = np.array([[math.cos(y), 0, -math.sin(y)], [0, 1, 0], [math.sin(y), 0, math.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, math.cos(p), math.sin(p)], [0, -math.sin(p), math.cos(p)]])
    about_z = np.array([[math.cos(r), -math.sin(r), 0], [math.sin(r), math.cos(r), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def projected(yaw: float, pitch: float, roll: float, *, distance: float = math.inf) -> NDArray[np.float64]:
    """The model seen by a camera at ``distance`` (model units)."""
    turned = MODEL_3D @ rotation(yaw, pitch, roll).T
    return turned[:, :2] * (1 / (1 + turned[:, 2:] / distance)) * 1.7 + (400, 300)


angles = st.tuples(st.floats(-60, 60), st.floats(-30, 30), st.floats(-45, 45))


@given(angles)
def test_known_angles_are_found(truth: tuple[float, float, float]) -> None:
    pose = estimate_pose(projected(*truth))
    assert (pose.yaw, pose.pitch, pose.roll) == pytest.approx(truth, abs=1e-6)


@given(angles)
def test_a_near_camera_moves_the_angles_by_a_few_degrees(truth: tuple[float, float, float]) -> None:
    """700 units are an arm's length and a half: the perspective is visible."""
    pose = estimate_pose(projected(*truth, distance=700))
    assert (pose.yaw, pose.pitch, pose.roll) == pytest.approx(truth, abs=7)


def test_the_signs_of_the_angles() -> None:
    """Read from the picture, not from the rotation: where the tip of the nose goes, and how the eyes lie."""
    nose, right_eye, left_eye = 30, 36, 45
    frontal = projected(0, 0, 0)
    right = projected(30, 0, 0)
    assert right[nose, 0] > frontal[nose, 0]
    assert estimate_pose(right).yaw == pytest.approx(30)
    up = projected(0, 20, 0)
    assert up[nose, 1] < frontal[nose, 1]
    assert estimate_pose(up).pitch == pytest.approx(20)
    clockwise = projected(0, 0, 15)
    assert clockwise[left_eye, 1] - clockwise[right_eye, 1] > frontal[left_eye, 1] - frontal[right_eye, 1]
    assert estimate_pose(clockwise).roll == pytest.approx(15)


@given(angles)
def test_the_mirrored_face_has_the_opposite_yaw_and_roll(truth: tuple[float, float, float]) -> None:
    pose = estimate_pose(mirror_points(projected(*truth), 800))
    assert (-pose.yaw, pose.pitch, -pose.roll) == pytest.approx(truth, abs=1e-6)


@given(angles, st.integers(0, 2**32 - 1))
def test_noise_of_two_percent_costs_a_few_degrees(truth: tuple[float, float, float], seed: int) -> None:
    noise = np.random.default_rng(seed).normal(0, 2, (68, 2))
    pose = estimate_pose(projected(*truth) + noise)
    assert (pose.yaw, pose.pitch, pose.roll) == pytest.approx(truth, abs=6)


@given(angles)
def test_the_jaw_counts_little(truth: tuple[float, float, float]) -> None:
    """A mesh's jaw line slides towards the camera's side as the head turns."""
    points = projected(*truth)
    points[:17] += (9, 3)
    pose = estimate_pose(points)
    assert (pose.yaw, pose.pitch, pose.roll) == pytest.approx(truth, abs=4)


def test_the_mean_face_looks_ahead() -> None:
    points = projected(0, 0, 0)
    unit = np.zeros((68, 2))
    unit[17:] = MEAN_FACE
    scale = np.ptp(points[36:48, 0]) / np.ptp(unit[36:48, 0])
    points[17:] = (unit[17:] - unit[27:31].mean(axis=0)) * scale + points[27:31].mean(axis=0)
    pose = estimate_pose(points)
    assert (pose.yaw, pose.roll) == pytest.approx((0, 0), abs=1)
    assert abs(pose.pitch) < 12


@pytest.mark.parametrize(
    "points",
    [np.full((68, 2), 3.0), np.full((68, 2), np.nan), np.linspace((0, 0), (9, 9), 68), np.zeros((51, 2))],
)
def test_degenerate_points_are_refused(points: NDArray[np.float64]) -> None:
    with pytest.raises(ValueError, match="pose"):
        estimate_pose(points)
