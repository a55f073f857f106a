from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from recaster.nets.losses import absolute_error, blur, dssim, gaussian_window, squared_error

Array = NDArray[np.float64]


def gaussian(size: int, sigma: float) -> Array:
    x = np.arange(size) - (size - 1) / 2
    kernel = np.exp(-(x[:, None] ** 2 + x[None, :] ** 2) / (2 * sigma**2))
    return kernel / kernel.sum()


def windows(image: Array, kernel: Array) -> Array:
    """Weighted sums over every window that lies inside a plane."""
    view = np.lib.stride_tricks.sliding_window_view(image, kernel.shape)
    return np.einsum("yxij,ij->yx", view, kernel)


def ssim_plane(a: Array, b: Array, size: int, sigma: float) -> float:
    """Wang et al. 2004, eq. 13, from variances and the covariance."""
    kernel = gaussian(size, sigma)
    mean_a, mean_b = windows(a, kernel), windows(b, kernel)
    var_a, var_b = windows(a * a, kernel) - mean_a**2, windows(b * b, kernel) - mean_b**2
    covariance = windows(a * b, kernel) - mean_a * mean_b
    top = (2 * mean_a * mean_b + 1e-4) * (2 * covariance + 9e-4)
    return float((top / ((mean_a**2 + mean_b**2 + 1e-4) * (var_a + var_b + 9e-4))).mean())


def pictures(seed: int, count: int = 2, side: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    a = rng.random((count, 3, side, side))
    return torch.from_numpy(a).float(), torch.from_numpy(np.clip(a + rng.normal(0, 0.2, a.shape), 0, 1)).float()


@pytest.mark.parametrize(("size", "sigma"), [(11, 1.5), (5, 1.5), (7, 1.0)])
def test_dssim_is_that_of_the_paper(size: int, sigma: float) -> None:
    a, b = pictures(0)
    expected = [
        (1 - np.mean([ssim_plane(x, y, size, sigma) for x, y in zip(one, other, strict=True)])) / 2
        for one, other in zip(a.double().numpy(), b.double().numpy(), strict=True)
    ]
    np.testing.assert_allclose(dssim(a, b, size, sigma).numpy(), expected, atol=2e-6)


def test_dssim_of_equal_pictures_is_zero() -> None:
    a, _ = pictures(1)
    assert dssim(a, a).abs().max() < 1e-6


@pytest.mark.parametrize(("sigma", "size"), [(1, 5), (2, 9), (0.3, 3), (1.5, 7)])
def test_blur_takes_a_window_of_four_sigma_and_zeros_outside(sigma: float, size: int) -> None:
    a, _ = pictures(2, side=20)
    plane = a.double().numpy()[0, 0]
    expected = windows(np.pad(plane, size // 2), gaussian(size, sigma))
    np.testing.assert_allclose(blur(a, sigma)[0, 0].numpy(), expected, atol=1e-6)


def test_blur_works_on_one_channel_and_keeps_the_middle_of_a_mask() -> None:
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 4:12, 4:12] = 1
    soft = blur(mask, 1)
    assert soft.shape == mask.shape
    assert soft[0, 0, 8, 8] == pytest.approx(1)
    assert 0 < soft[0, 0, 3, 8] < 0.5 < soft[0, 0, 4, 8] < 1


def test_window_is_a_density() -> None:
    window = gaussian_window(11, 1.5)
    assert window.sum() == pytest.approx(1)
    assert torch.equal(window, window.flip(0))
    assert window[5] / window[4] == pytest.approx(np.exp(1 / 4.5))


def test_errors_are_means_of_each_sample() -> None:
    a = torch.zeros(2, 3, 4, 4)
    b = torch.full_like(a, 0.5)
    b[1] = -0.25
    assert squared_error(a, b).tolist() == [0.25, 0.0625]
    assert absolute_error(a, b).tolist() == [0.5, 0.25]
