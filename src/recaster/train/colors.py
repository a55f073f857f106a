"""Colors of one batch of faces brought to those of another, as one matrix a picture."""

from __future__ import annotations

import torch
from torch import Tensor

LARGEST_GAIN = 2.0
"""Contrast is changed by no more than this factor, so that a flat or dark face does not turn to noise."""
_OPPONENT = ((3**-0.5, 3**-0.5, 3**-0.5), (2**-0.5, 0.0, -(2**-0.5)), (-(6**-0.5), 2 * 6**-0.5, -(6**-0.5)))


def color_map(pictures: Tensor, masks: Tensor, references: Tensor, reference_masks: Tensor) -> tuple[Tensor, Tensor]:
    """The linear maps that give each picture the mean and spread of its reference, inside the masks.

    All ``(N, 3, H, W)`` RGB with ``(N, 1, H, W)``. The statistics transfer of Reinhard et al. 2001, in the opponent
    axes of Ohta et al. 1980 (intensity, red-blue, green-magenta), which are nearly free of correlation. Gives
    ``(N, 3, 3)`` and ``(N, 3)`` for :func:`recolor`; where a mask is empty, the colors stay.
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


def recolor(pictures: Tensor, matrix: Tensor, offset: Tensor) -> Tensor:
    """``pictures`` ``(N, 3, H, W)`` through ``matrix`` ``(N, 3, 3)`` and ``offset`` ``(N, 3)``, limited to 0..1."""
    changed = torch.baddbmm(offset[:, :, None], matrix, pictures.flatten(2))
    return changed.view_as(pictures).clamp_(0, 1)


def _statistics(opponent: Tensor, pictures: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    values, weights = opponent @ pictures.flatten(2), masks.flatten(2)
    total = weights.sum(2).clamp_min(1)
    mean = (values * weights).sum(2) / total
    variance = ((values - mean[:, :, None]).square() * weights).sum(2) / total
    return mean, variance.sqrt()
