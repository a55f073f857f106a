"""A fixed tiny batch for any network, and one of real faces."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recaster.geometry.framing import align
from recaster.geometry.landmarks import hull_mask
from recaster.geometry.similarity import apply_matrix
from recaster.geometry.warp import warp_crop
from recaster.media.reader import FrameReader
from recaster.nets.architecture import Architecture, Batch
from recaster.nets.autoencoder import FaceNet
from recaster.perception.detect.base import make_detector
from recaster.perception.landmarks.base import make_landmarker
from recaster.types import Framing, Landmarks, Picture

REAL_FACES = 8


def smooth(generator: torch.Generator, count: int, channels: int, resolution: int) -> torch.Tensor:
    """``(count, channels, R, R)`` random pictures without fine grain, which a network can learn."""
    coarse = torch.rand(count, channels, 4, 4, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=resolution, mode="bilinear")


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    """make_batch(resolution, count): the same numbers every time; the masks are 0 or 1."""

    def make(resolution: int, count: int = 2) -> Batch:
        generator = torch.Generator().manual_seed(3)
        src, dst = (smooth(generator, count, 3, resolution) for _ in range(2))
        mask_src, mask_dst = ((smooth(generator, count, 1, resolution) > 0.4).float() for _ in range(2))
        features_src, features_dst = (smooth(generator, count, 1, resolution) * mask for mask in (mask_src, mask_dst))
        return Batch(src, src, mask_src, dst, dst, mask_dst, features_src, features_dst)

    return make


@pytest.fixture(scope="session")
def train_on() -> Callable[..., list[float]]:
    """train_on(architecture, net, options, batch, iterations, rate=None, draw=None, until=None): the sum of all phases'
    losses in each iteration.

    Plain Adam, at each phase's own rate unless another is given, on the whole batch unless that many samples are to be
    drawn of it each time. Stops early where ``until(net, totals)`` says so.
    """

    def train(
        architecture: Architecture,
        net: FaceNet,
        options: Any,
        batch: Batch,
        iterations: int,
        rate: float | None = None,
        draw: int | None = None,
        until: Callable[[FaceNet, list[float]], bool] | None = None,
    ) -> list[float]:
        critics = architecture.critics(options, net)
        phases = architecture.phases(net, critics, options, random_warp=True)
        adams = [
            torch.optim.Adam(phase.weights.values(), rate or phase.rule.learning_rate, (0.5, 0.999), fused=True)
            for phase in phases
        ]
        generator = torch.Generator().manual_seed(1)
        totals: list[float] = []
        while len(totals) < iterations and not (until and totals and until(net, totals)):
            totals.append(0.0)
            rows = torch.randperm(len(batch.target_src), generator=generator)[:draw]
            some = Batch(**{name: values[rows] for name, values in vars(batch).items()})
            for phase, adam in zip(phases, adams, strict=True):
                net.zero_grad()
                critics.zero_grad()
                losses = phase.losses(some, 0.0)
                losses.total.backward()  # type: ignore[no-untyped-call]
                adam.step()
                totals[-1] += losses.total.item()
        return totals

    return train


@pytest.fixture(scope="session")
def real_batch(clips: Path) -> Callable[[int, Framing], Batch]:
    """real_batch(resolution, framing): eight faces of a woman (src) and of a man (dst), unwarped, with their masks and
    those of eyes and mouth.
    """
    people = [_found_faces(clips / name) for name in ("woman_expressions.mp4", "man_smile.mp4")]

    @cache
    def make(resolution: int, framing: Framing) -> Batch:
        columns = []
        for faces in people:
            samples = np.stack([_sample(frame, found, framing, resolution) for frame, found in faces])
            columns.append(torch.from_numpy(samples).split([3, 1, 1], dim=1))
        (src, mask_src, features_src), (dst, mask_dst, features_dst) = columns
        return Batch(src, src, mask_src, dst, dst, mask_dst, features_src, features_dst)

    return make


def _found_faces(clip: Path) -> list[tuple[Picture, Landmarks]]:
    """Frames spread over a clip, each with the landmarks of its largest face."""
    cpu = torch.device("cpu")
    detector, landmarker = make_detector("accurate", cpu), make_landmarker("mesh", cpu)
    with FrameReader(clip) as reader:
        frames = [reader.read(index).image for index in np.linspace(0, len(reader) - 1, 2 * REAL_FACES).astype(int)]
    pairs = [(frame, found[0]) for frame, found in zip(frames, detector.detect(frames), strict=True) if found]
    landmarks = landmarker.locate([frame for frame, _ in pairs], [face for _, face in pairs])
    return [(frame, found) for (frame, _), found in zip(pairs, landmarks, strict=True)][:REAL_FACES]


def _sample(frame: Picture, found: Landmarks, framing: Framing, resolution: int) -> np.ndarray:
    """``(5, R, R)`` float32 0..1: the crop, its hull mask, and the mask of eyes and mouth."""
    frame_to_crop = align(found.points, framing, resolution).frame_to_crop
    shape = (resolution, resolution)
    rgb = warp_crop(frame, frame_to_crop, resolution, border="replicate").astype(np.float32) / 255
    points = apply_matrix(frame_to_crop, found.points)
    rows, columns = np.mgrid[:resolution, :resolution]
    features = np.zeros(shape, np.float32)
    for part in (points[36:42], points[42:48], points[48:60]):
        (x, y), (width, height) = part.mean(0), np.ptp(part, axis=0) / 2 + resolution / 32
        bell = np.exp(-(((columns - x) / width) ** 2 + ((rows - y) / height) ** 2) / 2)
        features = np.maximum(features, bell.astype(np.float32))
    return np.concatenate([rgb.transpose(2, 0, 1), hull_mask(points, shape)[None], features[None]])
