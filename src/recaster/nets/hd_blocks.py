"""Blocks of the high-definition models (SAEHD, AMP, Quick96); letters choose their form.

``u``: the encoder's vector is brought to unit mean square, which keeps more of the likeness. ``d``: decoders compute at
half the resolution and give four pixels at each place, twice the resolution at equal cost. ``t``: the encoder goes one
step further down and the decoders one further up, with residual blocks in the encoder too. ``c``: the activation is
x · cos x in place of LeakyReLU.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recaster.nets.blocks import Bottleneck, Down, Residual, Up, pairs


def hd_encoder(width: int, letters: str) -> nn.Sequential:
    """Picture ``(N, 3, R, R)`` to vector ``(N, vector_size)``."""
    wave = "c" in letters
    down = partial(Down, centered=True, wave=wave)
    steps: list[nn.Module] = [down(3, width), *(down(a * width, 2 * a * width) for a in (1, 2, 4))]
    if "t" in letters:
        steps.insert(1, Residual(width, wave=wave))
        steps += [down(8 * width, 8 * width), Residual(8 * width, wave=wave)]
    steps.append(nn.Flatten())
    if "u" in letters:
        steps.append(UnitSquare())
    return nn.Sequential(*steps)


def vector_size(resolution: int, width: int, letters: str) -> int:
    """How many numbers :func:`hd_encoder` makes of a picture."""
    side = -(-resolution // (32 if "t" in letters else 16))
    return 8 * width * side * side


def code_side(resolution: int, letters: str) -> int:
    """Side of the grid on which the dense layers end."""
    return resolution // (32 if "d" in letters else 16)


def hd_inter(inputs: int, dims: int, outputs: int, side: int, letters: str) -> nn.Sequential:
    """Vector ``(N, inputs)`` to code ``(N, outputs, S, S)`` through ``dims`` numbers; S = side with t, else 2·side."""
    blocks: list[nn.Module] = [Bottleneck(inputs, dims, outputs, side)]
    if "t" not in letters:
        blocks.append(Up(outputs, outputs, wave="c" in letters))
    return nn.Sequential(*blocks)


class HdDecoder(nn.Module):
    """Code to picture and mask; the mask's way is one of its own, without residual blocks.

    ``width`` and ``mask_width`` are half the channels of the last features, of picture and mask.
    """

    def __init__(self, inputs: int, width: int, mask_width: int, letters: str) -> None:
        super().__init__()
        wave = "c" in letters
        steps = (8, 8, 4, 2) if "t" in letters else (8, 4, 2)
        features = [
            nn.Sequential(Up(a, b, wave=wave), Residual(b, wave=wave))
            for a, b in pairs(inputs, [step * width for step in steps])
        ]
        head = FourPixels(2 * width) if "d" in letters else nn.Conv2d(2 * width, 3, 1)
        mask_widths = [step * mask_width for step in ((*steps, 1) if "d" in letters else steps)]
        ups = [Up(a, b, wave=wave) for a, b in pairs(inputs, mask_widths)]
        self.rgb = nn.Sequential(*features, head, nn.Sigmoid())
        self.mask = nn.Sequential(*ups, nn.Conv2d(mask_widths[-1], 1, 1), nn.Sigmoid())

    def forward(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """``(N, inputs, S, S)`` to rgb ``(N, 3, R, R)`` and mask ``(N, 1, R, R)``, 0..1."""
        return self.rgb(code), self.mask(code)


class FourPixels(nn.Module):
    """Four pixels from each place: one by a 1 × 1 convolution, the three others by 3 × 3 ones."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, 3, 1)
        self.others = nn.Conv2d(inputs, 3 * 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` to ``(N, 3, 2H, 2W)``."""
        pixels = torch.cat([self.first(x), self.others(x)], 1)
        count, _, height, width = pixels.shape
        by_color = pixels.view(count, 4, 3, height, width).transpose(1, 2)
        return F.pixel_shuffle(by_color.reshape(count, 12, height, width), 2)


class UnitSquare(nn.Module):
    """Vectors divided by the root of their mean square (pixel norm, Karras et al. 2018, section 4.2)."""

    def forward(self, x: Tensor) -> Tensor:
        """``(N, K)`` in and out."""
        return F.rms_norm(x, x.shape[1:], eps=1e-6)
