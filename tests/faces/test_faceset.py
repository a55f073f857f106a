"""A folder of faces that people and other programs change as they like."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from recaster.errors import MediaError, RecordError, StorageError
from recaster.faces.embed import write_record
from recaster.faces.faceset import JOURNAL, FaceSet
from recaster.faces.record import record_of
from recaster.types import Face, Picture

MakeFace = Callable[..., Face]


@pytest.fixture
def filled(tmp_path: Path, make_face: MakeFace, crop: Picture) -> FaceSet:
    """Frames 00001 (two faces), 00002 and 00010."""
    faceset = FaceSet(tmp_path / "aligned ä 顔")
    for seed, frame in enumerate(["00001", "00001", "00010", "00002"]):
        faceset.add(make_face(frame, seed), crop, source="clip.mp4", source_size=(640, 360))
    return faceset


def names(faceset: FaceSet) -> list[str]:
    return [stored.path.name for stored in faceset.faces]


def test_what_was_added_is_listed_by_name(filled: FaceSet, crop: Picture) -> None:
    fresh = FaceSet(filled.folder)
    assert names(filled) == names(fresh) == ["00001_0.jpg", "00001_1.jpg", "00002_0.jpg", "00010_0.jpg"]
    assert len(fresh) == 4
    assert not fresh.unreadable
    stored = fresh.faces[1]
    assert (stored.record.source, stored.record.source_size) == ("clip.mp4", (640, 360))
    assert np.abs(stored.picture().astype(int) - crop).mean() < 3


def test_the_table_has_a_row_a_face(filled: FaceSet, make_face: MakeFace) -> None:
    table = filled.table()
    assert table.frame.tolist() == ["00001", "00001", "00002", "00010"]
    assert np.array_equal(table.points[2], make_face("00002", 3).landmarks.points)
    assert {frame: len(rows) for frame, rows in filled.by_frame().items()} == {"00001": 2, "00002": 1, "00010": 1}


def test_a_folder_that_is_not_there_holds_no_faces(tmp_path: Path) -> None:
    assert len(FaceSet(tmp_path / "nothing")) == 0
    assert len(FaceSet(tmp_path / "nothing").table()) == 0


def test_strangers_files_are_listed_with_a_reason(filled: FaceSet, interop: Path, crop: Picture) -> None:
    folder = filled.folder
    (folder / "notes.txt").write_text("hello")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "cut.JPG").write_bytes((folder / "00001_0.jpg").read_bytes()[:500])
    shutil.copy(interop / "dfl" / "aligned" / "00000_0.jpg", folder / "dfl.jpg")
    shutil.copy(interop / "faceswap" / "00000_0.png", folder / "other.png")
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "subfolder.jpg").mkdir()
    (folder / JOURNAL).write_text("")
    assert len(filled) == 4
    filled.refresh()
    assert len(filled) == 4
    assert {path.name: reason for path, reason in filled.unreadable} == {
        "notes.txt": "not a JPEG or PNG picture",
        "empty.jpg": "not a JPEG or PNG picture",
        "cut.JPG": "the picture's header is broken or cut off",
        "dfl.jpg": "no face record",
        "other.png": "no face record",
    }


def test_a_damaged_record_is_listed(filled: FaceSet) -> None:
    path = filled.folder / "00002_0.jpg"
    data = bytearray(path.read_bytes())
    data[300] ^= 1
    path.write_bytes(data)
    assert names(filled) == ["00001_0.jpg", "00001_1.jpg", "00010_0.jpg"]
    assert filled.unreadable == [(path, "the face record is damaged")]


def test_faces_deleted_while_in_use(filled: FaceSet, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = FaceSet(filled.folder)
    files = listed._files()
    monkeypatch.setattr(listed, "_files", lambda: files)
    (filled.folder / "00001_1.jpg").unlink()
    assert names(listed) == ["00001_0.jpg", "00002_0.jpg", "00010_0.jpg"]
    stored = listed.faces[0]
    stored.path.unlink()
    with pytest.raises(MediaError, match=r"00001_0\.jpg"):
        stored.picture()
    assert stored.face.frame == "00001"


def test_renamed_moved_and_merged_faces_keep_their_frame(filled: FaceSet, tmp_path: Path) -> None:
    other = FaceSet(tmp_path / "merged")
    other.folder.mkdir()
    for number, stored in enumerate(filled.faces):
        suffix = ".JPEG" if number else ".jpg"
        shutil.copy(stored.path, other.folder / f"b{number}{suffix}")
    (filled.folder / "00010_0.jpg").rename(other.folder / "a.jpg")
    assert names(other) == ["a.jpg", "b0.jpg", "b1.JPEG", "b2.JPEG", "b3.JPEG"]
    assert [stored.record.frame for stored in other.faces] == ["00010", "00001", "00001", "00002", "00010"]
    filled.refresh()
    assert len(filled) == 3


def test_a_png_face_is_read_too(filled: FaceSet, make_face: MakeFace, interop: Path) -> None:
    path = filled.folder / "zz.PNG"
    shutil.copyfile(interop / "faceswap" / "00000_0.png", path)
    write_record(path, record_of(make_face("77")))
    assert filled.faces[-1].record.frame == "77"
    assert filled.faces[-1].picture().shape == (512, 512, 3)


def test_numbers_follow_and_a_given_one_replaces(filled: FaceSet, make_face: MakeFace, crop: Picture) -> None:
    assert filled.add(make_face("00001"), crop).path.name == "00001_2.jpg"
    before = len(filled)
    assert filled.add(make_face("00001", 9), crop, number=0).path.name == "00001_0.jpg"
    assert len(filled) == before


@pytest.mark.parametrize("frame", ["../../evil", "/etc/x", "a/b", "nul\0"])
def test_a_frame_name_cannot_leave_the_folder(filled: FaceSet, make_face: MakeFace, crop: Picture, frame: str) -> None:
    with pytest.raises(RecordError, match="cannot be part of a file name"):
        filled.add(make_face(frame), crop)


def test_a_read_only_folder_is_one_clear_line(
    filled: FaceSet, make_face: MakeFace, crop: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, data: bytes) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(StorageError, match=r"00003_0\.jpg: cannot be written"):
        filled.add(make_face("00003"), crop)


def test_reading_is_quick(filled: FaceSet) -> None:
    data = filled.faces[0].path.read_bytes()
    for number in range(1000):
        (filled.folder / f"copy_{number}.jpg").write_bytes(data)
    filled.refresh()
    start = time.perf_counter()
    assert len(filled) == 1004
    assert (time.perf_counter() - start) / 1004 < 0.002
