"""How fast frames are composited, and clips merged from file to file, beside the plain way and the bare minimum.

    python bench/merge.py [--clip PATH] [--rounds 15] [--files 3] [--frames 100] [--save]

All variants of a row take turns in one process; medians and ratios are printed. Absolute times belong to the machine
and its load: quote the ratios. ``--save`` writes bench/results/merge.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from naive_merge import naive_composite, naive_file_to_file

from recaster.faces.faceset import FaceSet
from recaster.geometry.framing import align
from recaster.geometry.mean_face import MEAN_FACE
from recaster.geometry.warp import warp_crop
from recaster.media.reader import FrameReader
from recaster.media.writer import FrameWriter
from recaster.merge.composite import Paste, composite
from recaster.merge.settings import MergeSettings, OutputOptions
from recaster.merge.stream import merge_clip
from recaster.swap.swapper import Descriptor
from recaster.types import Face, Framing, Landmarks, Pose, SwapOutput

RESOLUTION = 256
SIZES = {"720p": (1280, 720), "1080p": (1920, 1080)}
MODES = {
    "overlay": MergeSettings(blur=0),
    "overlay, erode 20, blur 60": MergeSettings(erode=20, blur=60),
    "seamless": MergeSettings(mode="seamless", blur=0),
    "seamless, erode 20, blur 60": MergeSettings(mode="seamless", erode=20, blur=60),
}
RESULTS = Path(__file__).parent / "results"


class Tint:
    """A swapper that costs nothing, so that the merge is what is measured: softer and warmer."""

    descriptor = Descriptor("tint", "bench", RESOLUTION, Framing.FULL, learned_mask=False)

    def swap(self, crops: np.ndarray) -> SwapOutput:
        """The crops in other colours."""
        return SwapOutput(crops * np.array([0.95, 0.85, 0.8], np.float32)[:, None, None])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clip", type=Path, help="a video to enlarge; without it a plate is made up")
    parser.add_argument("--rounds", type=int, default=15, help="turns for one frame")
    parser.add_argument("--files", type=int, default=3, help="turns from file to file, 0 for none")
    parser.add_argument("--frames", type=int, default=100, help="frames of the clip from file to file")
    parser.add_argument("--save", action="store_true")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    report: dict[str, Any] = {"machine": f"{platform.machine()} {platform.system()}", "frame": [], "file": {}}
    for name, size in SIZES.items():
        report["frame"] += time_frames(name, plate(arguments.clip, size, 0), arguments.rounds)
    if arguments.files:
        report["file"] = time_files(arguments.clip, arguments.frames, arguments.files)
    if arguments.save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "merge.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def take_turns(variants: dict[str, Callable[[], object]], rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    """Median seconds of each variant by ``clock``; they are run one after the other, again and again."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, run in variants.items():
            started = clock()
            run()
            times[name].append(clock() - started)
    return {name: statistics.median(values) for name, values in times.items()}


def time_frames(name: str, image: np.ndarray, rounds: int) -> list[dict[str, Any]]:
    """One face on one frame, crop from the frame included, network not."""
    points = face_points(image.shape, 0)
    predicted = make_paste(image, points)
    rows = []
    print(f"\n{name}, one face, crop of {RESOLUTION} px, rct: CPU ms a frame")
    print(f"{'mode':<30}{'recaster':>10}{'plain':>10}{'ratio':>8}{'apart':>8}")
    for mode, settings in MODES.items():

        def own(settings: MergeSettings = settings) -> np.ndarray:
            return composite(image, [replace(predicted, target=make_target(image, predicted))], settings)

        def plain(settings: MergeSettings = settings) -> np.ndarray:
            return naive_composite(image, predicted, settings)

        apart = float(np.abs(own().astype(int) - plain()).mean())
        seconds = take_turns({"recaster": own, "plain": plain}, rounds, time.process_time)
        ratio = seconds["plain"] / seconds["recaster"]
        rows.append({"size": name, "mode": mode, **seconds, "ratio": ratio, "mean_difference": apart})
        print(f"{mode:<30}{seconds['recaster'] * 1e3:>10.1f}{seconds['plain'] * 1e3:>10.1f}{ratio:>8.1f}{apart:>8.3f}")
    print("(apart: mean difference of the two results over the frame, in steps of 8 bits)")
    return rows


