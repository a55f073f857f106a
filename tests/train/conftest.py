"""Drawn faces, stored as facesets, and a very small network."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from recaster.faces.faceset import FaceSet
from recaster.geometry.framing import align
from recaster.geometry.mean_face import MODEL_3D
from recaster.geometry.warp import warp_crop
from recaster.nets.architecture import Batch, Losses, Phase, Rule, SampleNeeds, architectures, weights_of
from recaster.nets.autoencoder import FaceNet, TwoDecoderNet
from recaster.options import Options, option
from recaster.train.options import TrainOptions
from recaster.types import Face, Framing, Landmarks, Picture, Pose

TINY = "tiny-test"


class TinyOptions(Options):
    width: int = option(8, "Channels.", ge=1, fixed=True)
    rate: float = option(1e-3, "Learning rate.")
    fall: float = option(0.5, "Share of the training in which the rate falls.")
    dropout: float = option(0.1, "Share of values that are dropped.")


class _Decoder(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(width, 4, 4, stride=4)

    def forward(self, code: Tensor) -> tuple[Tensor, Tensor]:
        out = torch.sigmoid(self.up(code))
        return out[:, :3], out[:, 3:]


class Tiny:
    """32 px, full framing, with dropout, so that torch's own random numbers matter; the rate falls to the end."""

    name = TINY
    options = TinyOptions
    default_batch_size = 2
    usual_iterations = 10

    def needs(self, options: TinyOptions) -> SampleNeeds:
        return SampleNeeds()

    def pretraining(self, options: TinyOptions) -> TinyOptions:
        return options

    def build(self, options: TinyOptions) -> FaceNet:
        encoder = nn.Sequential(
            nn.Conv2d(3, options.width, 4, stride=4), nn.LeakyReLU(0.1), nn.Dropout(options.dropout)
        )
        return TwoDecoderNet(32, Framing.FULL, encoder, _Decoder(options.width), _Decoder(options.width))

    def critics(self, options: TinyOptions, net: FaceNet) -> nn.ModuleDict:
        return nn.ModuleDict()

    def phases(
        self, net: FaceNet, critics: nn.ModuleDict, options: TinyOptions, *, random_warp: bool
    ) -> tuple[Phase, ...]:
        rule = Rule("adam", options.rate, eps=1e-8, fall=options.fall)
        return (Phase("all", weights_of(net), rule, lambda batch, progress: _losses(net, batch)),)


def _losses(net: FaceNet, batch: Batch) -> Losses:
    out = net.reconstruct(batch.warped_src, batch.warped_dst)
    assert out.src_mask is not None and out.dst_mask is not None
    src = (out.src_rgb - batch.target_src).abs().mean()
    dst = (out.dst_rgb - batch.target_dst).abs().mean()
    masks = (out.src_mask - batch.mask_src).abs().mean() + (out.dst_mask - batch.mask_dst).abs().mean()
    return Losses(src + dst + masks, src.detach(), dst.detach())


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the small architecture, which is known during one test only."""
    monkeypatch.setitem(architectures._members, TINY, Tiny())
    return TINY


def drawn_points(yaw: float, center: tuple[float, float], size: float) -> np.ndarray:
    """Landmarks (68, 2) of the mean head turned by ``yaw`` degrees."""
    angle = np.radians(yaw)
    model = MODEL_3D - MODEL_3D.mean(axis=0)
    x = model[:, 0] * np.cos(angle) + model[:, 2] * np.sin(angle)
    span = np.ptp(model[:, 1])
    return np.stack([center[0] + x * size / span, center[1] + model[:, 1] * size / span], axis=1).astype(np.float32)


def drawn_frame(points: np.ndarray, skin: tuple[int, int, int]) -> Picture:
    """A frame of 160 × 160 px with a face of few colors at ``points``."""
    frame = np.full((160, 160, 3), (40, 60, 90), np.uint8)
    frame[:, :, 1] += np.arange(160, dtype=np.uint8)[:, None] // 4
    outline = cv2.convexHull(points.astype(np.int32))
    cv2.fillConvexPoly(frame, outline, skin, cv2.LINE_AA)
    for part, color in (
        (range(36, 42), (250, 250, 250)),
        (range(42, 48), (250, 250, 250)),
        (range(48, 60), (180, 40, 60)),
    ):
        cv2.fillConvexPoly(frame, cv2.convexHull(points[list(part)].astype(np.int32)), color, cv2.LINE_AA)
    for brow in (range(17, 22), range(22, 27)):
        cv2.polylines(frame, [points[list(brow)].astype(np.int32)], False, (50, 30, 20), 2, cv2.LINE_AA)
    return frame


def drawn_faceset(
    folder: Path,
    count: int = 6,
    skin: tuple[int, int, int] = (220, 170, 140),
    framing: Framing = Framing.WHOLE,
    seed: int = 0,
) -> FaceSet:
    draw = np.random.default_rng(seed)
    faceset = FaceSet(folder)
    for index in range(count):
        yaw = float(draw.uniform(-25, 25))
        points = drawn_points(yaw, (80 + float(draw.uniform(-4, 4)), 84.0), 70)
        alignment = align(points, framing, 96)
        face = Face(
            frame=f"{index + 1:05d}",
            box=(40, 40, 120, 130),
            landmarks=Landmarks(points, confidence=np.full(68, 0.9, np.float32)),
            pose=Pose(yaw, 0, 0),
            alignment=alignment,
            quality=50.0,
        )
        faceset.add(face, warp_crop(drawn_frame(points, skin), alignment.frame_to_crop, 96))
    return faceset


@pytest.fixture
def tiny_options() -> type[Options]:
    return TinyOptions


def train_tiny(src: Path, dst: Path, folder: Path, iterations: int) -> None:
    """A run with every kind of save and preview; also the work of the process that gets killed."""
    from recaster.train.loop import train

    options = TrainOptions(
        iterations=iterations,
        save_every=15,
        keep=2,
        save_every_minutes=0.002,
        preview_every=20,
        preview_history=True,
        device="cpu",
        deterministic=True,
    )
    train(FaceSet(src), FaceSet(dst), folder, TINY, options, TinyOptions())


def main() -> None:
    torch.set_num_threads(1)
    architectures.add(TINY)(Tiny())
    src, dst, folder = map(Path, sys.argv[1:4])
    train_tiny(src, dst, folder, int(sys.argv[4]))


@pytest.fixture(scope="session")
def tiny_run() -> Callable[[Path, Path, Path, int], None]:
    return train_tiny


@pytest.fixture(scope="session")
def make_faceset() -> Callable[..., FaceSet]:
    return drawn_faceset


@pytest.fixture(scope="session")
def facesets(tmp_path_factory: pytest.TempPathFactory) -> tuple[FaceSet, FaceSet]:
    """Source and target: six faces each, of different skin."""
    place = tmp_path_factory.mktemp("faces")
    return drawn_faceset(place / "src"), drawn_faceset(place / "dst", skin=(150, 110, 90), seed=1)


if __name__ == "__main__":
    main()
