"""The frame of the command: exit codes, one line for every mistake, JSON, signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recaster
from recaster.cli import app
from recaster.cli.app import VERBS, main
from recaster.cli.common import plain
from recaster.errors import MissingError
from recaster.faces.options import ExtractOptions
from recaster.media.pictures import write_picture

Recast = Callable[..., Any]


def test_help_names_every_verb(recast: Recast) -> None:
    for words in (["--help"], ["-h"], []):
        said = recast(*words)
        assert said.code == 0
        assert all(verb in said.out for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(recast: Recast, verb: str) -> None:
    said = recast(verb, "--help")
    assert said.code == 0
    assert f"Usage: recast {verb}" in said.out
    assert all(flag in said.out for flag in ("--json", "--ask", "--debug"))


def test_the_promised_flags_are_there(recast: Recast) -> None:
    promised = {
        "new": "--src --dst --basis",
        "extract": "--detector",
        "train --model h64": "--model --iterations --batch-size --device --seed",
        "merge": "--mode --output",
    }
    for verb, flags in promised.items():
        said = recast(*verb.split(), "--help")
        assert all(flag in said.out for flag in flags.split()), verb


def test_the_version(recast: Recast) -> None:
    assert recast("--version").out.strip() == recaster.__version__


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("bogus", "there is no command 'bogus'; known: new, run, extract"),
        ("--bogus", "there is no command '--bogus'"),
        ("extract", "WORKSPACE requires an argument"),
        ("extract .", "SIDE requires an argument"),
        ("extract . both", '"both" for SIDE. Choose from: "src", "dst"'),
        ("extract . src --size 7", "--size: input should be greater than or equal to 256, got '7'"),
        ("extract . src --detector best", "--detector: input should be 'accurate', 'mtcnn' or 'fast', got 'best'"),
        ("train . --iterations -5", "--iterations: input should be greater than or equal to 0"),
        ("train . --iterations many", "--iterations: input should be a valid integer"),
        ("train . --bogus 1", "Unknown option: --bogus"),
        ("merge . --crf 60", "--crf: input should be less than or equal to 51"),
        ("merge . --mode", "--mode requires an argument"),
        ("merge . more and more", "too many arguments: more and more"),
        ("new x --expires 31-12-2026", "--expires"),
        ("sheet . --frames 0", '"0" for --frames. Must be >= 1'),
        ("verify", "FILE requires an argument"),
        ("info", "PATH requires an argument"),
        ("run", "WORKSPACE requires an argument"),
        ("doctor now", "too many arguments: now"),
    ],
)
def test_a_mistake_in_the_call_is_one_line_and_exit_code_2(recast: Recast, words: str, problem: str) -> None:
    said = recast(*words.split())
    assert (said.code, said.out) == (2, "")
    assert problem in said.problem
    assert len(said.err.splitlines()) == 1
    said = recast(*words.split(), "--json")
    if "--json" in said.problem:  # taken as the value that was missing
        return
    assert said.json == {"error": said.problem.removeprefix("recast: "), "exit_code": 2}


@pytest.mark.parametrize("verb", ["extract {} src", "train {}", "merge {}", "run {}", "sheet {}"])
def test_a_folder_that_is_no_workspace(recast: Recast, tmp_path: Path, verb: str) -> None:
    said = recast(*verb.format("@").replace("@", str(tmp_path)).split(), "--json")
    assert said.code == said.json["exit_code"] == 1
    assert "not a workspace" in said.problem
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_where(recast: Recast, tmp_path: Path) -> None:
    quiet, loud = recast("info", tmp_path / "nowhere"), recast("info", tmp_path / "nowhere", "--debug")
    assert quiet.code == loud.code == 1
    assert quiet.problem in loud.err
    assert "Traceback" in loud.err
    assert "InputError" in loud.err
    assert "Traceback" in recast("bogus", "--debug").err


def run_verb(monkeypatch: pytest.MonkeyPatch, action: Callable[[], Any]) -> None:
    """Make ``recast doctor`` do something else."""
    from recaster.cli import doctor

    def verb(*, debug: bool = False, json: bool = False) -> Any:
        return action()

    monkeypatch.setattr(doctor, "doctor", verb)


def fail_with(error: BaseException) -> Callable[[], Any]:
    def action() -> Any:
        raise error

    return action


def test_the_unexpected_is_one_line_too(recast: Recast, monkeypatch: pytest.MonkeyPatch) -> None:
    run_verb(monkeypatch, fail_with(ZeroDivisionError("so\nodd")))
    said = recast("doctor")
    assert (said.code, said.problem) == (1, "recast: ZeroDivisionError: so odd (unexpected; --debug shows where)")
    assert "Traceback" in recast("doctor", "--debug").err
    assert recast("doctor", "--json").json["exit_code"] == 1


def test_an_interruption_is_one_line_and_exit_code_130(recast: Recast, monkeypatch: pytest.MonkeyPatch) -> None:
    run_verb(monkeypatch, fail_with(KeyboardInterrupt()))
    said = recast("doctor", "--json")
    assert said.code == said.json["exit_code"] == 130
    assert "interrupted" in said.problem


def test_names_in_other_scripts_and_odd_numbers_are_json(recast: Recast, tmp_path: Path) -> None:
    path = tmp_path / "fehlt 映画.mp4"
    said = recast("info", path, "--json")
    assert str(path) in said.json["error"]
    assert said.out.isascii()
    values = {"nan": float("nan"), "far": float("inf"), "path": Path("a"), "set": {1}, "options": ExtractOptions()}
    assert json.loads(json.dumps(plain(values), allow_nan=False))["far"] is None


def test_the_command_leaves_signals_as_they_were(recast: Recast) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    recast("--version")
    recast("bogus")
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_the_command_works_in_a_thread(capsys: pytest.CaptureFixture[str]) -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(main(["--version"])))
    thread.start()
    thread.join()
    assert codes == [0]


@pytest.mark.parametrize("interrupt", [signal.default_int_handler, signal.SIG_IGN])
def test_termination_ends_a_step_like_ctrl_c(recast: Recast, monkeypatch: pytest.MonkeyPatch, interrupt: Any) -> None:
    run_verb(monkeypatch, lambda: signal.raise_signal(signal.SIGTERM))
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        assert recast("doctor").code == 130
    finally:
        signal.signal(signal.SIGINT, before)


def test_termination_goes_where_a_step_wants_interruptions(recast: Recast, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def action() -> None:
        before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
        signal.raise_signal(signal.SIGTERM)
        signal.signal(signal.SIGINT, before)

    run_verb(monkeypatch, action)
    assert recast("doctor").code == 0
    assert seen == [signal.SIGTERM]


def test_a_reader_that_has_gone_is_no_error(tmp_path: Path) -> None:
    write_picture(tmp_path / "1.png", np.zeros((8, 8, 3), np.uint8))
    for words in (["--help"], ["info", str(tmp_path)]):
        reading, writing = os.pipe()
        os.close(reading)
        command = [sys.executable, "-m", "recaster", *words]
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
        os.close(writing)
        assert (done.stderr, done.returncode) == ("", 1)


def test_a_missing_thing_exits_with_1(recast: Recast, monkeypatch: pytest.MonkeyPatch) -> None:
    run_verb(monkeypatch, fail_with(MissingError("no faces", where="here", mend="Run it.")))
    said = recast("doctor")
    assert (said.code, said.problem) == (1, "recast: here: no faces. Run it.")
    assert app.INTERRUPTED == 130
