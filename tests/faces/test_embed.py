"""The record inside a picture: the picture's own bytes stay as they were."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import given, strategies as st

from recaster.errors import RecordError
from recaster.faces.embed import read_record, record_in, with_record, without_record, write_record
from recaster.faces.record import Array, FaceRecord, record_of
from recaster.types import Face, Picture


@pytest.fixture(scope="module")
def record(make_face: Callable[..., Face]) -> FaceRecord:
    return record_of(make_face(), source="clip.mp4", source_size=(640, 360))


@pytest.fixture(scope="module", params=[".jpg", ".png"])
def picture(request: pytest.FixtureRequest, crop: Picture) -> bytes:
    return encoded(crop, request.param)


def encoded(crop: Picture, suffix: str) -> bytes:
    return cv2.imencode(suffix, crop[..., ::-1])[1].tobytes()


def pixels(data: bytes) -> Picture:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return image


def segment(code: int, body: bytes) -> bytes:
    return bytes((0xFF, code)) + (len(body) + 2).to_bytes(2, "big") + body


def test_put_in_and_taken_out_leaves_the_file_as_it_was(picture: bytes, record: FaceRecord) -> None:
    with_one = with_record(picture, record)
    assert record_in(picture) is None
    assert record_in(with_one) == record
    assert np.array_equal(pixels(with_one), pixels(picture))
    assert without_record(with_one) == picture
    assert without_record(picture) == picture


def test_replacing_leaves_exactly_one(picture: bytes, record: FaceRecord) -> None:
    other = msgspec.structs.replace(record, person="Anna")
    assert with_record(with_record(picture, record), other) == with_record(picture, other)


@pytest.fixture(scope="module")
def long_record(record: FaceRecord) -> FaceRecord:
    """One that needs two segments of a JPEG."""
    return msgspec.structs.replace(record, dense=Array.of(np.random.default_rng(0).uniform(size=(4096, 3))))


def test_a_long_record_is_split(picture: bytes, long_record: FaceRecord) -> None:
    with_one = with_record(picture, long_record)
    assert record_in(with_one) == long_record
    assert without_record(with_one) == picture


def test_segments_of_others_stay(crop: Picture, record: FaceRecord) -> None:
    plain = encoded(crop, ".jpg")
    pickle_like = segment(0xEF, b"\x80\x04\x95 a stranger's record")
    foreign = plain[:2] + pickle_like + segment(0xE1, b"Exif\0\0" + bytes(40)) + plain[2:]
    assert record_in(foreign) is None
    with_one = with_record(foreign, record)
    behind_the_others = foreign.index(b"\xff\xdb")
    assert with_one.startswith(foreign[:behind_the_others] + b"\xff\xef")
    assert without_record(with_one) == foreign


def test_a_short_segment_of_others_is_passed_over(crop: Picture, record: FaceRecord) -> None:
    plain = encoded(crop, ".jpg")
    for body in (b"", b"Rec", b"Recaster"):
        foreign = plain[:2] + segment(0xEF, body) + plain[2:]
        assert record_in(foreign) is None
        assert record_in(with_record(foreign, record)) == record


def test_fill_bytes_before_a_marker_are_allowed(crop: Picture, record: FaceRecord) -> None:
    data = with_record(encoded(crop, ".jpg"), record)
    assert record_in(data[:2] + b"\xff\xff\xff" + data[2:]) == record


def test_saved_again_by_another_program_the_record_is_gone(picture: bytes, record: FaceRecord) -> None:
    image = pixels(with_record(picture, record))
    again = cv2.imencode(".jpg" if picture.startswith(b"\xff\xd8") else ".png", image)[1].tobytes()
    assert record_in(again) is None


def test_faces_of_other_programs_have_no_record_of_ours(interop: Path) -> None:
    files = [*(interop / "dfl" / "aligned").glob("*.jpg"), *(interop / "faceswap").glob("*.png")]
    assert len(files) == 9
    assert [read_record(path) for path in files] == [None] * 9


def test_a_foreign_record_survives_ours(interop: Path, record: FaceRecord, tmp_path: Path) -> None:
    original = (interop / "dfl" / "aligned" / "00001_0.jpg").read_bytes()
    path = tmp_path / "Gesicht ä 顔.jpg"
    path.write_bytes(original)
    write_record(path, record)
    assert read_record(path) == record
    assert without_record(path.read_bytes()) == original


@given(data=st.data())
def test_any_damage_to_the_file_is_read_or_refused(picture: bytes, record: FaceRecord, data: st.DataObject) -> None:
    whole = with_record(picture, record)
    mutable = bytearray(whole[: data.draw(st.integers(0, len(whole)))] if data.draw(st.booleans()) else whole)
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, 12_000), st.integers(0, 255)), max_size=8)):
        if at < len(mutable):
            mutable[at] = value
    try:
        found = record_in(bytes(mutable), "face.jpg")
    except RecordError as error:
        assert "face.jpg" in str(error)
    else:
        assert found in (record, None)


def test_a_missing_piece_is_noticed(crop: Picture, long_record: FaceRecord) -> None:
    data = with_record(encoded(crop, ".jpg"), long_record)
    full = data.index(b"\xff\xef\xff\xff")
    with pytest.raises(RecordError, match="incomplete"):
        record_in(data[:full] + data[full + 2 + 0xFFFF :])


def test_what_is_no_picture_is_refused() -> None:
    for data in (b"", b"hello", b"GIF89a", b"\xff\xd8", b"\x89PNG\r\n\x1a\n"):
        with pytest.raises(RecordError, match=r"not a JPEG or PNG|broken or cut off"):
            record_in(data)
