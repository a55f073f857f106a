"""The detector "accurate": CenterFace (Xu, Yan, Wang, Yuan 2019, "CenterFace: Joint Face Detection and Alignment Using
Face as Point"), a MobileNetV2 with a feature pyramid. Each cell of its map says whether a face is centred there.
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

_STAGES = ((16, 1, 1, 1), (24, 6, 2, 2), (32, 6, 3, 2), (64, 6, 4, 2), (96, 6, 3, 1), (160, 6, 3, 2), (320, 6, 1, 1))
"""Channels, expansion, blocks, stride of the first (Sandler et al. 2018, "MobileNetV2", table 2)."""

_STRIDE = 4
"""Pixels of the picture to a cell of the maps."""


class InvertedResidual(nn.Module):
    """1×1 expansion, 3×3 depthwise, 1×1 projection; added to its input where the shapes agree."""

    def __init__(self, channels: int, out_channels: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = channels * expansion
        self.expand = nn.Conv2d(channels, hidden, 1) if expansion > 1 else None
        self.depthwise = nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden)
        self.project = nn.Conv2d(hidden, out_channels, 1)
        self.residual = stride == 1 and channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, out channels, H / stride, W / stride)."""
        hidden = x if self.expand is None else F.relu_(self.expand(x))
        y: Tensor = self.project(F.relu_(self.depthwise(hidden)))
        return y.add_(x) if self.residual else y


class CenterFaceNet(nn.Module):
    """(N, 3, H, W) RGB 0..1, sides multiples of 32, to four maps a quarter of the size.

    Channels: probability that a face is centred in the cell (1), log height and log width of the box (2), offset y and
    x of the centre (2), and the five points, y and x of each in units of the box (10).
    """

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        self.blocks = nn.ModuleList()
        channels = 32
        for out_channels, expansion, count, stride in _STAGES:
            for index in range(count):
                self.blocks.append(InvertedResidual(channels, out_channels, expansion, stride if index == 0 else 1))
                channels = out_channels
        self.top = nn.Conv2d(channels, width, 1)
        self.ups, self.laterals = nn.ModuleList(), nn.ModuleList()
        for skip in (96, 32, 24):
            self.ups.append(nn.ConvTranspose2d(width, width, 2, 2))
            self.laterals.append(nn.Conv2d(skip, width, 1))
        self.smooth = nn.Conv2d(width, width, 3, 1, 1)
        self.heads = nn.ModuleList(nn.Conv2d(width, out_channels, 1) for out_channels in (1, 2, 2, 10))

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The maps: probability, log size, offset, points."""
        x = F.relu_(self.stem(picture * 255.0))
        skips: list[Tensor] = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in {2, 5, 12}:
                skips.append(x)
        x = F.relu_(self.top(x))
        for up, lateral, skip in zip(self.ups, self.laterals, reversed(skips), strict=True):
            x = F.relu_(up(x)).add_(F.relu_(lateral(skip)))
        x = F.relu_(self.smooth(x))
        score, size, offset, points = (head(x) for head in self.heads)
        return score.sigmoid(), size, offset, points


def load_net() -> CenterFaceNet:
    """The network with its pretrained weights, on the CPU. Raises MissingError."""
    net = CenterFaceNet()
    pyramid = [layer for pair in zip(net.ups, net.laterals, strict=True) for layer in pair]
    fill([net.stem, net.blocks, net.top, *pyramid, net.smooth, net.heads], load_tensors("centerface"))
    return net.eval()


@dataclass(frozen=True)
class CenterFaceSettings:
    """How hard to look.

    ``score``: a face must be at least this likely (0.35 finds more, and more that are none). ``overlap``: the better of
    two boxes stays whose intersection over union is larger. ``long_side``: px to which a larger picture is reduced
    first; the smallest face that is found well is 16 px there. ``smallest``: px of the frame, the least side of a box.
    """

    score: float = 0.5
    overlap: float = 0.3
    long_side: int = 960
    smallest: float = 12.0


class CenterFace:
    """The detector "accurate"."""

    def __init__(self, device: torch.device, settings: CenterFaceSettings | None = None) -> None:
        self.settings = settings or CenterFaceSettings()
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
        score, size, offset, points = (values.cpu().numpy() for values in maps)
        return [self._decode(score[i, 0], size[i], offset[i], points[i], scale) for i in range(len(images))]

    def _decode(self, score: Floats, size: Floats, offset: Floats, points: Floats, scale: float) -> list[Detection]:
        """One picture's maps to faces in pixels of the frame, which is ``1 / scale`` times the picture seen."""
        row, column = np.nonzero(score >= self.settings.score)
        scores = score[row, column]
        extent = np.exp(size[::-1, row, column]).T * _STRIDE
        centre = (np.stack([column, row], 1) + offset[::-1, row, column].T + 0.5) * _STRIDE
        corner = centre - extent / 2
        boxes = np.concatenate([corner, corner + extent], 1)
        kept = keep_distinct(boxes, scores, self.settings.overlap)
        places = points[:, row, column].T.reshape(-1, 5, 2)[:, :, ::-1] * extent[:, None] + corner[:, None]
        return largest_first(
            boxes[kept] / scale - 0.5, scores[kept], places[kept] / scale - 0.5, self.settings.smallest
        )
