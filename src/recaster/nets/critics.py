"""Networks that judge while others learn (Goodfellow et al. 2014): whose code it is, and whether a picture is real.

A critic gives one or more maps of logits, positive where it takes what it sees for the real thing.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recaster.nets.losses import full_precision

MOST_LAYERS = 9


class CodeCritic(nn.Module):
    """Tells codes of the destination, to it the real ones, from those of the source.

    Convolutions of stride 2, one and one more for every 8 px of the code's ``side``.
    """

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        widths = [256 * min(2**step, 8) for step in range(1 + side // 8)]
        kernels = [4] + [3] * (len(widths) - 1)
        self.downs = nn.ModuleList(
            nn.Conv2d(a, b, kernel, stride=2, padding=kernel // 2)
            for a, b, kernel in zip((channels, *widths), widths, kernels, strict=False)
        )
        self.verdict = nn.Conv2d(widths[-1], 1, 1)

    def forward(self, code: Tensor) -> tuple[Tensor]:
        """``(N, channels, S, S)`` to one map ``(N, 1, H, W)``."""
        for down in self.downs:
            code = F.leaky_relu(down(code), 0.1, inplace=True)
        return (self.verdict(code),)


class PatchCritic(nn.Module):
    """A U-Net (Schönfeld et al. 2020) that tells real pictures from made ones, twice: for patches of about
    ``patch_size`` px in the middle of the network, and for each pixel at its end.

    ``width`` is that of the first features; each step down doubles it, up to 512.
    """

    def __init__(self, patch_size: int, width: int) -> None:
        super().__init__()
        strides = strides_for(patch_size)
        widths = [min(width * 2**step, 512) for step in range(len(strides) + 1)]
        steps = list(zip(widths, widths[1:], strides, strict=False))
        self.start = nn.Conv2d(3, widths[0], 1)
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 3, stride, padding=1) for a, b, stride in steps)
        self.patches = nn.Conv2d(widths[-1], 1, 1)
        self.middle = nn.Conv2d(widths[-1], widths[-1], 1)
        self.ups = nn.ModuleList(
            # Beside what comes from below there is, from the second step on, as much from the way down.
            nn.ConvTranspose2d(b if index == 0 else 2 * b, a, 3, stride, padding=1)
            for index, (a, b, stride) in enumerate(reversed(steps))
        )
        self.pixels = nn.Conv2d(2 * widths[0], 1, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """``(N, 3, R, R)`` to logits of patches ``(N, 1, H, W)`` and of pixels ``(N, 1, R, R)``."""
        x = _activate(self.start(image))
        on_the_way = []
        for down in self.downs:
            on_the_way.append(x)
            x = _activate(down(x))
        patches = self.patches(x)
        x = _activate(self.middle(x))
        for up, earlier in zip(self.ups, reversed(on_the_way), strict=True):
            x = torch.cat([earlier, _activate(up(x, output_size=earlier.shape[2:]))], 1)
        return patches, self.pixels(x)


def passing_loss(critic: nn.Module, made: Tensor) -> Tensor:
    """``(N,)``: how far the critic is from taking ``made`` for real, summed over its maps."""
    return torch.stack([_cross_entropy(logits, real=True) for logits in critic(made)]).sum(0)


def judging_loss(critic: nn.Module, real: Tensor, made: Tensor) -> Tensor:
    """``(N,)``: how far the critic is from telling both kinds apart, half of each, summed over its maps."""
    count = len(real)
    losses = [
        (_cross_entropy(logits[:count], real=True) + _cross_entropy(logits[count:], real=False)) / 2
        for logits in critic(torch.cat([real, made]))
    ]
    return torch.stack(losses).sum(0)


@full_precision
def _cross_entropy(logits: Tensor, *, real: bool) -> Tensor:
    return F.softplus(-logits if real else logits).mean((1, 2, 3))


def _activate(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2, inplace=True)


def strides_for(patch_size: int) -> tuple[int, ...]:
    """Strides of 3 × 3 convolutions, the first one 2, whose receptive field comes nearest to ``patch_size`` px.

    Of those that come equally near the fewest, and then the largest strides.
    """
    candidates = ((2, *rest) for count in range(MOST_LAYERS) for rest in product((2, 1), repeat=count))
    return min(candidates, key=lambda s: (abs(receptive_field(s) - patch_size), len(s), -sum(s)))


def receptive_field(strides: Sequence[int]) -> int:
    """Side of the square that one value sees after 3 × 3 convolutions of these strides, in px."""
    field, pitch = 1, 1
    for stride in strides:
        field += 2 * pitch
        pitch *= stride
    return field
