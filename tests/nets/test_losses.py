from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from recaster.nets.losses import absolute_error, blur, dssim, gaussian_window, shrink, squared_error, style_distance

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


@pytest.mark.parametrize("loss", [dssim, squared_error, absolute_error, lambda a, b: style_distance(a, b, 2)])
def test_losses_are_exact_under_autocast_and_of_half_precision(loss: Callable[..., torch.Tensor]) -> None:
    a, b = pictures(5)
    with torch.autocast("cpu", torch.bfloat16):
        inside = loss(a, b)
    assert torch.equal(inside, loss(a, b))
    short_a, short_b = a.bfloat16(), b.bfloat16()
    assert torch.equal(loss(short_a, short_b), loss(short_a.float(), short_b.float()))
    assert loss(a.double(), b.double()).dtype == torch.float64


def test_full_precision_takes_arguments_by_name_and_works_without_autocast() -> None:
    a, _ = pictures(6)
    assert torch.equal(blur(image=a, sigma=1.5), blur(a, 1.5))
    assert blur(torch.empty(1, 1, 8, 8, device="meta"), 1.0).shape == (1, 1, 8, 8)
    assert blur.__name__ == "blur"


def test_style_distance_compares_blurred_means_and_deviations() -> None:
    a, b = pictures(7, side=20)

    def statistics(image: torch.Tensor) -> tuple[Array, Array]:
        planes = np.pad(image.double().numpy(), ((0, 0), (0, 0), (4, 4), (4, 4)))
        soft = np.array([[windows(plane, gaussian(9, 2)) for plane in sample] for sample in planes])
        return soft.mean((2, 3)), np.sqrt(soft.var((2, 3)) + 1e-5)

    (mean_a, deviation_a), (mean_b, deviation_b) = statistics(a), statistics(b)
    expected = ((mean_a - mean_b) ** 2 + (deviation_a - deviation_b) ** 2).mean(1)
    np.testing.assert_allclose(style_distance(a, b, 2).numpy(), expected, rtol=1e-4)


def test_style_distance_does_not_see_what_is_shown() -> None:
    a, _ = pictures(8)
    assert style_distance(a, a.flip(3), 1).max() < 1e-10
    assert style_distance(a, a * 0.5, 1).min() > 1e-3


def test_style_distance_of_flat_pictures_has_finite_gradients() -> None:
    a = torch.zeros(1, 3, 16, 16, requires_grad=True)
    style_distance(a, torch.ones(1, 3, 16, 16), 1).sum().backward()  # type: ignore[no-untyped-call]
    assert a.grad is not None and a.grad.isfinite().all()


def test_shrink_takes_means_of_squares() -> None:
    image = torch.arange(16.0).view(1, 1, 4, 4)
    assert shrink(image, 2).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert shrink(image, 4) is image