def time_files(clip: Path | None, frames: int, rounds: int) -> dict[str, Any]:
    """A 720p clip from file to file, overlay and rct, x264 at its default preset."""
    options, settings = OutputOptions(), MODES["overlay, erode 20, blur 60"]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        target = make_clip(folder / "target.mp4", clip, frames)
        faces = make_faces(folder / "faces", target)
        pastes = [make_paste(frame.image, face_points(frame.image.shape, frame.index)) for frame in FrameReader(target)]

        def plain() -> None:
            naive_file_to_file(target, pastes, settings, folder / "plain" / "result.mp4", options)
            shutil.rmtree(folder / "plain")

        def own() -> None:
            merge_clip(target, faces, Tint(), settings, folder / "own.mp4", output_options=options)

        def bare() -> None:
            transcode(target, folder / "bare.mp4", options)

        variants = {"recaster": own, "decode and encode": bare, "plain": plain}
        seconds = {
            clock.__name__: take_turns(variants, rounds, clock) for clock in (time.perf_counter, time.process_time)
        }
    print(
        f"\n{frames} frames of 720p from file to file: seconds, CPU seconds of all threads (ratio to decode and encode)"
    )
    for name in variants:
        values = [
            f"{figures[name]:>9.2f} ({figures[name] / figures['decode and encode']:.2f})"
            for figures in seconds.values()
        ]
        print(f"{name:<30}{'  '.join(values)}")
    return {"frames": frames, **seconds}


def transcode(source: Path, output: Path, options: OutputOptions) -> None:
    """Decode and encode with nothing between."""
    with FrameReader(source) as reader, open_writer(output, reader, options) as writer:
        for frame in reader:
            writer.write(frame.image, frame.pts)


def open_writer(output: Path, reader: FrameReader, options: OutputOptions) -> FrameWriter:
    info = reader.info
    return FrameWriter(
        output,
        width=info.width,
        height=info.height,
        rate=info.rate,
        color=info.color,
        crf=options.crf,
        preset=options.preset,
        time_base=info.time_base,
    )


def make_clip(path: Path, clip: Path | None, frames: int) -> Path:
    """A 720p clip of ``frames`` frames."""
    width, height = SIZES["720p"]
    with FrameWriter(path, width=width, height=height, rate=Fraction(25), preset="veryfast") as writer:
        for index in range(frames):
            writer.write(plate(clip, (width, height), index))
    return path


def plate(clip: Path | None, size: tuple[int, int], index: int) -> np.ndarray:
    """Frame ``index`` of the clip (from its start again after its end), or a moving pattern, enlarged to ``size``."""
    if clip is None:
        return np.roll(pattern(size), 2 * index, axis=1)
    reader = readers.setdefault(clip, FrameReader(clip))
    return cv2.resize(reader.read(index % len(reader)).image, size, interpolation=cv2.INTER_CUBIC)


readers: dict[Path, FrameReader] = {}


@cache
def pattern(size: tuple[int, int]) -> np.ndarray:
    """Soft colours with some grain."""
    rng = np.random.default_rng(0)
    soft = cv2.GaussianBlur(rng.random((180, 320, 3), dtype=np.float32), (0, 0), 6)
    image = cv2.resize(0.5 + 4 * (soft - 0.5), size, interpolation=cv2.INTER_CUBIC) * 235 + 10
    return np.clip(image + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8)


def face_points(shape: Sequence[int], index: int) -> np.ndarray:
    """(68, 2) landmarks of a face a third of the frame high, drifting with the frame's index."""
    turn = np.linspace(np.pi, 0, 17)
    jaw = np.stack([0.5 + 0.6 * np.cos(turn), 0.2 + 0.9 * np.sin(turn)], axis=1)
    centre = (shape[1] * 0.5 + index * 0.3, shape[0] * 0.45)
    return ((np.vstack([jaw, MEAN_FACE]) - 0.5) * (shape[0] * 0.28) + centre).astype(np.float32)


def make_paste(image: np.ndarray, points: np.ndarray) -> Paste:
    """What is pasted: the face that is there, warmer."""
    paste = Paste(align(points, Framing.FULL, RESOLUTION), *[np.empty(0, np.float32)] * 2, points)
    target = make_target(image, paste)
    return replace(paste, rgb=target * np.array([0.95, 0.85, 0.8], np.float32), target=target)


def make_target(image: np.ndarray, paste: Paste) -> np.ndarray:
    """The crop that a swapper gets."""
    crop = warp_crop(image, paste.alignment.frame_to_crop, RESOLUTION, border="replicate")
    return np.multiply(crop, np.float32(1 / 255), dtype=np.float32)


def make_faces(folder: Path, clip: Path) -> FaceSet:
    """A face for every frame of the clip."""
    faces = FaceSet(folder)
    with FrameReader(clip) as reader:
        info = reader.info
        for index in range(len(reader)):
            points = face_points((info.height, info.width), index)
            face = Face(
                reader.name_of(index), (0, 0, 1, 1), Landmarks(points), Pose(0, 0, 0), align(points, Framing.FULL, 16)
            )
            faces.add(face, np.zeros((16, 16, 3), np.uint8), source=clip.name, number=0)
    return faces


if __name__ == "__main__":
    main()
