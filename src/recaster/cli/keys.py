"""Single keys in the terminal while a training runs.

The terminal is switched so that keys arrive at once and are not shown, and Ctrl-C and Ctrl-Z keep their meaning. It is
switched back at the end, and while the process is stopped with Ctrl-Z; in the background no key is read.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Literal, Protocol

Request = Literal["stop", "save", "preview", "backup"]

KEYS: dict[str, Request] = {"\n": "stop", "\r": "stop", "s": "save", "p": "preview", "b": "backup"}
HELP = "Keys: Enter saves and stops, s saves, p shows other faces in the preview, b makes a backup, ? shows this."
_PATIENCE = 0.3
"""Seconds after which it is looked again whether the process is in the foreground."""


class Controlled(Protocol):
    """What the keys steer."""

    def request(self, what: Request) -> None:
        """Called from another thread for each key that means something."""


@contextmanager
def keys(controls: Controlled, say: Callable[[str], None] = lambda text: None) -> Iterator[bool]:
    """Inside the block, keys typed into the terminal become requests; ``say`` is told the help.

    Yields whether there is a terminal to read from; without one nothing happens.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        yield False
        return

    def pressed(text: str) -> None:
        for key in text.lower():
            if key in KEYS:
                controls.request(KEYS[key])
            elif key == "?":
                say(HELP)

    with _single_keys(sys.stdin.fileno(), pressed):
        yield True


if sys.platform == "win32":

    @contextmanager
    def _single_keys(terminal: int, pressed: Callable[[str], None]) -> Iterator[None]:
        import msvcrt

        ended = threading.Event()

        def read() -> None:
            while not ended.wait(0.1):
                while msvcrt.kbhit():
                    key = msvcrt.getwch()
                    if key in "\0\xe0":
                        msvcrt.getwch()  # arrows and function keys come as two
                    else:
                        pressed(key)

        with _running(read):
            try:
                yield
            finally:
                ended.set()

else:
    import select
    import termios

    @contextmanager
    def _single_keys(terminal: int, pressed: Callable[[str], None]) -> Iterator[None]:
        switch = _Terminal(terminal)
        wake, end = os.pipe()

        def read() -> None:
            # A process that goes to the background in this moment gets an error from the terminal and is not stopped.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTIN, signal.SIGTTOU})
            while True:
                mine = switch.on()
                ready, _, _ = select.select([wake, terminal] if mine else [wake], [], [], _PATIENCE)
                if wake in ready:
                    return
                if terminal in ready:
                    typed = b""
                    with suppress(OSError):
                        typed = os.read(terminal, 64)
                    if not typed and switch.on():
                        return  # the terminal has ended
                    if not typed.startswith(b"\x1b"):  # arrows and function keys
                        pressed(typed.decode("ascii", "ignore"))

        try:
            with switch.paused_by_ctrl_z(), _running(read):
                try:
                    yield
                finally:
                    os.write(end, b".")
        finally:
            switch.off()
            os.close(wake)
            os.close(end)

    class _Terminal:
        """Switches a terminal between lines, as it is found, and single keys."""

        def __init__(self, terminal: int) -> None:
            self._terminal = terminal
            self._lock = threading.RLock()
            self._usual: list[Any] | None = None
            self._stopping = False

        def on(self) -> bool:
            """Single keys from now on. False in the background, where the terminal belongs to others."""
            with self._lock, suppress(OSError, termios.error):
                if self._stopping or not self._in_front():
                    return False
                found = termios.tcgetattr(self._terminal)
                if found[3] & (termios.ICANON | termios.ECHO):
                    self._usual = found
                    # What was typed before, out of impatience or for the shell, shall not stop the training.
                    termios.tcflush(self._terminal, termios.TCIFLUSH)
                    single = [*found[:3], found[3] & ~(termios.ICANON | termios.ECHO), *found[4:6], [*found[6]]]
                    single[6][termios.VMIN], single[6][termios.VTIME] = 1, 0
                    termios.tcsetattr(self._terminal, termios.TCSANOW, single)
                return True
            return False

        def off(self) -> None:
            """As it was found."""
            with self._lock, suppress(OSError, termios.error):
                if self._usual is not None and self._in_front():
                    termios.tcsetattr(self._terminal, termios.TCSANOW, self._usual)

        @contextmanager
        def paused_by_ctrl_z(self) -> Iterator[None]:
            """Give the terminal back while the process is stopped. Only the main thread may arrange this."""

            def stop(number: int, frame: FrameType | None) -> None:
                self._stopping = True
                self.off()
                signal.signal(signal.SIGTSTP, signal.SIG_DFL)
                signal.raise_signal(signal.SIGTSTP)
                # Here it goes on, perhaps much later.
                signal.signal(signal.SIGTSTP, stop)
                self._stopping = False

            usual = threading.current_thread() is threading.main_thread() and (
                signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL
            )
            if usual:
                signal.signal(signal.SIGTSTP, stop)
            try:
                yield
            finally:
                if usual:
                    signal.signal(signal.SIGTSTP, signal.SIG_DFL)

        def _in_front(self) -> bool:
            try:
                return os.tcgetpgrp(self._terminal) == os.getpgrp()
            except OSError as error:
                if error.errno != errno.ENOTTY:
                    raise
                return True  # not the terminal that this process would be stopped from: nobody else reads it


@contextmanager
def _running(work: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=work, name="keys", daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()
