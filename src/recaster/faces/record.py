"""What a face picture knows about itself: a small versioned message that travels inside the file.

Layout: 4 bytes magic, CRC-32 of the rest (little-endian), then a MessagePack map. Fields that a reader does not know
are skipped, so a newer program may add some without a new version; a new version means that old readers must not try.
"""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

import recaster
from recaster.errors import RecordError
from recaster.types import Alignment, Face, Framing, Landmarks, Pose

MAGIC = b"RcFR"
VERSION = 1
MAX_BYTES = 1 << 20
"""Longest record accepted; today's are about 8 KiB."""

_HEADER = len(MAGIC) + 4
_Name = Annotated[str, Meta(max_length=1024)]


class Array(msgspec.Struct, frozen=True, array_like=True):
    """An array as raw little-endian bytes in C order, with its shape."""

    dtype: Literal["f4", "f8"]
    shape: Annotated[tuple[Annotated[int, Meta(ge=0, le=4096)], ...], Meta(max_length=4)]
    data: bytes

    def __post_init__(self) -> None:
        if math.prod(self.shape) * int(self.dtype[1]) != len(self.data):
            raise ValueError(f"{len(self.data)} bytes do not make an array of {self.shape} {self.dtype}")
        if not np.isfinite(self.values()).all():
            raise ValueError("an array holds numbers that are not finite")

    @classmethod
    def of(cls, values: NDArray[Any]) -> Array:
        """Pack float32 or float64 values."""
        dtype: Literal["f4", "f8"] = "f8" if values.dtype == np.float64 else "f4"
        return cls(dtype, values.shape, np.ascontiguousarray(values, f"<{dtype}").tobytes())

    def values(self) -> NDArray[Any]:
        """The array, read-only, in the machine's byte order."""
        native = np.frombuffer(self.data, f"<{self.dtype}").reshape(self.shape)
        return native.astype(native.dtype.newbyteorder("="), copy=False)


class FaceRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One face, as stored.

    ``framing`` and ``size`` (px) describe the crop this record lies in; ``frame`` is the name of the frame it was cut
    from, ``source`` the clip's file name without folder, ``source_size`` its width and height. ``box`` (left, top,
    right, bottom), ``points`` (68, 2) and ``dense`` (N, 2 or 3) are in pixels of the frame; ``confidence`` is (68,);
    ``frame_to_crop`` (2, 3); ``pose`` yaw, pitch, roll in degrees; ``embedding`` (D,). ``run`` names the extraction
    that made the face (empty: none), ``software`` the program that wrote the record.
    """

    version: Annotated[int, Meta(ge=1, le=1 << 31)] = VERSION
    framing: Framing
    size: Annotated[int, Meta(ge=1, le=1 << 14)]
    frame: _Name
    source: _Name = ""
    source_size: tuple[Annotated[int, Meta(ge=0, le=1 << 20)], Annotated[int, Meta(ge=0, le=1 << 20)]] = (0, 0)
    box: tuple[float, float, float, float]
    points: Array
    frame_to_crop: Array
    dense: Array | None = None
    confidence: Array | None = None
    pose: tuple[float, float, float] = (0.0, 0.0, 0.0)
    score: float = 1.0
    quality: float = 0.0
    track: Annotated[int, Meta(ge=-1, le=1 << 31)] = -1
    person: _Name = ""
    origin: Literal["auto", "manual", "tracked"] = "auto"
    embedding: Array | None = None
    run: _Name = ""
    software: _Name = ""

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (*self.box, *self.pose, self.score, self.quality))):
            raise ValueError("a number is not finite")
        _expect("points", self.points, (68, 2))
        _expect("frame_to_crop", self.frame_to_crop, (2, 3))
        if self.confidence is not None:
            _expect("confidence", self.confidence, (68,))
        if self.dense is not None and not (len(self.dense.shape) == 2 and self.dense.shape[1] in (2, 3)):
            raise ValueError(f"dense has shape {self.dense.shape}")
        if self.embedding is not None and len(self.embedding.shape) != 1:
            raise ValueError(f"embedding has shape {self.embedding.shape}")


def _expect(name: str, array: Array, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, expected {shape}")


def record_of(face: Face, *, source: str = "", source_size: tuple[int, int] = (0, 0), run: str = "") -> FaceRecord:
    """The record of ``face``; ``source`` is the clip's file name, ``source_size`` its (width, height) in px."""
    marks, pose = face.landmarks, face.pose
    left, top, right, bottom = map(float, face.box)
    return FaceRecord(
        framing=face.alignment.framing,
        size=face.alignment.size,
        frame=face.frame,
        source=source,
        source_size=source_size,
        box=(left, top, right, bottom),
        points=_pack(marks.points),
        frame_to_crop=Array.of(np.asarray(face.alignment.frame_to_crop, np.float64)),
        dense=None if marks.dense is None else _pack(marks.dense),
        confidence=None if marks.confidence is None else _pack(marks.confidence),
        pose=(float(pose.yaw), float(pose.pitch), float(pose.roll)),
        score=float(face.score),
        quality=float(face.quality),
        track=face.track,
        person=face.person,
        origin=marks.origin,
        embedding=None if face.embedding is None else _pack(face.embedding),
        run=run,
        software=f"Recaster {recaster.__version__}",
    )


def _pack(values: NDArray[Any]) -> Array:
    return Array.of(np.asarray(values, np.float32))


def face_of(record: FaceRecord) -> Face:
    """The face that a record describes."""
    return Face(
        frame=record.frame,
        box=record.box,
        landmarks=Landmarks(
            points=record.points.values().astype(np.float32, copy=False),
            dense=None if record.dense is None else record.dense.values(),
            confidence=None if record.confidence is None else record.confidence.values(),
            origin=record.origin,
        ),
        pose=Pose(*record.pose),
        alignment=Alignment(
            record.frame_to_crop.values().astype(np.float64, copy=False), record.size, Framing(record.framing)
        ),
        score=record.score,
        quality=record.quality,
        track=record.track,
        person=record.person,
        embedding=None if record.embedding is None else record.embedding.values(),
    )


def encode_record(record: FaceRecord) -> bytes:
    """The bytes of a record. Equal records have equal bytes."""
    body = _ENCODER.encode(record)
    return MAGIC + zlib.crc32(body).to_bytes(4, "little") + body


def decode_record(data: bytes, where: str | Path | None = None) -> FaceRecord:
    """Read a record. Raises RecordError, naming ``where``, for anything that is not a sound one."""
    mend = "Extract this face again."
    if len(data) > MAX_BYTES:
        raise RecordError(f"the face record is too long ({len(data)} bytes)", where=where, mend=mend)
    body = data[_HEADER:]
    if data[: len(MAGIC)] != MAGIC or data[len(MAGIC) : _HEADER] != zlib.crc32(body).to_bytes(4, "little"):
        raise RecordError("the face record is damaged", where=where, mend=mend)
    try:
        version = _VERSION_DECODER.decode(body).version
        if version <= VERSION:
            return _DECODER.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise RecordError(f"the face record is damaged ({error})", where=where, mend=mend) from error
    raise RecordError(
        f"the face record has version {version}, newer than {VERSION}", where=where, mend="Update Recaster."
    )


class _Versioned(msgspec.Struct):
    """Reads the version alone, because the rest may have changed with it."""

    version: int = VERSION


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(FaceRecord)
_VERSION_DECODER = msgspec.msgpack.Decoder(_Versioned)
