"""Losses between pictures ``(N, C, H, W)`` in 0..1; each gives one value a sample, ``(N,)``, unless said otherwise."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import wraps
from typing import Any, ParamSpec

import torch
from torch import Tensor
from torch.nn import functional as F

P = ParamSpec("P")


def full_precision(function: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Let ``function`` compute in float32 even under autocast, on 16-bit tensors as well.

    Losses are differences of nearly equal numbers, of which 16 bits leave nothing.
    """

    @wraps(function)
    def inside(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        device = next(value.device.type for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        known = torch.amp.is_autocast_available(device)
        with torch.autocast(device, enabled=False) if known else nullcontext():
            return function(*map(_widened, args), **{name: _widened(value) for name, value in kwargs.items()})

    return inside


def _widened(value: Any) -> Any:
    half = isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16)
    return value.float() if half else value


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


@full_precision
def blur(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of ``sigma`` px within a window of 4 sigma, zeros around the picture."""
    size = max(3, int(4 * sigma + 1)) | 1
    return convolve(image, gaussian_window(size, sigma), size // 2)


def shrink(image: Tensor, size: int) -> Tensor:
    """``(N, C, size, size)``: means of squares of pixels; the image's side is a multiple of ``size``."""
    factor = image.shape[-1] // size
    return image if factor == 1 else F.avg_pool2d(image, factor)


@full_precision
def dssim(a: Tensor, b: Tensor, size: int = 11, sigma: float = 1.5) -> Tensor:
    """(1 - SSIM) / 2 (Wang et al. 2004, eq. 13), mean over channels and over the windows that lie wholly inside."""
    moments = convolve(torch.cat([a, b, a * b, a * a + b * b], 1), gaussian_window(size, sigma))
    mean_a, mean_b, product, squares = moments.chunk(4, 1)
    means, mean_squares = 2 * mean_a * mean_b, mean_a**2 + mean_b**2
    luminance = (means + 0.01**2) / (mean_squares + 0.01**2)
    structure = (2 * product - means + 0.03**2) / (squares - mean_squares + 0.03**2)
    return (1 - (luminance * structure).mean((1, 2, 3))) / 2


@full_precision
def squared_error(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference."""
    return (a - b).square().mean((1, 2, 3))


@full_precision
def absolute_error(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference."""
    return (a - b).abs().mean((1, 2, 3))


@full_precision
def style_distance(a: Tensor, b: Tensor, sigma: float) -> Tensor:
    """How differently two pictures are lit and colored, whatever they show.

    Squared differences of the spatial means and standard deviations, mean over channels, after a blur of ``sigma`` px
    (the statistics of Huang and Belongie 2017, eq. 13, on pixels).
    """
    a, b = blur(a, sigma), blur(b, sigma)
    means = a.mean((2, 3)) - b.mean((2, 3))
    deviations = _deviation(a) - _deviation(b)
    return (means.square() + deviations.square()).mean(1)


def _deviation(image: Tensor) -> Tensor:
    """``(N, C)``; the constant keeps the root's slope finite on flat pictures."""
    return (image.var((2, 3), correction=0) + 1e-5).sqrt()
