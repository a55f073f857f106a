"""The values everything speaks: frozen, checked where a mistake is likely, free of behaviour that belongs to a room.

Conventions (all of them are in ``docs/conventions.md``): pictures are RGB ``(H, W, 3)``, ``uint8`` or ``float32`` 0..1;
x runs right, y down, and the centre of the first pixel is at (0, 0); a matrix is named by its direction; angles are in
degrees; yaw is positive when the face looks to the right of the picture, pitch when it looks up, roll when the head
leans clockwise as seen in the picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[Any]
"""``(H, W, 3)`` RGB, ``uint8`` 0..255, ``uint16`` 0..65535, or ``float32`` 0..1."""
Floats = NDArray[np.float32]
Matrix = NDArray[np.float64]
"""``(2, 3)`` affine matrix; maps column vectors (x, y, 1)."""


class Framing(StrEnum):
    """How much of the head an aligned crop shows; a larger framing contains a smaller one."""

    HALF = "half"
    MIDFULL = "mid-full"
    FULL = "full"
    WHOLE = "whole"
    HEAD = "head"


@dataclass(frozen=True)
class ColorTag:
    """How a video's pixels are to be read; names are FFmpeg's, ``unknown`` where the file does not say."""

    matrix: str = "unknown"
    primaries: str = "unknown"
    transfer: str = "unknown"
    full_range: bool = False


@dataclass(frozen=True)
class Frame:
    """One picture of a clip.

    ``index`` counts from 0 in presentation order. ``name`` is what faces refer to: the file's stem for a folder of
    pictures, the 1-based number (``00001``) for a video. ``pts`` is in seconds. ``image`` is ``(H, W, 3)`` RGB, upright
    (a rotation in the file has been applied).
    """

    index: int
    name: str
    pts: Fraction
    image: Picture
    color: ColorTag = ColorTag()


@dataclass(frozen=True)
class Landmarks:
    """Points on one face, in pixels of the frame.

    ``points`` ``(68, 2)`` float32 in iBUG order; ``dense`` ``(478, 2 or 3)`` float32 where the network gave a mesh;
    ``confidence`` ``(68,)`` float32 0..1.
    """

    points: Floats
    dense: Floats | None = None
    confidence: Floats | None = None
    origin: Literal["auto", "manual", "tracked"] = "auto"

    def __post_init__(self) -> None:
        _shape("points", self.points, (68, 2))
        if self.confidence is not None:
            _shape("confidence", self.confidence, (68,))


@dataclass(frozen=True)
class Pose:
    """Where a face looks, degrees; signs as in the module's docstring."""

    yaw: float
    pitch: float
    roll: float


@dataclass(frozen=True)
class Alignment:
    """A crop of a face: ``frame_to_crop`` ``(2, 3)`` float64 maps frame pixels to those of a ``size`` px square."""

    frame_to_crop: Matrix
    size: int
    framing: Framing

    def __post_init__(self) -> None:
        _shape("frame_to_crop", self.frame_to_crop, (2, 3))


@dataclass(frozen=True)
class Mask:
    """``alpha`` ``(h, w)`` float32, 0 outside and 1 inside, in pixels of the crop or of the frame."""

    alpha: Floats
    space: Literal["crop", "frame"]
    kind: Literal["hull", "learned", "segmented", "painted"]


@dataclass(frozen=True)
class Face:
    """One face in one frame.

    ``frame`` is the frame's name, ``box`` left, top, right, bottom in pixels of the frame, ``score`` the detector's
    0..1, ``quality`` a sharpness measure (higher is sharper), ``track`` the number of its track through the shot (-1:
    none), ``person`` a name or empty, ``embedding`` ``(D,)`` float32 of unit length where it was computed.
    """

    frame: str
    box: tuple[float, float, float, float]
    landmarks: Landmarks
    pose: Pose
    alignment: Alignment
    score: float = 1.0
    quality: float = 0.0
    track: int = -1
    person: str = ""
    embedding: Floats | None = None


@dataclass(frozen=True)
class Faces:
    """Many faces as arrays, one row a face: a clip's worth, to filter and join.

    ``frame`` ``(N,)`` str, ``box`` ``(N, 4)`` float32 px, ``points`` ``(N, 68, 2)`` float32 px in the frame, ``pose``
    ``(N, 3)`` float32 yaw, pitch, roll in degrees, ``frame_to_crop`` ``(N, 2, 3)`` float64, ``score`` and ``quality``
    ``(N,)`` float32, ``track`` ``(N,)`` int32, ``person`` ``(N,)`` str.
    """

    frame: NDArray[np.str_]
    box: Floats
    points: Floats
    pose: Floats
    frame_to_crop: Matrix
    score: Floats
    quality: Floats
    track: NDArray[np.int32]
    person: NDArray[np.str_]

    def __post_init__(self) -> None:
        count = len(self.frame)
        for field in fields(self):
            if len(getattr(self, field.name)) != count:
                raise ValueError(f"Faces.{field.name} has {len(getattr(self, field.name))} rows, expected {count}")

    @classmethod
    def of(cls, faces: Sequence[Face]) -> Faces:
        """Stack single faces."""
        return cls(
            frame=np.array([face.frame for face in faces], dtype=np.str_),
            box=np.array([face.box for face in faces], np.float32).reshape(-1, 4),
            points=np.array([face.landmarks.points for face in faces], np.float32).reshape(-1, 68, 2),
            pose=np.array([(f.pose.yaw, f.pose.pitch, f.pose.roll) for f in faces], np.float32).reshape(-1, 3),
            frame_to_crop=np.array([f.alignment.frame_to_crop for f in faces], np.float64).reshape(-1, 2, 3),
            score=np.array([face.score for face in faces], np.float32),
            quality=np.array([face.quality for face in faces], np.float32),
            track=np.array([face.track for face in faces], np.int32),
            person=np.array([face.person for face in faces], dtype=np.str_),
        )

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, rows: NDArray[Any] | slice | Sequence[int]) -> Faces:
        """The rows of a boolean mask, an index array or a slice, as Faces."""
        return replace(self, **{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def __add__(self, other: Faces) -> Faces:
        return replace(
            self,
            **{f.name: np.concatenate([getattr(self, f.name), getattr(other, f.name)]) for f in fields(self)},
        )

    def by_frame(self) -> Iterator[tuple[str, Faces]]:
        """(frame name, its faces), in the order of the names."""
        for name in np.unique(self.frame):
            yield str(name), self[self.frame == name]


@dataclass(frozen=True)
class SwapOutput:
    """What a swapper returns for N crops of R × R px: ``rgb`` ``(N, 3, R, R)`` float32 0..1, and the masks of the new
    face (``mask``) and of the target's own (``mask_dst``), ``(N, 1, R, R)`` float32 0..1, where the model learned them.
    """

    rgb: Floats
    mask: Floats | None = None
    mask_dst: Floats | None = None


def _shape(name: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
