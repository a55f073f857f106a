"""What progress looks like in a log and on a terminal."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

from recaster.cli import console
from recaster.cli.console import BarProgress, PlainProgress, console_progress, duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (61, "1 min 01 s"),
        (185, "3 min 05 s"),
        (3599.6, "1 h 00 min"),
        (7800, "2 h 10 min"),
        (90000, "25 h 00 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_lines_for_logs() -> None:
    out, clock = io.StringIO(), Clock()
    progress = PlainProgress(out, interval=10, clock=clock)
    with progress.stage("extract faces", 40, done=10):
        for _ in range(5):
            clock.now += 4
            progress.advance(faces=3.0)
        progress.note("a picture\nis torn")
        clock.now += 80
        progress.advance(5)
    assert out.getvalue().splitlines() == [
        "extract faces: starting at 10 of 40 frames",
        "extract faces: 13 of 40 frames, 0.2 frames/s, 1 min 48 s left, faces 3",
        "a picture is torn",
        "extract faces: 20 of 40 frames, 0.1 frames/s, 3 min 20 s left, faces 3",
        "extract faces: 20 of 40 frames, 0.1 frames/s, 3 min 20 s left, faces 3, 1 min 40 s in all",
    ]


def test_lines_of_a_stage_without_a_known_end() -> None:
    out, clock = io.StringIO(), Clock()
    progress = PlainProgress(out, clock=clock)
    progress.begin("train", None, "iterations")
    clock.now += 10
    progress.advance(20, src=0.123456)
    progress.end()
    assert out.getvalue().splitlines() == [
        "train: iterations",
        "train: 20 iterations, 2.0 iterations/s, src 0.1235",
        "train: 20 iterations, 2.0 iterations/s, src 0.1235, 10 s in all",
    ]


def test_a_stage_that_takes_no_time() -> None:
    out = io.StringIO()
    progress = PlainProgress(out, clock=lambda: 5.0)
    with progress.stage("merge", 3):
        pass
    assert out.getvalue().splitlines() == ["merge: 3 frames", "merge: 0 of 3 frames, 0.0 frames/s, 0 s in all"]


def test_progress_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    progress = console_progress()
    assert isinstance(progress, PlainProgress)
    with progress.stage("merge", 1):
        progress.advance()
    said = capsys.readouterr()
    assert said.out == ""
    assert "merge: 1 of 1 frames" in said.err


def test_the_bar_of_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    progress = console_progress()
    assert isinstance(progress, BarProgress)
    progress.note("[before] any stage")
    with progress.stage("merge", 4, done=1):
        progress.advance(2, loss=0.5)
        progress.note("one [odd] thing")
    progress.end()
    said = capsys.readouterr()
    assert said.out == ""
    assert "[before] any stage" in said.err
    assert "one [odd] thing" in said.err
    assert "3/4" in said.err


def test_a_real_terminal_shows_a_bar() -> None:
    pty = pytest.importorskip("pty")
    outer, inner = pty.openpty()
    code = (
        "from recaster.cli.console import console_progress as p\n"
        "with p().stage('merge', 2) as progress: progress.advance(2, loss=0.25)"
    )
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    subprocess.run([sys.executable, "-c", code], stderr=inner, env=environment, check=True)
    os.close(inner)
    shown = os.read(outer, 65536).decode()
    os.close(outer)
    assert "2/2" in shown
    assert "loss 0.250" in shown


def test_a_question_to_a_closed_input_takes_the_default(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console.sys, "stdin", io.StringIO("  an answer \nlast"))
    assert [console.ask_line("one : ") for _ in range(3)] == ["an answer", "last", ""]
    monkeypatch.setattr(console.sys, "stdin", None)
    assert console.ask_line("two : ") == ""
    console.tell_line("told")
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "one : one : \none : \ntwo : \ntold\n"
