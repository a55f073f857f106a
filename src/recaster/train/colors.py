"""Colors of one batch of faces brought to those of another: measured once, applied to as many pictures as wanted.

Pictures are ``(N, 3, H, W)`` float32 RGB 0..1. What is measured on targets is applied to the warped inputs too, so that
both have the same colors.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from recaster.train.colorspace import hsv_to_rgb, lab_to_rgb, rgb_to_hsv, rgb_to_lab
from recaster.train.sliced import sliced_transfer

ColorMap = Callable[[Tensor], Tensor]
"""Changes the colors of N pictures; gives new ones."""

LARGEST_GAIN = 2.0
"""Contrast inside a mask is changed by no more than this factor, so that a flat or dark face does not turn to noise."""
LEAST_VARIANCE = 1e-5
"""Added to each variance of whole crops: what is all of one color is not stretched without limit."""
ROOT_STEPS = 30
"""Newton steps after which variances are right that differ by a factor of 10^8."""
_LAB_ENDS = ((0, -127, -127), (100, 127, 127))
_OPPONENT = ((3**-0.5, 3**-0.5, 3**-0.5), (2**-0.5, 0.0, -(2**-0.5)), (-(6**-0.5), 2 * 6**-0.5, -(6**-0.5)))


def color_map(kind: str, pictures: Tensor, masks: Tensor, references: Tensor, reference_masks: Tensor) -> ColorMap:
    """The map that gives each picture the colors of its reference, by the rule that ``kind`` names.

    ``match`` looks inside the masks, ``(N, 1, H, W)``; ``rct``, ``lct``, ``mkl``, ``idt`` and ``sot`` at whole crops.
    """
    if kind == "match":
        return _linear(*match_masked(pictures, masks, references, reference_masks))
    if kind == "rct":
        return _match_lab(pictures, references)
    if kind in {"idt", "sot"}:
        return sliced_transfer(kind, pictures, references)
    (mean, own), (wanted_mean, wanted) = _moments(pictures), _moments(references)
    matrix = {"lct": principal_map, "mkl": monge_map}[kind](own, wanted)
    return _linear(matrix, wanted_mean - (matrix @ mean[:, :, None])[:, :, 0])


def match_masked(pictures: Tensor, masks: Tensor, references: Tensor, reference_masks: Tensor) -> tuple[Tensor, Tensor]:
    """The linear maps that give each picture the mean and spread of its reference, inside the masks.

    The statistics transfer of Reinhard et al. 2001, in the opponent axes of Ohta et al. 1980 (intensity, red-blue,
    green-magenta), which are nearly free of correlation. Gives ``(N, 3, 3)`` and ``(N, 3)``; where a mask is empty, the
    colors stay.
    """
    opponent = torch.tensor(_OPPONENT, device=pictures.device)
    mean, spread = _statistics(opponent, pictures, masks)
    wanted_mean, wanted_spread = _statistics(opponent, references, reference_masks)
    gain = ((wanted_spread + 1e-3) / (spread + 1e-3)).clamp(1 / LARGEST_GAIN, LARGEST_GAIN)
    empty = (masks.sum((1, 2, 3)) < 1) | (reference_masks.sum((1, 2, 3)) < 1)
    gain = torch.where(empty[:, None], 1.0, gain)
    matrix = opponent.T @ (gain[:, :, None] * opponent)
    shift = torch.where(empty[:, None], 0.0, wanted_mean - gain * mean)
    return matrix, shift @ opponent


def principal_map(own: Tensor, wanted: Tensor) -> Tensor:
    """``(N, 3, 3)`` that turn the covariance ``own`` into ``wanted``: √wanted · √own⁻¹ (the color
    matching of Hertzmann et al. 2001).
    """
    _, whitening = roots(own)
    coloring, _ = roots(wanted)
    return coloring @ whitening


def monge_map(own: Tensor, wanted: Tensor) -> Tensor:
    """As :func:`principal_map`, but the map that moves colors least (Pitié & Kokaram 2007), which is symmetric.

    It is √wanted · U · √own⁻¹ with U the rotation next to √wanted · √own.
    """
    root, whitening = roots(own)
    coloring, _ = roots(wanted)
    return coloring @ _rotation_of(coloring @ root) @ whitening


def roots(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Square roots and inverse square roots of positive definite ``(N, 3, 3)``.

    The coupled Newton-Schulz iteration (Higham 2008, sec. 6.3): products only, so that no device has to wait.
    """
    scale = matrices.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
    identity = torch.eye(3, device=matrices.device)
    root, inverse = matrices / scale, identity.expand_as(matrices)
    for _ in range(ROOT_STEPS):
        step = 1.5 * identity - 0.5 * inverse @ root
        root, inverse = root @ step, step @ inverse
    return root * scale.sqrt(), inverse / scale.sqrt()


