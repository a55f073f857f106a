from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recaster.errors import UsageError
from recaster.train.hooks import OUTPUT, check_hook, run_hook, split_command

NOTE_DOWN = """
import json, os, sys
from pathlib import Path
own = {name: value for name, value in os.environ.items() if name.startswith("RECASTER_M") or "ITERATION" in name}
Path(sys.argv[1]).write_text(json.dumps([sys.argv[2:], own, sys.stdin.read()]), encoding="utf-8")
print("done")
"""


def quoted(*words: object) -> str:
    if os.name == "nt":
        return " ".join(f'"{word}"' for word in words)
    return shlex.join(map(str, words))


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "ein Skript.py"
    path.write_text(NOTE_DOWN, encoding="utf-8")
    return path


def test_the_command_learns_model_and_iteration(tmp_path: Path, script: Path) -> None:
    model, out = tmp_path / "mein Modell №1", tmp_path / "out.json"
    model.mkdir()
    command = quoted(sys.executable, script, out, "two words")
    check_hook(command)
    assert run_hook(command, model, 3000) is None
    words, environment, given = json.loads(out.read_text(encoding="utf-8"))
    assert words == ["two words", str(model.resolve()), "3000"]
    assert environment == {"RECASTER_MODEL": str(model.resolve()), "RECASTER_ITERATION": "3000"}
    assert given == "", "it does not read the terminal"
    assert (model / OUTPUT).read_text().strip() == "done"


def test_no_shell_reads_the_command(tmp_path: Path, script: Path) -> None:
    out = tmp_path / "out.json"
    assert run_hook(quoted(sys.executable, script, out, "$HOME", "*", ";", "|"), tmp_path, 1) is None
    assert json.loads(out.read_text())[0][:4] == ["$HOME", "*", ";", "|"]


def test_failures_are_told_and_stop_nothing(tmp_path: Path) -> None:
    failing = quoted(sys.executable, "-c", "import sys; print('no space there'); sys.exit(3)")
    note = run_hook(failing, tmp_path, 500)
    assert note is not None and "ended with 3 at iteration 500: no space there" in note and "\n" not in note
    silent = run_hook(quoted(sys.executable, "-c", "raise SystemExit(1)"), tmp_path, 500)
    assert silent is not None and "it printed nothing" in silent
    gone = run_hook(quoted(tmp_path / "gone"), tmp_path, 500)
    assert gone is not None and "did not run at iteration 500" in gone and "gone" in gone
    nowhere = run_hook(failing, tmp_path / "no folder", 500)
    assert nowhere is not None and "did not run" in nowhere


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no rights to execute")
def test_a_file_that_is_no_program(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"\x00\x01 no program")
    with pytest.raises(UsageError, match="may be executed"):
        check_hook(str(path))
    path.chmod(0o755)
    note = run_hook(str(path), tmp_path, 1)
    assert note is not None and "did not run" in note


def test_mistakes_are_found_at_the_start() -> None:
    check_hook("")
    for command, words in (
        ("no-such-program-at-all --fast", "there is no program 'no-such-program-at-all'"),
        ('say "hello', "quotation mark"),
        ("   ", "is empty"),
    ):
        with pytest.raises(UsageError, match=words):
            check_hook(command)


def test_words_are_split_as_the_system_does() -> None:
    assert split_command(r"a 'b c' d\ e --x=\"1\"", windows=False) == ["a", "b c", "d e", '--x="1"']
    line = r'"C:\Program Files\sync.exe" --to "D:\my models" --name="a b" it\'s'
    expected = [r"C:\Program Files\sync.exe", "--to", r"D:\my models", "--name=a b", r"it\'s"]
    assert split_command(line, windows=True) == expected
    with pytest.raises(ValueError, match="quotation"):
        split_command('a "b', windows=True)


@pytest.mark.skipif(os.name == "nt", reason="signals are sent as on POSIX")
def test_ctrl_c_ends_a_command_that_hangs(tmp_path: Path) -> None:
    child = quoted(sys.executable, "-c", "print('here', flush=True); import time; time.sleep(60)")
    code = f"from pathlib import Path; from recaster.train.hooks import run_hook; run_hook({child!r}, {tmp_path!r}, 1)"
    code = code.replace("PosixPath", "Path")
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, start_new_session=True)
    for _ in range(200):
        if (tmp_path / OUTPUT).exists() and (tmp_path / OUTPUT).read_text():
            break
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode != 0 and "KeyboardInterrupt" in said
