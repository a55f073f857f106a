"""A file is there whole, or as it was, or not at all."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from recaster.errors import StorageError
from recaster.files import (
    atomic_folder,
    atomic_path,
    list_pictures,
    part_path,
    remove_leftovers,
    sha256_file,
    write_bytes,
    write_text,
)


def test_write_and_replace(tmp_path: Path) -> None:
    path = tmp_path / "Ordner mit Ümlaut" / "Gesicht 1.txt"
    write_text(path, "eins")
    write_bytes(path, b"zwei")
    assert path.read_bytes() == b"zwei"
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "result.mp4"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), atomic_path(path) as part:
        part.write_bytes(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["result.mp4"]


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "disk is full"), (errno.EROFS, "cannot be written"), (errno.EACCES, "cannot be written")],
)
def test_the_disk_says_no(tmp_path: Path, number: int, words: str) -> None:
    path = tmp_path / "face.jpg"
    with pytest.raises(StorageError, match=words) as caught, atomic_path(path):
        raise OSError(number, "no")
    assert str(path) in str(caught.value)


def test_the_part_keeps_the_suffix_and_is_hidden(tmp_path: Path) -> None:
    assert part_path(tmp_path / "a.b.mp4").name == ".a.b.part.mp4"


def test_leftovers_of_a_killed_run_are_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".00001_0.part.jpg").write_bytes(b"torn")
    (tmp_path / ".00000100.part").mkdir()
    (tmp_path / ".hidden").write_bytes(b"someone's")
    (tmp_path / "00001_0.jpg").write_bytes(b"good")
    remove_leftovers(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".hidden", "00001_0.jpg"]
    remove_leftovers(tmp_path / "not there")


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "checkpoint") as part:
        (part / "weights").write_bytes(b"half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with atomic_folder(tmp_path / "checkpoint") as part:
        (part / "weights").write_bytes(b"whole")
    assert (tmp_path / "checkpoint" / "weights").read_bytes() == b"whole"


def test_pictures_are_sorted_and_strangers_are_not_pictures(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", ".c.part.jpg", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [p.name for p in list_pictures(tmp_path)] == ["a.jpg", "b.PNG"]


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert sha256_file(tmp_path / "empty").startswith("e3b0c44298fc1c149afbf4c8996fb924")