def _rotation_of(matrices: Tensor) -> Tensor:
    """Orthogonal factors of the polar decomposition by Newton-Schulz steps (Higham 2008, sec. 8.3)."""
    rotation = matrices / matrices.square().sum((1, 2), keepdim=True).sqrt()
    identity = torch.eye(3, device=matrices.device)
    for _ in range(ROOT_STEPS):
        rotation = rotation @ (1.5 * identity - 0.5 * rotation.mT @ rotation)
    return rotation


def draw_jitter(count: int, amount: float, generator: Generator) -> Tensor:
    """Random changes of hue (whole degrees), saturation and value for ``count`` pictures, ``(count, 3)``."""
    degrees = max(1, int(180 * amount))
    hue = torch.randint(-degrees, degrees + 1, (count, 1), generator=generator)
    return torch.cat([hue, (torch.rand(count, 2, generator=generator) - 0.5) * amount], 1)


def jitter(pictures: Tensor, changes: Tensor) -> Tensor:
    """``pictures`` with the ``changes`` ``(N, 3)`` of :func:`draw_jitter` added in HSV, limited to 0..1."""
    hsv = rgb_to_hsv(pictures) + changes[:, :, None, None]
    hsv[:, 1:].clamp_(0, 1)
    return hsv_to_rgb(hsv)


def _match_lab(pictures: Tensor, references: Tensor) -> ColorMap:
    """Mean and spread of each channel of L*a*b* (Reinhard et al. 2001, eq. 10-11, there in lαβ)."""
    own, wanted = rgb_to_lab(pictures).flatten(2), rgb_to_lab(references).flatten(2)
    spread = own.std(2, correction=0)
    gain = torch.where(spread > 1e-3, wanted.std(2, correction=0) / spread, 1.0)[:, :, None, None]
    offset = wanted.mean(2)[:, :, None, None] - gain * own.mean(2)[:, :, None, None]
    low, high = (torch.tensor(ends, device=pictures.device).view(1, 3, 1, 1) for ends in _LAB_ENDS)

    def changed(recolored: Tensor) -> Tensor:
        return lab_to_rgb((gain * rgb_to_lab(recolored) + offset).clamp(low, high))

    return changed


def _linear(matrix: Tensor, offset: Tensor) -> ColorMap:
    """Through ``matrix`` ``(N, 3, 3)`` and ``offset`` ``(N, 3)``, limited to 0..1."""

    def changed(pictures: Tensor) -> Tensor:
        return torch.baddbmm(offset[:, :, None], matrix, pictures.flatten(2)).view_as(pictures).clamp_(0, 1)

    return changed


def _statistics(opponent: Tensor, pictures: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    values, weights = opponent @ pictures.flatten(2), masks.flatten(2)
    total = weights.sum(2).clamp_min(1)
    mean = (values * weights).sum(2) / total
    variance = ((values - mean[:, :, None]).square() * weights).sum(2) / total
    return mean, variance.sqrt()


def _moments(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Mean ``(N, 3)`` and covariance ``(N, 3, 3)`` of whole crops."""
    values = pictures.flatten(2)
    mean = values.mean(2)
    centred = values - mean[:, :, None]
    covariance = centred @ centred.mT / values.shape[2]
    return mean, covariance + LEAST_VARIANCE * torch.eye(3, device=pictures.device)
