"""The command in this process and in one of its own, and small disks."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from recaster.cli.app import main


@dataclass(frozen=True)
class Said:
    """What one command said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on standard output."""
        (line,) = self.out.splitlines()
        found: dict[str, Any] = json.loads(line)
        return found

    @property
    def problem(self) -> str:
        """The one line that says what was wrong."""
        assert "Traceback" not in self.out + self.err
        (line,) = (line for line in self.err.splitlines() if line.startswith("recast: "))
        assert self.err.splitlines()[-1] == line
        return line


Recast = Callable[..., Said]


@pytest.fixture
def recast(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, own_settings: Path) -> Recast:
    """Runs one command line in this process; ``typed`` is its standard input."""

    def run(*words: object, typed: str = "") -> Said:
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        capsys.readouterr()
        code = main([str(word) for word in words])
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture
def start(own_settings: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts one command line in a process of its own, as a shell would; none outlives the test."""
    started: list[subprocess.Popen[str]] = []

    def usual_interrupt() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def run(*words: object, **named: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "recaster", *map(str, words)],
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            preexec_fn=usual_interrupt if os.name == "posix" else None,
            **named,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


class SmallDisk:
    """A disk of its own in memory, whose size and rights can be changed; only an administrator may make one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def mount(self, options: str) -> bool:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.folder)], capture_output=True, check=False
        )
        return done.returncode == 0

    def change(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.folder)], capture_output=True, check=True)

    def leave_free(self, kilobytes: int) -> None:
        """Make it so small that only this much more fits."""
        system = os.statvfs(self.folder)
        used = (system.f_blocks - system.f_bfree) * system.f_frsize // 1024
        self.change(f"size={used + kilobytes}k")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    folder = tmp_path / "kleine Platte"
    folder.mkdir()
    made = SmallDisk(folder)
    if sys.platform != "linux" or os.geteuid() != 0 or not made.mount("size=400m"):
        pytest.skip("a disk of its own can be mounted by an administrator of Linux only")
    yield made
    subprocess.run(["umount", "-l", str(folder)], check=False)
