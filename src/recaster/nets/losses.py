"""Losses between pictures ``(N, C, H, W)`` in 0..1; each gives one value a sample, ``(N,)``, unless said otherwise."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def gaussian_window(size: int, sigma: float) -> Tensor:
    """``(size,)`` float32 samples of a Gaussian around the middle, in pixels, with sum 1."""
    distance = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
    weights = torch.exp(-(distance**2) / (2 * sigma**2))
    return weights / weights.sum()


def convolve(image: Tensor, window: Tensor, padding: int = 0) -> Tensor:
    """Every channel with the separable ``window`` ``(K,)``; zeros around the picture where ``padding`` is given."""
    channels = image.shape[1]
    window = window.to(image)
    column = window.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    rows = F.conv2d(image, column, padding=(padding, 0), groups=channels)
    return F.conv2d(rows, column.transpose(2, 3), padding=(0, padding), groups=channels)


def blur(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of ``sigma`` px within a window of 4 sigma, zeros around the picture."""
    size = max(3, int(4 * sigma + 1)) | 1
    return convolve(image, gaussian_window(size, sigma), size // 2)


def dssim(a: Tensor, b: Tensor, size: int = 11, sigma: float = 1.5) -> Tensor:
    """(1 - SSIM) / 2 (Wang et al. 2004, eq. 13), mean over channels and over the windows that lie wholly inside."""
    moments = convolve(torch.cat([a, b, a * b, a * a + b * b], 1), gaussian_window(size, sigma))
    mean_a, mean_b, product, squares = moments.chunk(4, 1)
    means, mean_squares = 2 * mean_a * mean_b, mean_a**2 + mean_b**2
    luminance = (means + 0.01**2) / (mean_squares + 0.01**2)
    structure = (2 * product - means + 0.03**2) / (squares - mean_squares + 0.03**2)
    return (1 - (luminance * structure).mean((1, 2, 3))) / 2


def squared_error(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference."""
    return (a - b).square().mean((1, 2, 3))


def absolute_error(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference."""
    return (a - b).abs().mean((1, 2, 3))
