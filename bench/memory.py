"""Whether the memory of a merge grows with the length of the clip.

    python bench/memory.py [--short 200] [--long 2000] [--save]

Merges two clips of 720p, each in a process of its own, and compares the peaks of resident memory; exits with 1 where
the long one needs over 10 % more.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from merge import RESULTS, Tint, make_clip, make_faces

from recaster.faces.faceset import FaceSet
from recaster.merge.settings import MergeSettings, OutputOptions
from recaster.merge.stream import merge_clip

ALLOWED = 1.10


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--short", type=int, default=200, help="frames")
    parser.add_argument("--long", type=int, default=2000, help="frames")
    parser.add_argument("--save", action="store_true", help="write bench/results/memory.json")
    parser.add_argument("--only", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        print(merge_and_measure(arguments.only))
        return 0
    peaks = {frames: peak_of(frames) for frames in (arguments.short, arguments.long)}
    for frames, peak in peaks.items():
        print(f"{frames:>6} frames of 720p: {peak / 2**20:8.1f} MiB at the peak")
    growth = peaks[arguments.long] / peaks[arguments.short]
    print(f"ratio {growth:.3f}, allowed {ALLOWED}")
    if arguments.save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "memory.json").write_text(json.dumps({"bytes": peaks, "ratio": growth}, indent=1) + "\n", "utf-8")
    return 0 if growth <= ALLOWED else 1


def peak_of(frames: int) -> int:
    """Bytes of resident memory at the peak of a merge of ``frames`` frames."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        target = make_clip(folder / "target.mp4", None, frames)
        make_faces(folder / "faces", target)
        call = [sys.executable, __file__, "--only", str(folder)]
        return int(subprocess.run(call, check=True, capture_output=True, text=True).stdout)


def merge_and_measure(folder: Path) -> int:
    """Merge the clip in ``folder`` and give this process's peak."""
    import resource

    options = OutputOptions(preset="ultrafast")
    faces = FaceSet(folder / "faces")
    merge_clip(folder / "target.mp4", faces, Tint(), MergeSettings(), folder / "result.mp4", output_options=options)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    sys.exit(main())
