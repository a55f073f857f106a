"""Training that is killed at random moments ends with the same files as one that is not."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from recaster.faces.faceset import FaceSet
from recaster.train.checkpoint import FOLDER, latest
from recaster.train.log import read_losses

FaceSets = tuple[FaceSet, FaceSet]
TinyRun = Callable[[Path, Path, Path, int], None]


def start(facesets: FaceSets, folder: Path, iterations: int) -> subprocess.Popen[bytes]:
    worker = Path(__file__).with_name("conftest.py")
    words = [sys.executable, str(worker), *(str(faces.folder) for faces in facesets), str(folder), str(iterations)]
    return subprocess.Popen(words, env={**os.environ, "OMP_NUM_THREADS": "1"})


def content(folder: Path) -> dict[str, bytes]:
    """All files; of those that hold times, only the name."""
    return {
        path.relative_to(folder).as_posix(): b"" if path.suffix in {".json", ".jsonl"} else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def losses(folder: Path) -> list[tuple[int, float, float]]:
    return [(line.iteration, line.src, line.dst) for line in read_losses(folder)]


def run_with_kills(facesets: FaceSets, folder: Path, kills: int, iterations: int) -> None:
    chance = random.Random(kills)
    for left in range(kills, 0, -1):
        done = len(losses(folder))
        wanted = min(done + chance.randint(1, max(1, 2 * (iterations - done) // (left + 1))), iterations)
        process = start(facesets, folder, iterations)
        while process.poll() is None and len(losses(folder)) < wanted:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.05))
        process.kill()
        process.wait()
        if (folder / FOLDER).is_dir():
            assert latest(folder) is not None, "the model can be read after every kill"
    assert start(facesets, folder, iterations).wait() == 0


def check(facesets: FaceSets, tiny_run: TinyRun, place: Path, kills: int, iterations: int) -> None:
    tiny_run(facesets[0].folder, facesets[1].folder, place / "whole", iterations)
    run_with_kills(facesets, place / "killed", kills, iterations)
    assert content(place / "killed") == content(place / "whole")
    assert losses(place / "killed") == losses(place / "whole")
    assert len(losses(place / "whole")) == iterations


def test_two_kills_change_nothing(tmp_path: Path, facesets: FaceSets, tiny_run: TinyRun) -> None:
    check(facesets, tiny_run, tmp_path, kills=2, iterations=45)


@pytest.mark.slow
def test_ten_kills_in_two_thousand_iterations_change_nothing(
    tmp_path: Path, facesets: FaceSets, tiny_run: TinyRun
) -> None:
    check(facesets, tiny_run, tmp_path, kills=10, iterations=2000)
