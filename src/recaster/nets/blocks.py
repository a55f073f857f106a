"""Building blocks of the autoencoders. All take and give ``(N, C, H, W)``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def activate(x: Tensor, slope: float, wave: bool = False) -> Tensor:
    """LeakyReLU, in place; x · cos x where ``wave`` is set (Noel et al. 2021)."""
    return x * x.cos() if wave else F.leaky_relu(x, slope, inplace=True)


class Down(nn.Module):
    """Half the size: a 5 × 5 convolution of stride 2, then an activation.

    On even sizes 1 pixel is padded left and top, 2 right and bottom ("SAME" padding); 2 on all sides where
    ``centered``.
    """

    def __init__(self, inputs: int, outputs: int, *, centered: bool = False, wave: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 5, stride=2, padding=2 if centered else 0)
        self.centered = centered
        self.wave = wave

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` to ``(N, outputs, H/2, W/2)``."""
        return activate(self.conv(x if self.centered else F.pad(x, (1, 2, 1, 2))), 0.1, self.wave)


class SeparableDown(nn.Module):
    """As :class:`Down` with about a 25th of the weights: a 5 × 5 convolution of stride 2 for each channel alone, then a
    1 × 1 convolution (Howard et al. 2017, section 3.1).
    """

    def __init__(self, inputs: int, outputs: int, *, centered: bool = False) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 5, stride=2, padding=2 if centered else 0, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1)
        self.centered = centered

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` to ``(N, outputs, H/2, W/2)``."""
        places = self.depthwise(x if self.centered else F.pad(x, (1, 2, 1, 2)))
        return activate(self.pointwise(places), 0.1)


class Up(nn.Module):
    """Twice the size: a 3 × 3 convolution to four times the channels, activation, pixel shuffle (Shi et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, *, wave: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, 4 * outputs, 3, padding=1)
        self.wave = wave

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` to ``(N, outputs, 2H, 2W)``."""
        return F.pixel_shuffle(activate(self.conv(x), 0.1, self.wave), 2)


class Residual(nn.Module):
    """Two 3 × 3 convolutions beside the identity (He et al. 2016), an activation after the sum."""

    def __init__(self, channels: int, *, wave: bool = False) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.wave = wave

    def forward(self, x: Tensor) -> Tensor:
        """Same shape in and out."""
        change: Tensor = self.second(activate(self.first(x), 0.2, self.wave))
        return activate(change + x, 0.2, self.wave)


class Bottleneck(nn.Module):
    """Two dense layers through a vector of ``code`` numbers, back to a grid of ``channels`` × ``side`` × ``side``."""

    def __init__(self, inputs: int, code: int, channels: int, side: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(inputs, code)
        self.spread = nn.Linear(code, channels * side * side)
        self.shape = (channels, side, side)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` with C·H·W = inputs to ``(N, channels, side, side)``."""
        grid: Tensor = self.spread(self.squeeze(x.flatten(1)))
        return grid.view(-1, *self.shape)


def encoder(resolution: int, downs: Sequence[int], code: int, channels: int, up: int) -> nn.Sequential:
    """Picture ``(N, 3, R, R)`` to code ``(N, up, S, S)``, S = R / 2^(len(downs) - 1).

    ``downs`` are the widths of the down blocks, ``code`` the size of the vector in the bottleneck, ``channels`` those
    of the grid after it, ``up`` the width of the one up block that ends the encoder.
    """
    side = resolution >> len(downs)
    blocks = [Down(a, b) for a, b in pairs(3, downs)]
    return nn.Sequential(*blocks, Bottleneck(downs[-1] * side * side, code, channels, side), Up(channels, up))


class Decoder(nn.Module):
    """Code to picture and mask, each through up blocks of its own and a sigmoid.

    ``widths`` and ``mask_widths`` are the channels after each up block, ``kernel`` the size of the last convolutions.
    """

    def __init__(self, inputs: int, widths: Sequence[int], mask_widths: Sequence[int], kernel: int) -> None:
        super().__init__()
        self.rgb = _drawing(inputs, widths, 3, kernel)
        self.mask = _drawing(inputs, mask_widths, 1, kernel)

    def forward(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """``(N, inputs, S, S)`` to rgb ``(N, 3, R, R)`` and mask ``(N, 1, R, R)``, 0..1; R = S·2^len(widths)."""
        return self.rgb(code), self.mask(code)


def _drawing(inputs: int, widths: Sequence[int], outputs: int, kernel: int) -> nn.Sequential:
    ups = [Up(a, b) for a, b in pairs(inputs, widths)]
    return nn.Sequential(*ups, nn.Conv2d(widths[-1], outputs, kernel, padding=kernel // 2), nn.Sigmoid())


class ResidualDecoder(nn.Module):
    """Code to picture and mask with residual blocks, both from the same features at half the size.

    The last step to full size is a pixel shuffle of the outputs themselves: no features are computed there, which
    saves a quarter of the time.
    """

    def __init__(self, inputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.body = nn.Sequential(*(nn.Sequential(Up(a, b), Residual(b)) for a, b in pairs(inputs, widths)))
        self.head = nn.Conv2d(widths[-1], 4 * 4, 3, padding=1)

    def forward(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """``(N, inputs, S, S)`` to rgb ``(N, 3, R, R)`` and mask ``(N, 1, R, R)``, 0..1; R = S·2^(len(widths) + 1)."""
        features = self.body(code.contiguous(memory_format=torch.channels_last))
        out = torch.sigmoid(F.pixel_shuffle(self.head(features), 2))
        return out[:, :3], out[:, 3:]


class Standardize(nn.Module):
    """RGB 0..1 to values around 0 with a variance near 1, in the memory format that is quickest for few channels."""

    def forward(self, x: Tensor) -> Tensor:
        """Same shape in and out."""
        return ((x - 0.5) * 4).contiguous(memory_format=torch.channels_last)


def pairs(inputs: int, widths: Sequence[int]) -> list[tuple[int, int]]:
    """(channels in, channels out) of blocks that follow each other."""
    return list(zip((inputs, *widths), widths, strict=False))


def glorot_(module: nn.Module) -> None:
    """Glorot uniform weights and zero biases for every convolution and dense layer (Glorot and Bengio 2010, eq. 16)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def he_(module: nn.Module) -> None:
    """He normal convolutions (He et al. 2015, eq. 15), Glorot normal dense layers, zero biases.

    Signals keep their size through the network, so that the output depends on the input from the first step on. The
    last convolutions of residual blocks and decoders start ten times smaller: the network begins near a plain one with
    grey output (Zhang et al. 2019, Fixup).
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, a=0.1)
        elif isinstance(layer, nn.Linear):
            nn.init.xavier_normal_(layer.weight)
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, Residual):
                layer.second.weight.mul_(0.1)
            elif isinstance(layer, ResidualDecoder):
                layer.head.weight.mul_(0.1)
