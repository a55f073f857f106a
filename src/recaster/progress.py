"""How long work tells its caller where it is.

Functions take ``progress: Progress = SILENT`` and call it; they never print. The command line draws bars from it, the
studio sends it to the browser, a test records it. ``advance`` may raise :class:`~recaster.errors.Interrupted`: that is
how a caller stops work between two items.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recaster.types import Picture


class Progress:
    """Silent by default; subclass to show something."""

    def begin(self, stage: str, total: int | None = None, unit: str = "frames", done: int = 0) -> None:
        """A stage starts: ``total`` items of ``unit`` (None when unknown), ``done`` of them finished earlier."""

    def advance(self, count: int = 1, **figures: float) -> None:
        """``count`` more items are finished; ``figures`` are named numbers worth showing beside them (a loss)."""

    def expect(self, total: int) -> None:
        """A better guess of how many items the stage has."""

    def note(self, text: str) -> None:
        """A sentence that the user should read now: a warning, a file that was skipped."""

    def picture(self, name: str, image: Picture) -> None:
        """Something to look at, ``(H, W, 3)`` uint8 RGB: the newest preview of a training."""

    def end(self) -> None:
        """The stage is over, or was left by an error."""

    @contextmanager
    def stage(self, stage: str, total: int | None = None, unit: str = "frames", done: int = 0) -> Iterator[Progress]:
        """``begin`` and, whatever happens, ``end``."""
        self.begin(stage, total, unit, done)
        try:
            yield self
        finally:
            self.end()


SILENT = Progress()


class Recorded(Progress):
    """Keeps what it was told: for tests, and for callers that want the notes at the end."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.notes: list[str] = []
        self.done = 0
        self.figures: dict[str, float] = {}

    def begin(self, stage: str, total: int | None = None, unit: str = "frames", done: int = 0) -> None:
        """Remember the stage's name."""
        self.stages.append(stage)

    def advance(self, count: int = 1, **figures: float) -> None:
        """Add up what is done."""
        self.done += count
        self.figures.update(figures)

    def note(self, text: str) -> None:
        """Remember the sentence."""
        self.notes.append(text)
