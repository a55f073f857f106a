"""The face record: what goes in comes out, and damage is one kind of error."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from recaster.errors import RecordError
from recaster.faces.record import MAGIC, MAX_BYTES, FaceRecord, decode_record, encode_record, face_of, record_of
from recaster.types import Alignment, Face, Framing, Landmarks, Pose

pixel = st.floats(-1e6, 1e6, width=32)
name = st.text(st.characters(blacklist_categories=["Cs"]), max_size=40)


@st.composite
def faces(draw: st.DrawFn) -> Face:
    dense = st.tuples(st.integers(0, 500), st.sampled_from([2, 3])).flatmap(
        lambda s: arrays(np.float32, s, elements=pixel)
    )
    confidence = arrays(np.float32, 68, elements=st.floats(0, 1, width=32))
    return Face(
        frame=draw(name),
        box=draw(st.tuples(pixel, pixel, pixel, pixel)),
        landmarks=Landmarks(
            draw(arrays(np.float32, (68, 2), elements=pixel)),
            draw(st.none() | dense),
            draw(st.none() | confidence),
            draw(st.sampled_from(["auto", "manual", "tracked"])),
        ),
        pose=Pose(*draw(st.tuples(pixel, pixel, pixel))),
        alignment=Alignment(
            draw(arrays(np.float64, (2, 3), elements=st.floats(-1e9, 1e9))),
            draw(st.integers(16, 2048)),
            draw(st.sampled_from(Framing)),
        ),
        score=draw(pixel),
        quality=draw(pixel),
        track=draw(st.integers(-1, 10**6)),
        person=draw(name),
        embedding=draw(st.none() | arrays(np.float32, st.integers(0, 128), elements=pixel)),
    )


def same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if hasattr(one, "__dataclass_fields__"):
        return all(same(getattr(one, field), getattr(other, field)) for field in one.__dataclass_fields__)
    return bool(one == other)


@given(faces(), name, st.tuples(st.integers(0, 8192), st.integers(0, 8192)))
def test_a_face_survives_the_trip(face: Face, source: str, size: tuple[int, int]) -> None:
    record = record_of(face, source=source, source_size=size, run="abc")
    again = decode_record(encode_record(record))
    assert again == record
    assert (again.source, again.source_size, again.run) == (source, size, "abc")
    assert same(face_of(again), face)


def test_the_record_says_who_wrote_it(make_face: Callable[..., Face]) -> None:
    record = record_of(make_face())
    assert record.software.startswith("Recaster ")
    assert record.version == 1
    assert len(encode_record(record)) < 9_000


@pytest.fixture(scope="module")
def sound(make_face: Callable[..., Face]) -> bytes:
    return encode_record(record_of(make_face(dense=False), source="clip.mp4"))


def decoded_or_refused(data: bytes) -> FaceRecord | None:
    try:
        return decode_record(data, "face.jpg")
    except RecordError as error:
        assert str(error).startswith("face.jpg: ")
        return None


@given(data=st.data())
def test_any_changed_byte_is_noticed(sound: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(sound) - 1))
    flip = data.draw(st.integers(1, 255))
    changed = sound[:at] + bytes([sound[at] ^ flip]) + sound[at + 1 :]
    assert decoded_or_refused(changed) is None


@given(data=st.data())
def test_changes_under_a_right_checksum_decode_or_are_refused(sound: bytes, data: st.DataObject) -> None:
    body = bytearray(sound[8:])
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(body) - 1), st.integers(0, 255)), max_size=6)):
        body[at] = value
    cut = bytes(body[: data.draw(st.integers(0, len(body)))]) if data.draw(st.booleans()) else bytes(body)
    record = decoded_or_refused(MAGIC + zlib.crc32(cut).to_bytes(4, "little") + cut)
    if record is not None:
        assert same(face_of(record), face_of(decode_record(encode_record(record))))


@given(st.binary(max_size=300))
def test_strangers_bytes_are_refused(data: bytes) -> None:
    assert decoded_or_refused(data) is None


def sealed(body: bytes) -> bytes:
    return MAGIC + zlib.crc32(body).to_bytes(4, "little") + body


def test_deep_nesting_and_giants_are_refused(sound: bytes) -> None:
    assert decoded_or_refused(sealed(b"\x81\xa1x" + b"\x91" * 100_000 + b"\xc0")) is None
    assert decoded_or_refused(sealed(b"\xdf\xff\xff\xff\xff")) is None
    with pytest.raises(RecordError, match="too long"):
        decode_record(sound + bytes(MAX_BYTES))


def fields_of(sound: bytes) -> dict[str, Any]:
    values: dict[str, Any] = msgspec.msgpack.decode(sound[8:])
    return values


def test_unknown_fields_of_a_newer_program_are_skipped(sound: bytes) -> None:
    body = msgspec.msgpack.encode({**fields_of(sound), "polygons": [[1, 2], {"kind": 3}]})
    assert decode_record(sealed(body)) == decode_record(sound)


def test_a_newer_version_is_named(sound: bytes) -> None:
    body = msgspec.msgpack.encode({"version": 7, "everything": "else"})
    with pytest.raises(RecordError, match=r"version 7, newer than 1\. Update Recaster"):
        decode_record(sealed(body))


@pytest.mark.parametrize(
    "change",
    [
        {"points": ["f4", [68, 3], bytes(68 * 3 * 4)]},
        {"points": ["f4", [68, 2], bytes(68 * 2 * 4 - 1)]},
        {"points": ["f4", [68, 2], np.full((68, 2), np.nan, "<f4").tobytes()]},
        {"points": ["f4", [4096, 4096, 4096, 4096], b""]},
        {"points": ["f4", [-68, -2], bytes(68 * 2 * 4)]},
        {"frame_to_crop": ["f8", [3, 3], bytes(72)]},
        {"confidence": ["f4", [67], bytes(67 * 4)]},
        {"dense": ["f4", [10, 4], bytes(160)]},
        {"embedding": ["f4", [2, 2], bytes(16)]},
        {"framing": "portrait"},
        {"size": 0},
        {"size": 10**6},
        {"score": float("nan")},
        {"box": [0.0, 0.0, float("inf"), 1.0]},
        {"frame": "x" * 2000},
        {"track": 10**12},
    ],
    ids=lambda change: next(iter(change)),
)
def test_values_that_make_no_sense_are_refused(sound: bytes, change: dict[str, Any]) -> None:
    with pytest.raises(RecordError, match="damaged"):
        decode_record(sealed(msgspec.msgpack.encode({**fields_of(sound), **change})))
