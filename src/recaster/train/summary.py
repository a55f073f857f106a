"""What a session of training came to."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TrainSummary:
    """What a session of training came to.

    ``iterations`` counts all sessions, ``trained`` this one, which took ``seconds``, the share ``waiting`` of them for
    samples. The losses are means over the last iterations. ``cache`` is what the faces took in memory, bytes;
    ``rollbacks`` how often the model had to go back after a collapse, in all sessions.
    """

    iterations: int
    loss_src: float
    loss_dst: float
    checkpoint: Path
    trained: int = 0
    seconds: float = 0.0
    waiting: float = 0.0
    src_faces: int = 0
    dst_faces: int = 0
    cache: int = 0
    rollbacks: int = 0
    execution: str = ""

    @property
    def iterations_per_second(self) -> float:
        """Speed of this session, previews and saves included."""
        return self.trained / self.seconds if self.seconds else 0.0

    def figures(self) -> dict[str, Any]:
        """All numbers by name."""
        return {**asdict(self), "iterations_per_second": self.iterations_per_second}

    def lines(self) -> list[str]:
        """The same for people."""
        if not self.trained:
            return [f"Nothing to do: the model has been trained as far as asked ({self.iterations} iterations)."]
        lines = [
            f"{self.iterations} iterations, {self.trained} of them now ({self.iterations_per_second:.2f}/s,"
            f" {self.waiting:.1%} of the time waiting for samples)",
            f"loss: src {self.loss_src:.4f}, dst {self.loss_dst:.4f}",
            f"faces: src {self.src_faces}, dst {self.dst_faces} ({self.cache / 1e6:.0f} MB)",
            f"saved: {self.checkpoint}",
        ]
        if self.rollbacks:
            lines.insert(1, f"went back {self.rollbacks} times to a checkpoint after a collapse")
        return lines
