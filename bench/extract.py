"""How many frames a second extraction handles on one core, beside the plain way, and where the time goes.

    python bench/extract.py --clip CLIP [--frames 48] [--save]

The clip is scaled to 720p first. The plain way is the classic one with the same networks: frames are written as PNG,
and each of three passes (boxes, landmarks, crops) reads them again, picture by picture. All rows are clocked in one
process on one thread, in processor time. ``--save`` writes bench/results/extract.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path

import cv2
import torch

from recaster.faces.extract import extract_faces
from recaster.faces.options import ExtractOptions
from recaster.geometry.framing import align
from recaster.geometry.warp import warp_crop
from recaster.media.pictures import read_picture, write_picture
from recaster.media.reader import FrameReader
from recaster.media.writer import FrameWriter
from recaster.perception.detect.base import Detector, make_detector
from recaster.perception.landmarks.base import Landmarker, make_landmarker
from recaster.types import Framing

RESULTS = Path(__file__).with_name("results")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clip", type=Path, required=True, help="a clip with one face")
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--save", action="store_true", help="write bench/results/extract.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        clip = scaled(arguments.clip, folder / "clip.mp4", arguments.frames)
        frames = [frame.image for frame in FrameReader(clip)]
        cpu = torch.device("cpu")
        detectors = {name: make_detector(name, cpu) for name in ("accurate", "mtcnn", "fast")}
        landmarker = make_landmarker("mesh", cpu)
        found = [faces[:1] for faces in detectors["accurate"].detect(frames)]
        pairs = [(image, faces[0]) for image, faces in zip(frames, found, strict=True) if faces]
        images, faces = [image for image, _ in pairs], [face for _, face in pairs]
        seconds = {
            "extract": clocked(lambda: extract_faces(clip, folder / "aligned", ExtractOptions())),
            "plain way": clocked(lambda: plain_way(clip, folder / "plain", detectors["accurate"], landmarker)),
            "decode alone": clocked(lambda: [None for _ in FrameReader(clip)]),
            "landmarks alone": clocked(lambda: landmarker.locate(images, faces)),
        }
        for name, detector in detectors.items():
            seconds[f"detect {name} alone"] = clocked(partial(detector.detect, frames))
    whole = seconds["extract"]
    for name, value in seconds.items():
        each, share = 1000 * value / len(frames), value / whole
        print(f"{name:>22}: {each:7.1f} ms a frame, {len(frames) / value:6.1f} frames/s, ratio to extract {share:5.2f}")
    if arguments.save:
        RESULTS.mkdir(exist_ok=True)
        table = {"clip": "720p", "frames": len(frames), "ms": {k: 1000 * v / len(frames) for k, v in seconds.items()}}
        (RESULTS / "extract.json").write_text(json.dumps(table, indent=1) + "\n", "utf-8")
    return 0


def plain_way(clip: Path, folder: Path, detector: Detector, landmarker: Landmarker) -> None:
    """Frames to PNG files, then three passes that each read them."""
    with FrameReader(clip) as reader:
        for frame in reader:
            write_picture(folder / f"{frame.name}.png", frame.image)
    files = sorted(folder.glob("*.png"))
    boxes = {file: detector.detect([read_picture(file)])[0][:1] for file in files}
    marks = {file: landmarker.locate([read_picture(file)], boxes[file])[0] for file in files if boxes[file]}
    for file, landmarks in marks.items():
        crop = warp_crop(read_picture(file), align(landmarks.points, Framing.WHOLE, 384).frame_to_crop, 384)
        write_picture(folder / "aligned" / f"{file.stem}_0.jpg", crop)


def clocked(work: Callable[[], object]) -> float:
    """Seconds that ``work`` takes, of processor time: other programs on the machine do not count."""
    began = time.process_time()
    work()
    return time.process_time() - began


def scaled(clip: Path, video: Path, count: int) -> Path:
    """The first ``count`` frames at 1280 × 720, written to ``video``."""
    with FrameReader(clip) as reader, FrameWriter(video, width=1280, height=720, rate=Fraction(25)) as writer:
        for frame in reader.frames(0, min(count, len(reader))):
            writer.write(cv2.resize(frame.image, (1280, 720), interpolation=cv2.INTER_CUBIC))
    return video


if __name__ == "__main__":
    sys.exit(main())
