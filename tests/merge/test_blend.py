from __future__ import annotations

import cv2
import numpy as np
import pytest

from recaster.merge import blend
from recaster.merge.blend import blend_modes, seamless
from recaster.swap.identity import ellipse_mask


def smooth_noise(seed: int, size: int, sigma: float = 6.0) -> np.ndarray:
    noise = np.random.default_rng(seed).random((size, size, 3), dtype=np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), sigma)
    return np.asarray(0.5 + (smooth - 0.5) * 4, np.float32).clip(0.1, 0.9)


def soft_ellipse(size: int, sigma: float = 5.0) -> np.ndarray:
    return np.asarray(cv2.GaussianBlur(ellipse_mask(size, 0.6, 0.7), (0, 0), sigma), np.float32)


@pytest.mark.parametrize("name", list(blend_modes))
class TestEveryBlendMode:
    """What any member of the registry has to do."""

    def test_a_face_equal_to_the_frame_changes_nothing(self, name: str) -> None:
        frame = smooth_noise(0, 100)
        assert np.abs(blend_modes.get(name)(frame.copy(), frame, soft_ellipse(100)) - frame).max() < 1e-5

    def test_the_arguments_stay_as_they_are(self, name: str) -> None:
        given = [smooth_noise(0, 90), smooth_noise(1, 90), soft_ellipse(90)]
        kept = [array.copy() for array in given]
        result = blend_modes.get(name)(*given)
        assert result.shape == given[0].shape and result.dtype == np.float32
        assert all(np.array_equal(array, before) for array, before in zip(given, kept, strict=True))

    @pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 2), (37, 300), (601, 80)])
    def test_any_shape(self, name: str, shape: tuple[int, int]) -> None:
        rng = np.random.default_rng(0)
        face, frame = rng.random((2, *shape, 3), dtype=np.float32)
        result = blend_modes.get(name)(face, frame, rng.random(shape, dtype=np.float32))
        assert result.shape == face.shape and np.isfinite(result).all()


@pytest.mark.parametrize("size", [120, 300, 700])
def test_seamless_absorbs_a_constant(size: int) -> None:
    frame = smooth_noise(0, size)
    offset = np.array([0.15, -0.1, 0.05], np.float32)
    assert np.abs(seamless(frame + offset, frame, soft_ellipse(size)) - frame).max() < 2e-4


def test_seamless_meets_the_frame_at_the_rim_and_keeps_the_detail() -> None:
    frame = np.full((200, 200, 3), 0.6, np.float32)
    detail = smooth_noise(3, 200, 2.0) * 0.2
    face = 0.25 + detail
    mask = soft_ellipse(200)
    result = seamless(face, frame, mask)
    mixed = frame + mask[..., None] * (result - frame)
    rim = (mask > 0.05) & (mask < 0.5)
    assert np.abs(mixed[rim] - 0.6).mean() < 0.05, "the face was 0.25 darker"
    middle = (slice(80, 120), slice(80, 120))
    own, given = result[middle] - result[middle].mean((0, 1)), face[middle] - face[middle].mean((0, 1))
    assert np.abs(own - given).max() < 0.02


def test_seamless_solves_poissons_equation() -> None:
    face, frame, mask = smooth_noise(4, 96), smooth_noise(5, 96), soft_ellipse(96)
    change = seamless(face, frame, mask) - frame
    weight = mask[..., None]
    gradient_y, gradient_x = np.diff(face - frame, axis=0), np.diff(face - frame, axis=1)
    flow_y, flow_x = gradient_y * (weight[1:] + weight[:-1]) / 2, gradient_x * (weight[:, 1:] + weight[:, :-1]) / 2
    wanted = np.diff(flow_y, axis=0)[:, 1:-1] + np.diff(flow_x, axis=1)[1:-1]
    laplacian = np.diff(change, 2, axis=0)[:, 1:-1] + np.diff(change, 2, axis=1)[1:-1]
    assert np.abs(laplacian - wanted).max() < 1e-5
    assert np.abs(wanted).max() > 1e-3


def test_the_coarse_grid_gives_what_the_fine_one_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    face, frame, mask = smooth_noise(6, 520, 9.0), smooth_noise(7, 520, 9.0), soft_ellipse(520, 10.0)
    coarse = seamless(face, frame, mask)
    monkeypatch.setattr(blend, "_GRID", 1 << 20)
    fine = seamless(face, frame, mask)
    assert (np.abs(coarse - fine) * mask[..., None]).max() < 2 / 255
