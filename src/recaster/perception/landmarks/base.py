"""What a landmarker is, and the registry of those there are. Importing it costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from recaster.perception.detect.base import Detection
from recaster.registry import Registry
from recaster.types import Landmarks, Picture

if TYPE_CHECKING:
    import torch


class Landmarker(Protocol):
    """Finds the points of a face that was detected. Made with the device it computes on."""

    def locate(self, images: Sequence[Picture], detections: Sequence[Detection]) -> list[Landmarks]:
        """The landmarks of ``detections[i]`` in ``images[i]`` (``(H, W, 3)`` uint8 RGB), px of the picture, all with a
        confidence. A picture with three faces is passed three times.
        """
        ...


landmarkers: Registry[Callable[[torch.device], Landmarker]] = Registry("landmarker")
"""Factories by name; the network's module is imported, and its weights are read, when one is called."""


@landmarkers.add("mesh")
def _mesh(device: torch.device) -> Landmarker:
    from recaster.perception.landmarks.mesh import Mesh

    return Mesh(device)


def make_landmarker(name: str, device: torch.device) -> Landmarker:
    """The landmarker called ``name``, ready on ``device``. Raises UsageError for an unknown name, MissingError without
    weights.
    """
    return landmarkers.get(name)(device)
