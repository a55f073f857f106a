"""How many training samples a second one core makes, beside the plain way: one picture after the other with OpenCV.

    python bench/samples.py [--resolution 128] [--rounds 7] [--save]

A sample is four outputs: warped picture, target, mask and a second mask channel. The plain way is the classic one: each
picture is read and decoded from its file, brought to float, its hull drawn, and every output warped at 256 px by
``cv2.remap`` and ``cv2.warpAffine`` before it is reduced. Ours draws batches from the decoded uint8 cache. Both take
turns in one process on one thread. ``--save`` writes bench/results/samples.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from recaster.geometry.framing import align
from recaster.geometry.landmarks import hull_mask
from recaster.geometry.mean_face import MEAN_FACE
from recaster.train.allocator import keep_freed_memory
from recaster.train.augment import Augmentation, augment, draw
from recaster.train.samples import SPAN, cache_size
from recaster.types import Framing

RESULTS = Path(__file__).with_name("results")
STORED, FACES, BATCH = 256, 64, 8


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--resolution", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--save", action="store_true", help="write bench/results/samples.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        files = make_files(Path(folder))
        ours, plain = our_batches(arguments.resolution), plain_batches(files, arguments.resolution)
        rates: dict[str, list[float]] = {"ours": [], "plain": []}
        ours(), plain()
        for _ in range(arguments.rounds):
            rates["ours"].append(rate(ours, 20))
            rates["plain"].append(rate(plain, 2))
    ratio = statistics.median(a / b for a, b in zip(rates["ours"], rates["plain"], strict=True))
    for name, values in rates.items():
        print(f"{name:>6}: {statistics.median(values):8.0f} samples/s at {arguments.resolution} px")
    print(f" ratio: {ratio:8.1f}")
    if arguments.save:
        RESULTS.mkdir(exist_ok=True)
        figures = {name: statistics.median(values) for name, values in rates.items()}
        table = {"resolution": arguments.resolution, "samples_per_second": figures, "ratio": ratio}
        (RESULTS / "samples.json").write_text(json.dumps(table, indent=1) + "\n", "utf-8")
    return 0


def rate(make: Callable[[], object], batches: int) -> float:
    """Samples a second of one core's time over some batches; others may use the machine meanwhile."""
    began = time.thread_time()
    for _ in range(batches):
        make()
    return batches * BATCH / (time.thread_time() - began)


def picture() -> NDArray[np.uint8]:
    """A stored crop of 256 px: smooth shapes with some grain, so that JPEG has its usual work."""
    generator = np.random.default_rng(1)
    small = generator.integers(0, 255, (16, 16, 3), np.uint8)
    grain = generator.normal(0, 4, (STORED, STORED, 3))
    return np.clip(cv2.resize(small, (STORED, STORED), interpolation=cv2.INTER_CUBIC) + grain, 0, 255).astype(np.uint8)


def points() -> NDArray[np.float64]:
    """Landmarks ``(68, 2)`` of the mean face in a full-framed crop of 256 px; the jaw is an arc below it."""
    angle = np.linspace(np.pi, 0, 17)
    jaw = np.column_stack([0.5 + 0.55 * np.cos(angle), 0.2 + 0.95 * np.sin(angle)])
    return np.vstack([jaw, MEAN_FACE]) * 150 + (55, 70)


def make_files(folder: Path) -> list[Path]:
    """JPEG files of stored crops."""
    files = []
    data = cv2.imencode(".jpg", picture(), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    for number in range(FACES):
        files.append(folder / f"{number:05d}_0.jpg")
        files[-1].write_bytes(data)
    return files


def cached_faces(resolution: int) -> torch.Tensor:
    """The decoded cache of a model of ``resolution`` px."""
    size = cache_size(resolution)
    cached = cv2.resize(picture(), (size, size), interpolation=cv2.INTER_AREA)
    mask = (hull_mask(points() * size / STORED, (size, size)) * 255).astype(np.uint8)
    return torch.from_numpy(np.dstack([cached, mask])[None].repeat(FACES, axis=0))


def our_batches(resolution: int) -> Callable[[], object]:
    """Batches from the decoded cache."""
    stack = cached_faces(resolution)
    generator = torch.Generator().manual_seed(0)

    def make() -> object:
        rows = torch.randint(FACES, (BATCH,), generator=generator)
        samples = augment(stack.index_select(0, rows), draw(BATCH, Augmentation(), generator), resolution, SPAN)
        return samples.warped, samples.target, samples.mask, 1 - samples.mask

    return make


def plain_batches(files: list[Path], resolution: int) -> Callable[[], object]:
    """Batches picture by picture."""
    generator = np.random.default_rng(0)

    def make() -> object:
        rows = generator.integers(0, len(files), BATCH)
        chosen = [plain_sample(files[row], resolution, generator) for row in rows]
        return [np.stack(stream) for stream in zip(*chosen, strict=True)]

    return make


def plain_sample(path: Path, resolution: int, generator: np.random.Generator) -> list[NDArray[np.float32]]:
    """Warped picture and target ``(R, R, 3)``, mask and a second one ``(R, R, 1)``, of one file."""
    to_model = align(points(), Framing.FULL, resolution).frame_to_crop
    image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR).astype(np.float32) / 255
    four = np.dstack([image, hull_mask(points(), (STORED, STORED))])
    affine = cv2.getRotationMatrix2D(
        (STORED / 2, STORED / 2), generator.uniform(-10, 10), generator.uniform(0.95, 1.05)
    )
    affine[:, 2] += generator.uniform(-0.05, 0.05, 2) * STORED
    cell = STORED // int(generator.choice([2, 4, 8]))
    nodes = np.mgrid[0 : STORED + 1 : cell, 0 : STORED + 1 : cell][::-1].astype(np.float32)
    nodes[:, 1:-1, 1:-1] += generator.normal(0, 0.24 * cell / 2.5, nodes[:, 1:-1, 1:-1].shape)
    half, full = cell // 2, STORED + cell
    x, y = (cv2.resize(axis, (full, full))[half : half + STORED, half : half + STORED] for axis in nodes)
    warped = cv2.remap(four, np.ascontiguousarray(x), np.ascontiguousarray(y), cv2.INTER_CUBIC)
    outputs = []
    for picture, channels in ((warped, slice(0, 3)), (four, slice(0, 3)), (four, slice(3, 4)), (four, slice(3, 4))):
        turned = cv2.warpAffine(picture, affine, (STORED, STORED), flags=cv2.INTER_CUBIC)
        crop = cv2.warpAffine(turned, to_model, (resolution, resolution), flags=cv2.INTER_CUBIC)
        outputs.append(np.clip(crop[..., channels], 0, 1))
    return outputs


if __name__ == "__main__":
    sys.exit(main())
