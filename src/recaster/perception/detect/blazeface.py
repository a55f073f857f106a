"""The detector "fast": BlazeFace, full range (Bazarevsky, Kartynnik, Vakunov, Raveendran, Grundmann 2019, "BlazeFace:
Sub-millisecond Neural Face Detection on Mobile GPUs"; the full-range network adds a feature pyramid). It sees the whole
frame 192 px wide, so it misses small faces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recaster.perception.detect.base import (
    Detection,
    batch_limit,
    batches,
    keep_distinct,
    largest_first,
    reduced_and_padded,
)
from recaster.perception.weights import fill, load_tensors
from recaster.types import Floats, Picture

_INPUT_SIZE = 192
"""The unit of the network's numbers, px."""
_STRIDE = 4
"""Pixels of the picture to a cell of the maps."""
_NUMBERS = 16
"""Of a cell: centre, width and height, and six points: eyes, nose, middle of the mouth, ears."""
_HALF_MOUTH = 0.4
"""Half the width of a mouth over the distance of the eyes: the network gives the mouth's middle only."""


class Bottleneck(nn.Module):
    """3×3 depthwise and 1×1 convolution down to few channels, and the same up again; added to its input where that has
    the same shape.
    """

    def __init__(self, channels: int, middle: int, out_channels: int | None = None) -> None:
        super().__init__()
        self.residual = out_channels is None
        stride = 1 if self.residual else 2
        self.first = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels)
        self.squeeze = nn.Conv2d(channels, middle, 1)
        self.second = nn.Conv2d(middle, middle, 3, 1, 1, groups=middle)
        self.expand = nn.Conv2d(middle, out_channels or channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), to half the height and width where there are other channels to go to."""
        y = F.relu_(self.squeeze(self.first(x)))
        y = self.expand(self.second(y))
        return F.relu_(y.add_(x) if self.residual else y)


class Head(nn.Module):
    """(N, 48, H, W) to (N, numbers, H, W), by way of half the size and four times the channels."""

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.widen = nn.Conv2d(48, numbers * 4, 1)
        self.gather = nn.Conv2d(numbers * 4, numbers * 4, 3, 2, 1, groups=numbers * 4)

    def forward(self, x: Tensor) -> Tensor:
        """Channels hold the four neighbours in the order row, column, number."""
        y: Tensor = self.gather(self.widen(x))
        count, channels, height, width = y.shape
        y = y.reshape(count, 2, 2, channels // 4, height, width).permute(0, 3, 4, 1, 5, 2)
        return y.reshape(count, channels // 4, height * 2, width * 2)


class BlazeFaceNet(nn.Module):
    """(N, 3, H, W) RGB 0..1, sides multiples of 32, to two maps a quarter of the size: the box and points of a face
    centred in the cell (16 channels), and the probability of one (1).
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        stages = ((32, 8, 32, 2), (64, 16, 48, 2), (128, 32, 64, 2), (192, 48, 96, 2), (384, 96, 96, 3))
        self.stages, self.laterals = nn.ModuleList(), nn.ModuleList()
        before = 0
        for channels, middle, out_channels, count in stages:
            blocks = [Bottleneck(channels, middle) for _ in range(count)]
            down = [Bottleneck(before, middle, channels)] if before else []
            self.stages.append(nn.Sequential(*down, *blocks))
            self.laterals.append(nn.Conv2d(channels, out_channels, 1) if before else nn.Identity())
            before = channels
        self.merges = nn.ModuleList(
            [
                nn.Sequential(Bottleneck(96, 48), Bottleneck(96, 48), nn.Conv2d(96, 64, 1), nn.ReLU(inplace=True)),
                nn.Sequential(Bottleneck(64, 32), Bottleneck(64, 32), nn.Conv2d(64, 48, 1), nn.ReLU(inplace=True)),
                Bottleneck(48, 24),
            ]
        )
        self.box = Head(_NUMBERS)
        self.score = Head(1)

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """The maps: box and points in units of 1 / 192 px from the centre of the cell, probability."""
        x = F.relu_(self.stem(picture * 2.0 - 1.0))
        levels: list[Tensor] = []
        for stage, lateral in zip(self.stages, self.laterals, strict=True):
            x = stage(x)
            levels.append(F.relu(lateral(x)))
        x = levels.pop()
        for merge in self.merges:
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = merge(x + levels.pop())
        return self.box(x), self.score(x).sigmoid()


def load_net() -> BlazeFaceNet:
    """The network with its pretrained weights, on the CPU. Raises MissingError."""
    net, tensors = BlazeFaceNet(), load_tensors("blazeface")
    levels = [layer for pair in zip(net.stages, net.laterals, strict=True) for layer in pair]
    fill([net.stem, *levels, net.merges, net.box], tensors, "Identity")
    fill([net.score], tensors, "Identity_1")
    return net.eval()


@dataclass(frozen=True)
class BlazeFaceSettings:
    """``score``: a face must be at least this likely; ``overlap``: the better of two boxes stays whose intersection
    over union is larger; ``long_side``: px to which a larger picture is reduced first; ``smallest``: px of the
    frame, the least side of a box.
    """

    score: float = 0.6
    overlap: float = 0.3
    long_side: int = _INPUT_SIZE
    smallest: float = 12.0


class BlazeFace:
    """The detector "fast". Its corners of the mouth are estimated from the middle of the mouth and the eyes."""

    def __init__(self, device: torch.device, settings: BlazeFaceSettings | None = None) -> None:
        self.settings = settings or BlazeFaceSettings()
        self.device = device
        self.net = load_net().to(device)

    def detect(self, images: Sequence[Picture]) -> list[list[Detection]]:
        """The faces in each picture, largest first."""
        found: list[list[Detection]] = []
        for positions in batches(images, batch_limit(self.device)):
            found += self._detect_alike([images[position] for position in positions])
        return found

    @torch.inference_mode()
    def _detect_alike(self, images: list[Picture]) -> list[list[Detection]]:
        pictures, scale = reduced_and_padded(images, self.settings.long_side, 32)
        maps = self.net(torch.from_numpy(pictures).to(self.device).permute(0, 3, 1, 2).float() / 255.0)
        numbers, score = (values.cpu().numpy() for values in maps)
        return [self._decode(numbers[i], score[i, 0], scale) for i in range(len(images))]

    def _decode(self, numbers: Floats, score: Floats, scale: float) -> list[Detection]:
        """One picture's maps to faces in pixels of the frame, which is ``1 / scale`` times the picture seen."""
        row, column = np.nonzero(score >= self.settings.score)
        scores = score[row, column]
        cell = (np.stack([column, row], 1) + 0.5) * _STRIDE
        pairs = numbers[:, row, column].T.reshape(-1, _NUMBERS // 2, 2)
        centre, extent = cell + pairs[:, 0], pairs[:, 1]
        boxes = np.concatenate([centre - extent / 2, centre + extent / 2], 1)
        points = cell[:, None] + pairs[:, 2:6]
        half_mouth = (points[:, 1] - points[:, 0]) * _HALF_MOUTH
        mouth = np.stack([points[:, 3] - half_mouth, points[:, 3] + half_mouth], 1)
        five = np.concatenate([points[:, :3], mouth], 1)
        kept = keep_distinct(boxes, scores, self.settings.overlap)
        return largest_first(boxes[kept] / scale - 0.5, scores[kept], five[kept] / scale - 0.5, self.settings.smallest)
