"""Building blocks of the autoencoders. All take and give ``(N, C, H, W)``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Down(nn.Module):
    """Half the size: a 5 × 5 convolution of stride 2, then LeakyReLU.

    On even sizes 1 pixel is padded left and top, 2 right and bottom ("SAME" padding).
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 5, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` to ``(N, outputs, H/2, W/2)``."""
        return F.leaky_relu(self.conv(F.pad(x, (1, 2, 1, 2))), 0.1, inplace=True)


class Up(nn.Module):
    """Twice the size: a 3 × 3 convolution to four times the channels, LeakyReLU, pixel shuffle (Shi et al. 2016)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, 4 * outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` to ``(N, outputs, 2H, 2W)``."""
        return F.pixel_shuffle(F.leaky_relu(self.conv(x), 0.1, inplace=True), 2)


class Residual(nn.Module):
    """Two 3 × 3 convolutions beside the identity (He et al. 2016), LeakyReLU after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape in and out."""
        change: Tensor = self.second(F.leaky_relu(self.first(x), 0.2, inplace=True))
        return F.leaky_relu(change + x, 0.2, inplace=True)


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
    blocks = [Down(a, b) for a, b in zip((3, *downs), downs, strict=False)]
    return nn.Sequential(*blocks, Bottleneck(downs[-1] * side * side, code, channels, side), Up(channels, up))


class Decoder(nn.Module):
    """Code to picture and mask, both through a sigmoid.

    ``widths`` are the channels after each up block; ``residual`` puts a residual block behind each. ``mask_widths``
    are those of a mask branch of its own; when empty, the mask comes from the picture's last features.
    """

    def __init__(
        self,
        inputs: int,
        widths: Sequence[int],
        mask_widths: Sequence[int] = (),
        *,
        residual: bool = False,
        kernel: int,
    ) -> None:
        super().__init__()
        self.body = _ups(inputs, widths, residual)
        self.rgb = nn.Conv2d(widths[-1], 3, kernel, padding=kernel // 2)
        self.mask_body = _ups(inputs, mask_widths, False) if mask_widths else None
        self.mask = nn.Conv2d((mask_widths or widths)[-1], 1, kernel, padding=kernel // 2)

    def forward(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """``(N, inputs, S, S)`` to rgb ``(N, 3, R, R)`` and mask ``(N, 1, R, R)``, 0..1."""
        features = self.body(code)
        mask_features = features if self.mask_body is None else self.mask_body(code)
        return torch.sigmoid(self.rgb(features)), torch.sigmoid(self.mask(mask_features))


def _ups(inputs: int, widths: Sequence[int], residual: bool) -> nn.Sequential:
    blocks: list[nn.Module] = []
    for a, b in zip((inputs, *widths), widths, strict=False):
        blocks.append(Up(a, b))
        if residual:
            blocks.append(Residual(b))
    return nn.Sequential(*blocks)


def glorot_(module: nn.Module) -> None:
    """Glorot uniform weights and zero biases for every convolution and dense layer (Glorot and Bengio 2010, eq. 16)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
