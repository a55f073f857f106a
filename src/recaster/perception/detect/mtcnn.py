"""The detector "mtcnn": three small networks, each looking closer at what the one before let through (Zhang, Zhang, Li,
Qiao 2016, "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional Networks").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from recaster.perception.detect.base import Detection, batches, keep_distinct, largest_first, reduced_and_padded
from recaster.perception.weights import load_tensors
from recaster.types import Floats, Picture

_CELL = 12
"""Side of the picture that the first network judges at a time, px."""
_STRIDE = 2
"""Pixels between two such pictures."""
_OVERLAP_IN_LEVEL = 0.5
_OVERLAP = 0.7
_PICTURES_AT_ONCE = 8
_CROPS_AT_ONCE = 256


class ProposalNet(nn.Module):
    """(N, 3, H, W), -1..1, to a map of corrections of the box (4) and of the probability of a face (1), one cell for
    every 12×12 px in steps of 2.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 10, 3), nn.PReLU(10)
        self.conv2, self.prelu2 = nn.Conv2d(10, 16, 3), nn.PReLU(16)
        self.conv3, self.prelu3 = nn.Conv2d(16, 32, 3), nn.PReLU(32)
        self.conv4_1, self.conv4_2 = nn.Conv2d(32, 2, 1), nn.Conv2d(32, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The maps: correction, probability."""
        x = F.max_pool2d(self.prelu1(self.conv1(x)), 2, 2, ceil_mode=True)
        x = self.prelu3(self.conv3(self.prelu2(self.conv2(x))))
        return self.conv4_2(x), self.conv4_1(x).softmax(1)[:, 1]


class RefineNet(nn.Module):
    """(N, 3, 24, 24), -1..1, to corrections ``(N, 4)`` and probabilities ``(N,)``."""

    side = 24

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 28, 3), nn.PReLU(28)
        self.conv2, self.prelu2 = nn.Conv2d(28, 48, 3), nn.PReLU(48)
        self.conv3, self.prelu3 = nn.Conv2d(48, 64, 2), nn.PReLU(64)
        self.dense4, self.prelu4 = nn.Linear(576, 128), nn.PReLU(128)
        self.dense5_1, self.dense5_2 = nn.Linear(128, 2), nn.Linear(128, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Correction, probability."""
        x = F.max_pool2d(self.prelu1(self.conv1(x)), 3, 2, ceil_mode=True)
        x = F.max_pool2d(self.prelu2(self.conv2(x)), 3, 2, ceil_mode=True)
        x = self.prelu3(self.conv3(x))
        x = self.prelu4(self.dense4(_flat(x)))
        return self.dense5_2(x), self.dense5_1(x).softmax(1)[:, 1]


class OutputNet(nn.Module):
    """(N, 3, 48, 48), -1..1, to corrections ``(N, 4)``, probabilities ``(N,)`` and five points ``(N, 10)``."""

    side = 48

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 32, 3), nn.PReLU(32)
        self.conv2, self.prelu2 = nn.Conv2d(32, 64, 3), nn.PReLU(64)
        self.conv3, self.prelu3 = nn.Conv2d(64, 64, 3), nn.PReLU(64)
        self.conv4, self.prelu4 = nn.Conv2d(64, 128, 2), nn.PReLU(128)
        self.dense5, self.prelu5 = nn.Linear(1152, 256), nn.PReLU(256)
        self.dense6_1, self.dense6_2, self.dense6_3 = nn.Linear(256, 2), nn.Linear(256, 4), nn.Linear(256, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Correction, probability, and the points: five x, then five y, 0..1 of the box."""
        x = F.max_pool2d(self.prelu1(self.conv1(x)), 3, 2, ceil_mode=True)
        x = F.max_pool2d(self.prelu2(self.conv2(x)), 3, 2, ceil_mode=True)
        x = F.max_pool2d(self.prelu3(self.conv3(x)), 2, 2, ceil_mode=True)
        x = self.prelu4(self.conv4(x))
        x = self.prelu5(self.dense5(_flat(x)))
        return self.dense6_2(x), self.dense6_1(x).softmax(1)[:, 1], self.dense6_3(x)


def _flat(x: Tensor) -> Tensor:
    """(N, C, H, W) to (N, W × H × C), the order in which the dense layers were trained."""
    return x.permute(0, 3, 2, 1).flatten(1)


def load_nets() -> tuple[ProposalNet, RefineNet, OutputNet]:
    """The three networks with their pretrained weights, on the CPU. Raises MissingError."""
    tensors = load_tensors("mtcnn")
    nets = (ProposalNet(), RefineNet(), OutputNet())
    for prefix, net in zip(("pnet.", "rnet.", "onet."), nets, strict=True):
        net.load_state_dict({name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)})
        net.eval()
    return nets


@dataclass(frozen=True)
class MtcnnSettings:
    """``thresholds``: how likely a face must be for each of the networks; ``long_side``: px to which a larger picture
    is reduced first; ``min_face``: px in the picture so reduced, the smallest face that is looked for (smaller takes
    longer); ``factor``: between two sizes of the pyramid.
    """

    thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7)
    long_side: int = 960
    min_face: float = 32.0
    factor: float = 0.709


@dataclass
class _Candidates:
    """Boxes in one picture: ``boxes`` ``(N, 4)`` px between pixels (0 is the picture's edge), ``scores`` ``(N,)``."""

    boxes: NDArray[np.float64]
    scores: Floats
    points: NDArray[np.float64] | None = None

    def __getitem__(self, rows: NDArray[np.bool_] | list[int]) -> _Candidates:
        return _Candidates(self.boxes[rows], self.scores[rows], None if self.points is None else self.points[rows])


class Mtcnn:
    """The detector "mtcnn"."""

    def __init__(self, device: torch.device, settings: MtcnnSettings | None = None) -> None:
        self.settings = settings or MtcnnSettings()
        self.device = device
        proposal, refine, output = load_nets()
        self.proposal, self.refine, self.output = proposal.to(device), refine.to(device), output.to(device)

    def detect(self, images: Sequence[Picture]) -> list[list[Detection]]:
        """The faces in each picture, largest first."""
        found: list[list[Detection]] = []
        for positions in batches(images, _PICTURES_AT_ONCE):
            found += self._detect_alike([images[position] for position in positions])
        return found

    @torch.inference_mode()
    def _detect_alike(self, images: list[Picture]) -> list[list[Detection]]:
        pictures, scale = reduced_and_padded(images, self.settings.long_side, 1)
        stages = self._propose(pictures)
        stages = self._look_closer(self.refine, pictures, stages, self.settings.thresholds[1])
        stages = [part[keep_distinct(part.boxes, part.scores, _OVERLAP)] for part in stages]
        stages = self._look_closer(self.output, pictures, stages, self.settings.thresholds[2])
        found: list[list[Detection]] = []
        for part in stages:
            kept = part[keep_distinct(part.boxes, part.scores, _OVERLAP, of_smaller=True)]
            points = None if kept.points is None else kept.points / scale - 0.5
            found.append(largest_first(kept.boxes / scale - 0.5, kept.scores, points, 0.0))
        return found

    def _propose(self, pictures: Picture) -> list[_Candidates]:
        """Candidates in each of the pictures ``(N, H, W, 3)``, from all levels of the pyramid."""
        height, width = pictures.shape[1:3]
        levels: list[list[_Candidates]] = [[] for _ in pictures]
        scale = _CELL / self.settings.min_face
        while min(height, width) * scale >= _CELL:
            size = (math.ceil(width * scale), math.ceil(height * scale))
            reduced = np.stack([cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in pictures])
            corrections, scores = (values.cpu().numpy() for values in self.proposal(self._tensor(reduced)))
            for position in range(len(pictures)):
                levels[position].append(self._proposed(corrections[position], scores[position], scale))
            scale *= self.settings.factor
        return [self._joined(parts) for parts in levels]

    def _proposed(self, correction: Floats, score: Floats, scale: float) -> _Candidates:
        """One level's candidates; ``correction`` ``(4, h, w)``, ``score`` ``(h, w)``."""
        row, column = np.nonzero(score >= self.settings.thresholds[0])
        corner = np.stack([column, row], 1) * (_STRIDE / scale)
        cells = np.concatenate([corner, corner + _CELL / scale], 1)
        part = _Candidates(cells, score[row, column])
        kept = keep_distinct(part.boxes, part.scores, _OVERLAP_IN_LEVEL)
        return _Candidates(_corrected(cells, correction[:, row, column].T)[kept], part.scores[kept])

    def _joined(self, parts: list[_Candidates]) -> _Candidates:
        boxes = np.concatenate([part.boxes for part in parts]) if parts else np.empty((0, 4))
        scores = np.concatenate([part.scores for part in parts]) if parts else np.empty(0, np.float32)
        return _Candidates(boxes, scores)[keep_distinct(boxes, scores, _OVERLAP)]

    def _look_closer(
        self, net: RefineNet | OutputNet, pictures: Picture, stages: list[_Candidates], threshold: float
    ) -> list[_Candidates]:
        """What ``net`` lets through of the candidates, with better boxes and, where it has them, points."""
        squares = [_squared(part.boxes) for part in stages]
        crops = [_cut(image, box, net.side) for image, boxes in zip(pictures, squares, strict=True) for box in boxes]
        outputs = [
            [values.cpu().numpy() for values in net(self._tensor(np.stack(crops[start : start + _CROPS_AT_ONCE])))]
            for start in range(0, len(crops), _CROPS_AT_ONCE)
        ]
        if not outputs:
            return [_Candidates(np.empty((0, 4)), np.empty(0, np.float32)) for _ in stages]
        columns = [np.concatenate(values) for values in zip(*outputs, strict=True)]
        found: list[_Candidates] = []
        start = 0
        for boxes in squares:
            correction, score, *points = (values[start : start + len(boxes)] for values in columns)
            start += len(boxes)
            part = _Candidates(_corrected(boxes, correction), score, _placed(boxes, points[0]) if points else None)
            found.append(part[score >= threshold])
        return found

    def _tensor(self, pictures: Picture) -> Tensor:
        """(N, H, W, 3) uint8 to (N, 3, H, W) -1..1 on the device."""
        return (torch.from_numpy(pictures).to(self.device).permute(0, 3, 1, 2).float() - 127.5) / 128.0


def _corrected(boxes: NDArray[Any], correction: NDArray[Any]) -> NDArray[np.float64]:
    """Boxes with their corners moved by parts of their width and height."""
    extent = boxes[:, 2:] - boxes[:, :2]
    return np.asarray(boxes + correction * np.concatenate([extent, extent], 1), np.float64)


def _placed(boxes: NDArray[np.float64], points: Floats) -> NDArray[np.float64]:
    """Points ``(N, 10)`` of the boxes to ``(N, 5, 2)`` px."""
    share = points.reshape(-1, 2, 5).transpose(0, 2, 1)
    return boxes[:, None, :2] + share * (boxes[:, 2:] - boxes[:, :2])[:, None]


def _squared(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squares around the boxes' centres, as large as their longer sides."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=1.0, keepdims=True) / 2
    return np.concatenate([centre - half, centre + half], 1)


def _cut(image: Picture, box: NDArray[np.float64], side: int) -> Picture:
    """The box's part of the picture, ``(side, side, 3)``, black outside the picture."""
    left, top, right, bottom = (round(float(value)) for value in box)
    height, width = image.shape[:2]
    inside = image[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    missing = (max(-top, 0), max(bottom - height, 0)), (max(-left, 0), max(right - width, 0)), (0, 0)
    padded = np.pad(inside, missing)
    if min(padded.shape) == 0:
        return np.zeros((side, side, 3), np.uint8)
    return cv2.resize(padded, (side, side), interpolation=cv2.INTER_AREA)
