"""Random variations of faces, made in batches on the device.

One sample is the picture warped, then rotated, scaled and shifted, then perhaps mirrored. Done backwards that is one
map from the pixels of the sample to those of the cached picture: each output costs one interpolation. Coordinates are
those of :func:`torch.nn.functional.grid_sample` with ``align_corners=False``: the crop spans -1..1 from edge to edge,
x first; the cached picture shows ``span`` times that much.

All random numbers are drawn on the CPU: a few hundred a sample, the same ones whatever the device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

CELLS = (2, 4, 8)
"""Cells of the warp grid along one side of the crop, drawn with equal probability."""
CUT = 2.5
"""Where the normal distribution of the warp is cut, in standard deviations."""
STRENGTH = 0.24
"""Largest move of a warp node along one axis by one draw, in cells."""


@dataclass(frozen=True)
class Augmentation:
    """How far samples vary: ``rotation`` ± degrees, ``scale`` lowest and highest, ``shift`` ± of the crop's side,
    ``flip`` the probability of a mirrored sample.
    """

    rotation: float = 10.0
    scale: tuple[float, float] = (0.95, 1.05)
    shift: float = 0.05
    flip: float = 0.4
    warp: Literal["off", "independent", "transposed"] = "independent"


@dataclass(frozen=True)
class Draw:
    """The random numbers of N samples.

    ``affine`` ``(N, 2, 3)`` maps the sample to the unrotated crop. ``moves`` ``(N, 2, 9, 9)`` are the x and y moves of
    the warp nodes in units of the crop's coordinates; only the first ``cells + 1`` rows and columns are used, the
    border stays at 0. ``cells`` ``(N,)``. Without a warp there are no moves.
    """

    affine: Tensor
    moves: Tensor | None
    cells: Tensor

    def __getitem__(self, rows: slice) -> Draw:
        """Some of the samples."""
        return Draw(self.affine[rows], None if self.moves is None else self.moves[rows], self.cells[rows])

    def to(self, device: torch.device) -> Draw:
        """The same numbers on ``device``."""
        moves = None if self.moves is None else self.moves.to(device, non_blocking=True)
        return Draw(self.affine.to(device, non_blocking=True), moves, self.cells.to(device, non_blocking=True))

    def mirrored(self, which: Tensor) -> Draw:
        """The same, but samples where ``which`` ``(N,)`` is true are mirrored once more."""
        affine = self.affine.clone()
        affine[which, :, 0] *= -1
        return replace(self, affine=affine)


@dataclass(frozen=True)
class Samples:
    """What a network sees and must give, ``(N, 3, R, R)``, and masks of the latter, ``(N, 1, R, R)``; float32 0..1.

    ``features``, of eyes and mouth, are there where the pictures have them. Without a warp ``warped`` is ``target``.
    """

    warped: Tensor
    target: Tensor
    mask: Tensor
    features: Tensor | None


def draw(count: int, settings: Augmentation, generator: Generator) -> Draw:
    """Draw the parameters of ``count`` samples from ``generator``, a CPU one."""
    uniform = torch.rand(5, count, generator=generator)
    turn, x, y = (2 * uniform[:3] - 1).unbind()
    low, high = settings.scale
    scale = low + (high - low) * uniform[3]
    mirror = torch.where(uniform[4] < settings.flip, -1.0, 1.0)
    # Forward: p = mirror(scale * R(angle) q + shift). Backward: q = R(-angle) / scale * (mirror(p) - shift).
    angle, shift = turn * math.radians(settings.rotation), 2 * settings.shift
    cos, sin = angle.cos() / scale, angle.sin() / scale
    across = [cos * mirror, sin, (cos * x + sin * y) * -shift]
    down = [-sin * mirror, cos, (cos * y - sin * x) * -shift]
    kinds = torch.randint(len(CELLS), (count,), generator=generator)
    moves = _moves(kinds, settings.warp, generator)
    return Draw(torch.stack(across + down, 1).view(count, 2, 3), moves, torch.tensor(CELLS)[kinds])


def _moves(kinds: Tensor, warp: str, generator: Generator) -> Tensor | None:
    if warp == "off":
        return None
    noise = truncated_normal((len(kinds), 2, max(CELLS) + 1, max(CELLS) + 1), generator)
    if warp == "transposed":
        total = noise.sum(1)
        noise = torch.stack([total, total.mT], 1)
    else:
        noise = noise * math.sqrt(2)
    return noise * _reaches()[kinds]


@cache
def _reaches() -> Tensor:
    """How far the nodes of each kind of grid in CELLS can move, ``(3, 1, 9, 9)`` in units of the crop's coordinates."""
    index, cells = torch.arange(max(CELLS) + 1), torch.tensor(CELLS)[:, None]
    inner = ((index > 0) & (index < cells)).float()
    return (STRENGTH * 2 / cells)[:, None, None] * (inner[:, None, :, None] * inner[:, None, None, :])


