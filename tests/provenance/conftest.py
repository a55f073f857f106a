"""Tiny clips and pictures of seeded noise, and one signing identity for all tests of the room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from recaster.provenance.certificate import Identity, local_identity

CODECS = {".mp4": "libx264", ".mov": "libx264", ".mkv": "libx264", ".webm": "libvpx-vp9", ".avi": "mpeg4"}


def write_noise(path: Path, frames: int = 8) -> Path:
    """A clip or picture, 64 by 48 px."""
    rng = np.random.default_rng(7)
    images = rng.integers(0, 255, (frames, 48, 64, 3), dtype=np.uint8)
    if path.suffix in {".jpg", ".png"}:
        ok, data = cv2.imencode(path.suffix, images[0])
        assert ok
        path.write_bytes(data.tobytes())
        return path
    with av.open(str(path), "w") as output:
        stream = output.add_stream(CODECS[path.suffix], rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for image in images:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        output.mux(stream.encode(None))
    return path


def read_frames(path: Path) -> list[np.ndarray]:
    if path.suffix in {".jpg", ".png"}:
        return [cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)]
    with av.open(str(path)) as source:
        return [frame.to_ndarray(format="yuv420p") for frame in source.decode(video=0)]


@pytest.fixture
def noise(tmp_path: Path) -> Callable[..., Path]:
    """Makes a noise clip or picture called ``name``."""
    return lambda name, frames=8: write_noise(tmp_path / name, frames)


@pytest.fixture
def frames_of() -> Callable[[Path], list[np.ndarray]]:
    return read_frames


@pytest.fixture(scope="session")
def identity_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("identity")


@pytest.fixture(scope="session")
def identity(identity_folder: Path) -> Identity:
    return local_identity(identity_folder)
