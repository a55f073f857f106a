"""Losses of the high-definition models; each gives one value a sample, ``(N,)``, unless said otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from recaster.nets.losses import (
    absolute_error,
    blur,
    convolve,
    dssim,
    full_precision,
    gaussian_window,
    squared_error,
)

if TYPE_CHECKING:
    from recaster.nets.architecture import Batch
    from recaster.nets.autoencoder import Reconstruction


def targets_of(batch: Batch, *, blur_out_mask: bool) -> tuple[Tensor, Tensor]:
    """What the network must give for source and destination."""
    if not blur_out_mask:
        return batch.target_src, batch.target_dst
    return blur_out(batch.target_src, batch.mask_src), blur_out(batch.target_dst, batch.mask_dst)


def face_losses(
    out: Reconstruction,
    batch: Batch,
    targets: tuple[Tensor, Tensor],
    weights: tuple[Tensor | float, Tensor | float],
    *,
    features: bool = False,
    two_scales: bool = False,
) -> tuple[Tensor, Tensor]:
    """:func:`face_loss` of source and destination; with ``features``, eyes and mouth count once more."""
    assert out.src_mask is not None and out.dst_mask is not None
    assert not features or (batch.features_src is not None and batch.features_dst is not None)
    eyes = (batch.features_src, batch.features_dst) if features else (None, None)
    src = face_loss(out.src_rgb, out.src_mask, targets[0], batch.mask_src, weights[0], eyes[0], two_scales=two_scales)
    dst = face_loss(out.dst_rgb, out.dst_mask, targets[1], batch.mask_dst, weights[1], eyes[1], two_scales=two_scales)
    return src, dst


@full_precision
def face_loss(
    prediction: Tensor,
    predicted_mask: Tensor,
    target: Tensor,
    mask: Tensor,
    weight: Tensor | float,
    features: Tensor | None = None,
    *,
    two_scales: bool = False,
) -> Tensor:
    """Structure and pixels of a picture ``(N, 3, R, R)`` where ``weight`` ``(N, 1, R, R)`` lets them count, and its
    mask; where ``features``, masks of eyes and mouth, are given, those once more.
    """
    a, b = prediction * weight, target * weight
    loss = structure_loss(a, b, two_scales=two_scales) + 10 * squared_error(a, b)
    if features is not None:
        loss = loss + 300 * absolute_error(prediction * features, target * features)
    return loss + 10 * squared_error(predicted_mask, mask)


@full_precision
def structure_loss(a: Tensor, b: Tensor, *, two_scales: bool) -> Tensor:
    """10 · DSSIM in windows of about a twelfth of the side; at ``two_scales`` half of it in half as large ones."""
    side = a.shape[-1]
    if not two_scales:
        return 10 * dssim(a, b, int(side / 11.6))
    return 5 * dssim(a, b, int(side / 11.6)) + 5 * dssim(a, b, int(side / 23.2))


@full_precision
def soft_mask(mask: Tensor) -> Tensor:
    """``mask`` ``(N, 1, R, R)`` with an edge that fades out beyond it, while nearly all of the inside stays 1."""
    return 2 * blurred_mask(mask).clamp(0, 0.5)


@full_precision
def blurred_mask(mask: Tensor) -> Tensor:
    """``mask`` ``(N, 1, R, R)`` with an edge as soft as 1/32 of the side."""
    return blur(mask, max(1, mask.shape[-1] // 32))


@full_precision
def blur_out(target: Tensor, mask: Tensor) -> Tensor:
    """``target`` ``(N, 3, R, R)`` with its surroundings smoothed, by an average that the face has no part in."""
    sigma = target.shape[-1] / 128
    size = max(3, int(4 * sigma)) | 1
    window = gaussian_window(size, sigma)
    outside = 1 - mask
    share = 1 - convolve(mask, window, size // 2)
    smooth = convolve(target * outside, window, size // 2) / torch.where(share == 0, 1.0, share)
    return target * mask + smooth * outside


@full_precision
def face_style_loss(swap: Tensor, dst: Tensor) -> Tensor:
    """Squared differences between the channels' means and between their standard deviations, after a blur of an eighth
    of the side: light and color without shape (Huang and Belongie 2017, eq. 13, on pixels), mean over channels.
    """
    swap, dst = (blur(image, image.shape[-1] // 8) for image in (swap, dst))
    means = (swap.mean((2, 3)) - dst.mean((2, 3))).square()
    deviations = (_deviation(swap) - _deviation(dst)).square()
    return (means + deviations).mean(1)


def _deviation(image: Tensor) -> Tensor:
    return (image.var((2, 3), correction=0) + 1e-5).sqrt()


@full_precision
def background_style_loss(swap: Tensor, dst: Tensor, outside: Tensor) -> Tensor:
    """How far the surroundings of the swap, where ``outside`` ``(N, 1, R, R)`` is 1, are from those in the target."""
    swap, dst = swap * outside, dst * outside
    return dssim(swap, dst, int(swap.shape[-1] / 11.6)) + squared_error(swap, dst)


@full_precision
def total_variation(image: Tensor) -> Tensor:
    """Sum of the squared differences between neighbours, down and across (Rudin et al. 1992, squared)."""
    return image.diff(dim=2).square().sum((1, 2, 3)) + image.diff(dim=3).square().sum((1, 2, 3))