def truncated_normal(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Normal values cut at ± CUT standard deviations and divided by CUT, so that all lie in -1..1."""
    inside = math.erf(CUT / math.sqrt(2))
    uniform = torch.rand(shape, generator=generator, dtype=torch.float32).mul_(2 * inside).sub_(inside)
    return torch.erfinv(uniform).mul_(math.sqrt(2) / CUT)


def unchanged(count: int) -> Draw:
    """The draw that leaves ``count`` samples as they are."""
    return Draw(torch.eye(2, 3).repeat(count, 1, 1), None, torch.full((count,), max(CELLS)))


def plain_grid(parameters: Draw, resolution: int) -> Tensor:
    """Where each pixel of a sample lies in the crop, without the warp: x and y, ``(N, 2, R, R)``."""
    centers = (torch.arange(resolution, device=parameters.affine.device) * 2 + 1) / resolution - 1
    across, down, offset = parameters.affine.unsqueeze(3).unbind(2)
    # The sum of a row and a column is several times faster than affine_grid's product of matrices with three columns.
    return (across * centers + offset).unsqueeze(2) + (down * centers).unsqueeze(3)


def warped_grid(parameters: Draw, grid: Tensor) -> Tensor:
    """``grid`` followed by the warp: the moves of the nodes, interpolated, are added. ``(N, 2, R, R)``.

    The outer nodes lie on the crop's border and do not move; beyond it nothing does. Without a warp it is ``grid``.
    """
    if parameters.moves is None:
        return grid
    last = parameters.moves.shape[-1] - 1
    # A position -1..1 of the crop is node 0..cells; grid_sample counts nodes 0..last as -1..1.
    per_node = (parameters.cells / last).view(-1, 1, 1, 1)
    nodes = torch.addcmul(per_node - 1, grid, per_node).permute(0, 2, 3, 1)
    return F.grid_sample(parameters.moves, nodes, padding_mode="border", align_corners=True).add_(grid)


def render(pictures: Tensor, grid: Tensor, span: float) -> Tensor:
    """Interpolate ``pictures`` ``(N, C, S, S)`` float32 at a grid of the crop: ``(N, C, R, R)``; edges are repeated.

    Bilinear, which takes half the time of bicubic: from a cache of 1.25 times the resolution it comes within 2 % of the
    sharpness of a crop cut directly, and nearer to it than bicubic, which then exaggerates. Pictures whose channels lie
    side by side in memory are read faster.
    """
    return F.grid_sample(pictures, (grid / span).permute(0, 2, 3, 1), padding_mode="border", align_corners=False)


def augment(pictures: Tensor, parameters: Draw, resolution: int, span: float) -> Samples:
    """Samples of ``pictures`` ``(N, S, S, 4 or 5)`` uint8 (RGB, mask, perhaps features) that show ``span`` times the
    crop, varied by ``parameters``; all on one device.
    """
    values = pictures.float().mul_(1 / 255).permute(0, 3, 1, 2)
    grid = plain_grid(parameters, resolution)
    plain = render(values, grid, span)
    target, mask = plain[:, :3], plain[:, 3:4]
    warped = target if parameters.moves is None else render(values[:, :3], warped_grid(parameters, grid), span)
    return Samples(warped, target, mask, full_scale(plain[:, 4:]) if plain.shape[1] > 4 else None)


def full_scale(masks: Tensor) -> Tensor:
    """Each of ``masks`` ``(N, 1, R, R)`` with 1 as its largest value, which interpolation may have lowered.

    None is more than doubled, so that what lies almost beyond the edge stays faint.
    """
    return masks / masks.amax((1, 2, 3), keepdim=True).clamp_min(0.5)
