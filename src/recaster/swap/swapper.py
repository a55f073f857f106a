"""What the merge knows of a model: crops of the target's face in, crops of the new face out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from recaster.types import Floats, Framing, SwapOutput


@dataclass(frozen=True)
class Descriptor:
    """What a swapper works on.

    ``resolution`` is the side of its crops in px, ``framing`` how they are aligned, ``learned_mask`` whether it gives
    masks of its own, ``iteration`` how long it was trained (0: not at all).
    """

    name: str
    architecture: str
    resolution: int
    framing: Framing
    learned_mask: bool
    iteration: int = 0


class Swapper(Protocol):
    """A face replacer; how it works inside is its own affair."""

    @property
    def descriptor(self) -> Descriptor:
        """What it works on."""
        ...

    def swap(self, crops: Floats) -> SwapOutput:
        """New faces for ``(N, 3, R, R)`` float32 RGB 0..1 crops; a batch gives what its crops give one by one."""
        ...
