"""Stopped by hand, or killed at any moment: what was finished is kept, and the same command ends as if undisturbed."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from recaster.media.pictures import read_picture
from recaster.media.reader import FrameReader
from recaster.project import steps
from recaster.provenance.certificate import known_roots
from recaster.provenance.verify import verify
from recaster.train.checkpoint import latest, load_net, paths_of

Start = Callable[..., subprocess.Popen[str]]
Recast = Callable[..., Any]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are sent as on POSIX")

WORDS = {"extract": ("dst",), "train": (), "merge": ()}
STAGE = {"extract": "extract faces", "train": "train", "merge": "merge"}


def begins(process: subprocess.Popen[str], stage: str) -> bool:
    """Wait until the stage begins; False where all had been done before."""
    assert process.stderr is not None
    if any(line.startswith(f"{stage}:") for line in process.stderr):
        return True
    assert process.wait() == 0
    return False


def test_extraction_stopped_by_hand(recast: Recast, start: Start, film: Path) -> None:
    words = ("extract", film, "dst", "--size", 300, "--json")
    process = start(*words)
    assert begins(process, "extract faces")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert [line for line in err.splitlines() if line.startswith("recast:")] == [
        "recast: interrupted; what was finished is kept, run the same command to go on"
    ]
    assert "Traceback" not in err
    assert json.loads(out)["exit_code"] == 130
    found = recast(*words).json
    assert (found["frames"], found["faces"], found["skipped"]) == (12, 12, False)
    assert len(list((film / "data_dst" / "aligned").glob("[!.]*.jpg"))) == 12


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_training_stopped_by_hand(recast: Recast, start: Start, film: Path, number: signal.Signals) -> None:
    process = start("train", film, "--iterations", 100_000, "--preview-every", 0)
    assert begins(process, "train")
    time.sleep(0.3)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    (line,) = (line for line in err.splitlines() if line.startswith("recast:"))
    newest = latest(film / "model" / "mini")
    assert newest is not None
    done = newest.state.iteration
    assert line == f"recast: training stopped and saved at iteration {done}"
    assert done >= 6
    said = recast("train", film, "--iterations", done + 1, "--json")
    assert (said.code, said.json["iterations"], said.json["trained"]) == (0, done + 1, 1)


def test_without_a_terminal_nothing_waits(start: Start, film: Path) -> None:
    process = start("merge", film, "--ask", "--json")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert json.loads(out)["skipped"] is True
    assert "Traceback" not in err


def unmade(film: Path, verb: str, place: Path) -> Path:
    """A copy in which the step has not been done."""
    shutil.copytree(film, place)
    if verb == "extract":
        shutil.rmtree(place / "data_dst" / "aligned")
    elif verb == "train":
        shutil.rmtree(place / "model" / "mini")
    else:
        (place / "result.mp4").unlink()
        (place / ".recaster" / "merge.json").unlink()
    return place


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def made(folder: Path, pattern: str) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob(pattern))}


def check(film: Path, undisturbed: Path) -> None:
    """The same files, none of them torn."""
    assert names(film) == names(undisturbed)
    for pattern in ("data_*/aligned/*.jpg", "weights.safetensors", "optimizer.safetensors"):
        assert made(film, pattern) == made(undisturbed, pattern)
    for path in film.rglob("*.jpg"):
        assert read_picture(path).size
    model = film / "model" / "mini"
    assert [path.name for path in paths_of(model)] == ["00000003", "00000006"]
    assert load_net(model, torch.device("cpu")).iteration == 6
    shutil.rmtree(model / "checkpoints" / "00000006")
    assert load_net(model, torch.device("cpu")).iteration == 3
    with FrameReader(film / "result.mp4") as reader:
        assert len(list(reader)) == 12
    assert verify(film / "result.mp4", roots=known_roots(steps.default_identity_folder())).signed


def kill_at(start: Start, film: Path, verb: str, delays: Iterator[float], kills: int) -> int:
    """Start the step and kill it, again and again; how often it was still at work then."""
    struck = 0
    for _ in range(kills):
        process = start(verb, film, *WORDS[verb])
        if not begins(process, STAGE[verb]):
            break
        time.sleep(next(delays))
        process.kill()
        _, err = process.communicate()
        struck += process.returncode == -signal.SIGKILL
        assert "Traceback" not in err
    return struck


def uniform(seed: str, longest: float) -> Iterator[float]:
    chance = random.Random(seed)
    while True:
        yield chance.uniform(0, longest)


@pytest.mark.parametrize("verb", WORDS)
def test_two_kills_change_nothing(recast: Recast, start: Start, finished_film: Path, tmp_path: Path, verb: str) -> None:
    film = unmade(finished_film, verb, tmp_path / "getötet – 映画")
    assert kill_at(start, film, verb, uniform(verb, 0.2), kills=2) >= 1
    assert recast(verb, film, *WORDS[verb]).code == 0
    check(film, finished_film)


@pytest.mark.slow
@pytest.mark.parametrize("verb", WORDS)
def test_ten_kills_change_nothing(start: Start, finished_film: Path, tmp_path: Path, verb: str) -> None:
    """Several kills in a row, at random moments of the whole step, until it has been hit ten times at work."""
    whole = unmade(finished_film, verb, tmp_path / "whole")
    process = start(verb, whole, *WORDS[verb])
    assert begins(process, STAGE[verb])
    began = time.monotonic()
    process.communicate()
    delays = uniform(verb, time.monotonic() - began)
    struck = attempt = 0
    while struck < 10:
        attempt += 1
        film = unmade(finished_film, verb, tmp_path / f"killed {attempt}")
        struck += kill_at(start, film, verb, delays, kills=4)
        process = start(verb, film, *WORDS[verb])
        process.communicate()
        assert process.returncode == 0
        check(film, whole)
        shutil.rmtree(film)


@pytest.mark.slow
def test_a_whole_run_killed_ten_times(start: Start, finished_film: Path, tmp_path: Path) -> None:
    film = tmp_path / "killed"
    for verb in WORDS:
        film = unmade(film if film.exists() else finished_film, verb, tmp_path / f"without {verb}")
    (film / "contact_sheet.jpg").unlink()
    delays = uniform("run", 6.0)
    for _ in range(10):
        process = start("run", film)
        time.sleep(2 + next(delays))
        process.kill()
        process.communicate()
    process = start("run", film)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert verify(film / "contact_sheet.jpg").signed
    check(film, finished_film)
