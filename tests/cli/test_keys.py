from __future__ import annotations

import io
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from recaster.cli.keys import HELP, KEYS, keys
from recaster.train.controls import Controls

CHILD = textwrap.dedent(
    """
    import sys
    from recaster.cli.keys import keys

    class Printed:
        def request(self, what):
            print(what, flush=True)

    try:
        with keys(Printed(), lambda text: print(text, flush=True)) as there:
            print("ready", there, flush=True)
            for line in open(sys.argv[1]):
                if line == "leave\\n":
                    break
                raise RuntimeError(line)
    finally:
        print("left", flush=True)
        sys.stdin.readline()
    """
)
SHELL = textwrap.dedent(
    """
    import fcntl, os, signal, subprocess, sys, termios
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    job = subprocess.Popen([sys.executable, "-c", *sys.argv[1:3]], process_group=0)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    os.tcsetpgrp(0, job.pid)
    orders = open(sys.argv[3])
    while True:
        _, status = os.waitpid(job.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            sys.exit(os.waitstatus_to_exitcode(status) != 0)
        os.tcsetpgrp(0, os.getpgrp())
        print("stopped", flush=True)
        if orders.readline() == "bg\\n":
            os.kill(job.pid, signal.SIGCONT)
            orders.readline()
        os.tcsetpgrp(0, job.pid)
        os.kill(job.pid, signal.SIGCONT)
    """
)


class Terminal:
    """A terminal that is ours to type into, with a shell of few words that runs a process in the foreground."""

    def __init__(self, folder: Path) -> None:
        import pty

        places = folder / "process", folder / "shell"
        for place in places:
            os.mkfifo(place)
        self.master, self.slave = pty.openpty()
        os.write(self.master, b"\n\n")  # typed before anyone asked
        self.shell = subprocess.Popen(
            [sys.executable, "-c", SHELL, CHILD, *map(str, places)],
            stdin=self.slave,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )
        assert self.shell.stdout is not None
        self.said = self.shell.stdout
        self.to_shell = places[1].open("w", buffering=1)
        self.to_process = places[0].open("w", buffering=1)
        assert self.said.readline() == "ready True\n"
        assert self.becomes(takes_lines=False)

    def type(self, text: bytes) -> None:
        os.write(self.master, text)

    def takes_lines(self) -> bool:
        """Whether the terminal is as it was: line by line, with echo."""
        import termios

        both = termios.ICANON | termios.ECHO
        return termios.tcgetattr(self.slave)[3] & both == both

    def becomes(self, takes_lines: bool) -> bool:
        for _ in range(100):
            if self.takes_lines() is takes_lines:
                return True
            time.sleep(0.05)
        return False

    def close(self) -> None:
        self.shell.kill()
        self.shell.wait()
        for file in (self.said, self.to_shell, self.to_process):
            file.close()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    if sys.platform == "win32":
        pytest.skip("there are no pseudo terminals on Windows")
    made = Terminal(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("typed", "said"),
    [(key.encode(), word) for key, word in KEYS.items()] + [(b"S", "save"), (b"?", HELP)],
)
def test_each_key(terminal: Terminal, typed: bytes, said: str) -> None:
    terminal.type(typed)
    assert terminal.said.readline() == said + "\n", "and nothing of what was typed before"


def test_other_keys_mean_nothing(terminal: Terminal) -> None:
    for other in (b"x", b"\x1b[A", b"\x1bOP", "ß".encode(), b"\x00"):
        terminal.type(other)
        time.sleep(0.05)
    terminal.type(b"s")
    terminal.type(b"b")
    assert [terminal.said.readline() for _ in range(2)] == ["save\n", "backup\n"]


@pytest.mark.parametrize("order", ["leave", "fail"])
def test_the_terminal_is_as_before(terminal: Terminal, order: str) -> None:
    terminal.to_process.write(order + "\n")
    assert terminal.said.readline() == "left\n"
    assert terminal.takes_lines()
    terminal.type(b"\n")
    assert (terminal.shell.wait(20) == 0) is (order == "leave")


def test_ctrl_c_arrives(terminal: Terminal) -> None:
    terminal.type(b"\x03")
    assert terminal.said.readline() == "left\n"
    assert terminal.takes_lines()


def test_stopped_and_continued(terminal: Terminal) -> None:
    for _ in range(2):
        terminal.type(b"\x1a")
        assert terminal.said.readline() == "stopped\n"
        assert terminal.takes_lines()
        terminal.to_shell.write("fg\n")
        assert terminal.becomes(takes_lines=False)
        terminal.type(b"p")
        assert terminal.said.readline() == "preview\n"
    terminal.to_process.write("leave\n")
    assert terminal.said.readline() == "left\n"
    assert terminal.takes_lines()


def test_in_the_background_the_terminal_belongs_to_others(terminal: Terminal) -> None:
    terminal.type(b"\x1a")
    assert terminal.said.readline() == "stopped\n"
    terminal.to_shell.write("bg\n")
    time.sleep(0.8)
    assert terminal.takes_lines()
    terminal.type(b"s\n")
    time.sleep(0.4)
    terminal.to_shell.write("fg\n")
    assert terminal.becomes(takes_lines=False)
    terminal.type(b"b")
    assert terminal.said.readline() == "backup\n", "and nothing of what was typed for the shell"


def test_without_a_terminal_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    for stdin in (io.StringIO("s\n"), None):
        monkeypatch.setattr(sys, "stdin", stdin)
        controls = Controls()
        with keys(controls) as there:
            assert not there
        assert controls.take() == set()


def test_requests_are_those_of_the_training() -> None:
    controls = Controls()
    for word in KEYS.values():
        controls.request(word)
    assert controls.take() == set(KEYS.values())
