"""What the command line shows: progress on standard error, results on standard output."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from recaster.progress import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as RichBar


def duration(seconds: float) -> str:
    """``42 s``, ``3 min 05 s``, ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class PlainProgress(Progress):
    """Lines for logs and pipes: one at the start of a stage, one every ``interval`` seconds, one at its end."""

    def __init__(
        self, out: TextIO | None = None, interval: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._out = out or sys.stderr
        self._interval = interval
        self._clock = clock
        self._stage = ""

    def begin(self, stage: str, total: int | None = None, unit: str = "frames", done: int = 0) -> None:
        """Say what starts."""
        self._stage, self._total, self._unit = stage, total, unit
        self._first = self._done = done
        self._figures: dict[str, float] = {}
        self._began = self._shown = self._clock()
        of = "" if total is None else f" of {total}"
        self._line(f"{stage}: starting at {done}{of} {unit}" if done else f"{stage}: {total or ''} {unit}")

    def advance(self, count: int = 1, **figures: float) -> None:
        """Count, and say so when the interval is over."""
        self._done += count
        self._figures.update(figures)
        now = self._clock()
        if now - self._shown >= self._interval:
            self._shown = now
            self._line(self._state(now))

    def expect(self, total: int) -> None:
        """Count to another total."""
        self._total = total

    def note(self, text: str) -> None:
        """Say it at once."""
        self._line(text)

    def end(self) -> None:
        """Say how far it came."""
        now = self._clock()
        self._line(f"{self._state(now)}, {duration(now - self._began)} in all")

    def _state(self, now: float) -> str:
        rate = (self._done - self._first) / max(now - self._began, 1e-6)
        parts = [f"{self._stage}: {self._done}" + (f" of {self._total}" if self._total else "") + f" {self._unit}"]
        parts.append(f"{rate:.1f} {self._unit}/s")
        if self._total and rate > 0 and self._done < self._total:
            parts.append(f"{duration((self._total - self._done) / rate)} left")
        parts += [f"{name} {value:.4g}" for name, value in self._figures.items()]
        return ", ".join(parts)

    def _line(self, text: str) -> None:
        print(" ".join(text.split()), file=self._out, flush=True)


class BarProgress(Progress):
    """A bar with rate and time left, for terminals."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)
        self._bar: RichBar | None = None

    def begin(self, stage: str, total: int | None = None, unit: str = "frames", done: int = 0) -> None:
        """Show a bar."""
        from rich import progress as rich

        self._bar = rich.Progress(
            rich.TextColumn("{task.description}"),
            rich.BarColumn(bar_width=None),
            rich.MofNCompleteColumn(),
            rich.TextColumn("{task.fields[rate]}"),
            rich.TextColumn("{task.fields[figures]}"),
            rich.TimeRemainingColumn(),
            console=self._console,
        )
        self._unit, self._done, self._first = unit, done, done
        self._began = time.monotonic()
        self._figures: dict[str, float] = {}
        self._task = self._bar.add_task(stage, total=total, completed=done, rate="", figures="")
        self._bar.start()

    def advance(self, count: int = 1, **figures: float) -> None:
        """Move the bar."""
        self._done += count
        self._figures.update(figures)
        rate = (self._done - self._first) / max(time.monotonic() - self._began, 1e-6)
        if self._bar is not None:
            shown = " ".join(f"{name} {value:.3f}" for name, value in self._figures.items())
            self._bar.update(self._task, advance=count, rate=f"{rate:.1f} {self._unit}/s", figures=shown)

    def expect(self, total: int) -> None:
        """Make the bar as long."""
        if self._bar is not None:
            self._bar.update(self._task, total=total)

    def note(self, text: str) -> None:
        """Print above the bar."""
        self._console.print(text, highlight=False, markup=False)

    def end(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.stop()
        self._bar = None


def console_progress() -> Progress:
    """A bar where standard error is a terminal, plain lines elsewhere."""
    return BarProgress() if sys.stderr.isatty() else PlainProgress()


def ask_line(prompt: str) -> str:
    """One answer from standard input; when it has ended, the empty answer, which takes the default.

    The prompt goes to standard error, so that standard output holds results only.
    """
    print(prompt, end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline() if sys.stdin else ""
    if not line.endswith("\n"):
        print(file=sys.stderr)
    return line.strip()


def tell_line(text: str) -> None:
    """One line for the person who answers."""
    print(text, file=sys.stderr, flush=True)
