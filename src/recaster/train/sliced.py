"""Color transfers that match whole distributions, one direction of color space after the other.

The colors are moved in steps. In each, along three perpendicular directions, they are moved so that their distribution
along it becomes that of the reference, or a share of the way (Pitié et al. 2007; Rabin et al. 2011). The moves are
learned on some of the pixels and are functions of color: all pixels can follow, and those that are alike stay alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

STEPS = {"idt": (8, 1 / 8), "sot": (10, 1 / 2)}
"""Steps, and the share of the way that each goes: in all idt goes two thirds of the way, sot the whole."""
SAMPLES = 32
"""About this many pixels along a side of a picture are learned from."""
BINS = 128
"""Places along a direction at which it is known how far to move."""


def sliced_transfer(kind: str, pictures: Tensor, references: Tensor) -> Callable[[Tensor], Tensor]:
    """The map that gives each of ``pictures`` ``(N, 3, H, W)`` the distribution of colors of its reference.

    ``idt`` is iterative distribution transfer, gently, ``sot`` sliced optimal transport.
    """
    count, share = STEPS[kind]
    colors, wanted = _thinned(pictures), _thinned(references)
    steps: list[tuple[Tensor, Tensor, Tensor]] = []
    for axes in _rotations(count).to(pictures.device):
        steps.append((axes, *_moves(axes @ colors, axes @ wanted, share)))
        colors = _moved(colors, *steps[-1])

    def changed(recolored: Tensor) -> Tensor:
        moved = recolored.flatten(2)
        for step in steps:
            moved = _moved(moved, *step)
        return moved.view_as(recolored).clamp(0, 1)

    return changed


def _moves(values: Tensor, wanted: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """The range ``(N, 3, 2)`` of ``values`` ``(N, 3, P)``, and for BINS places of it, ``(N, 3, BINS)``, how far a value
    there goes for ``values`` to be distributed as ``wanted``.
    """
    values, wanted = values.sort(2).values, wanted.sort(2).values
    ends = values[:, :, [0, -1]]
    places = torch.lerp(ends[:, :, :1], ends[:, :, 1:], torch.linspace(0, 1, BINS, device=values.device))
    above = torch.searchsorted(values, places).clamp_(1, values.shape[2] - 1)
    low, high = values.gather(2, above - 1), values.gather(2, above)
    part = ((places - low) / (high - low).clamp_min(1e-6)).clamp_(0, 1)
    moves = wanted - values
    return ends, share * torch.lerp(moves.gather(2, above - 1), moves.gather(2, above), part)


def _moved(colors: Tensor, axes: Tensor, ends: Tensor, moves: Tensor) -> Tensor:
    """``colors`` ``(N, 3, P)``, moved along the rows of ``axes`` ``(3, 3)``; beyond the range as much as at its end."""
    along = axes @ colors
    middle, half = ends.mean(2, keepdim=True), (ends[:, :, 1:] - ends[:, :, :1]).clamp_min(1e-6) / 2
    place = (along - middle) / half
    grid = torch.stack([place, torch.zeros_like(place)], 3).view(-1, 1, place.shape[2], 2)
    shift = F.grid_sample(moves.view(-1, 1, 1, BINS), grid, padding_mode="border", align_corners=True)
    return colors + axes.T @ shift.view_as(along)


def _thinned(pictures: Tensor) -> Tensor:
    step = max(1, pictures.shape[3] // SAMPLES)
    return pictures[:, :, step // 2 :: step, step // 2 :: step].flatten(2)


@cache
def _rotations(count: int) -> Tensor:
    """``(count, 3, 3)``, evenly distributed and always the same ones (Shoemake 1992)."""
    first, second, third = torch.rand(3, count, generator=Generator().manual_seed(count), dtype=torch.float64)
    a, b = second * 2 * math.pi, third * 2 * math.pi
    x, y = (1 - first).sqrt() * a.sin(), (1 - first).sqrt() * a.cos()
    z, w = first.sqrt() * b.sin(), first.sqrt() * b.cos()
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2).float()
