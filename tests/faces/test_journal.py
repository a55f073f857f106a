"""The extraction's memory survives a kill in the middle of a line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from recaster.errors import MissingError
from recaster.faces.journal import Complete, Finished, Journal, run_key
from recaster.faces.options import ExtractOptions
from recaster.faces.summary import FrameResult, summarize

BATCH = Finished((FrameResult("00001", 2), FrameResult("00002", 0, 1, "")), 0.5)
OTHER = Finished((FrameResult("00003 ä", problem="cut off"),), 0.25)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    journal = Journal(tmp_path / "aligned" / "extract.journal", "key a")
    journal.begin()
    journal.append(BATCH)
    journal.append(OTHER)
    return journal.path


def test_what_was_written_is_read(path: Path) -> None:
    journal = Journal(path, "key a")
    assert journal.frames == [*BATCH.frames, *OTHER.frames]
    assert (journal.faces, journal.seconds, journal.summary) == (2, 0.75, None)
    summary = summarize(journal.frames, [], 0.75)
    journal.append(Complete(summary))
    assert Journal(path, "key a").summary == summary


def test_a_line_counts_only_when_it_is_whole(path: Path) -> None:
    data = path.read_bytes()
    ends = [i + 1 for i in range(len(data)) if data[i : i + 1] == b"\n"]
    for cut in sorted({*range(0, len(data), 9), *ends, *(end - 1 for end in ends)} - {len(data)}):
        path.write_bytes(data[:cut])
        journal = Journal(path, "key a")
        assert len(journal.frames) == (0 if cut < ends[1] else 2 if cut < ends[2] else 3)
        assert path.read_bytes() == data[:cut], "reading changes nothing"
        journal.begin()
        journal.append(OTHER)
        again = Journal(path, "key a")
        assert again.frames == journal.frames
        assert again.frames[-1] == OTHER.frames[0]


def test_a_damaged_line_ends_the_memory(path: Path) -> None:
    lines = path.read_bytes().split(b"\n")
    for bad in (b"garbage", b"\xff\xfe", b"{}", b"[" * 100_000, b'{"type":"frames"}'):
        path.write_bytes(b"\n".join([lines[0], bad, *lines[2:]]))
        assert Journal(path, "key a").frames == []


def test_another_run_starts_afresh_and_knows_whom_it_replaces(path: Path) -> None:
    journal = Journal(path, "key b")
    assert (journal.frames, journal.header.replaces) == ([], ("key a",))
    journal.begin()
    assert Journal(path, "key b").header.replaces == ("key a",)
    assert Journal(path, "key c").header.replaces == ("key a", "key b"), "b never cleared a's faces away"
    assert Journal(path, "key a").header.replaces == ("key b",)
    journal.append(BATCH)
    assert Journal(path, "key c").header.replaces == ("key b",)


def test_a_video_is_known_by_its_content(tmp_path: Path) -> None:
    data = bytes(range(256)) * 20_000
    video = tmp_path / "a.mp4"
    video.write_bytes(data)
    key = run_key(video, ExtractOptions())
    moved = video.rename(tmp_path / "b ä.mp4")
    os.utime(moved, (1, 1))
    assert run_key(moved, ExtractOptions()) == key
    for at in (0, len(data) // 32 * 7, len(data) - 1):
        changed = bytearray(data)
        changed[at] ^= 1
        moved.write_bytes(changed)
        assert run_key(moved, ExtractOptions()) != key
    moved.write_bytes(data + b"x")
    assert run_key(moved, ExtractOptions()) != key


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1])
def test_small_files_have_keys_too(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(size))
    assert len(run_key(path, ExtractOptions())) == 32


def test_a_folder_is_known_by_names_and_sizes(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"one")
    key = run_key(tmp_path, ExtractOptions())
    (tmp_path / "notes.txt").write_bytes(b"no picture")
    assert run_key(tmp_path, ExtractOptions()) == key
    (tmp_path / "2.png").write_bytes(b"two")
    assert run_key(tmp_path, ExtractOptions()) != key


def test_only_options_that_change_the_faces_count(tmp_path: Path) -> None:
    key = run_key(tmp_path, ExtractOptions())
    assert run_key(tmp_path, ExtractOptions(device="cpu", batch=2)) == key
    assert run_key(tmp_path, ExtractOptions(size=512)) != key


def test_a_missing_clip_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"nothing\.mp4: there is no such video"):
        run_key(tmp_path / "nothing.mp4", ExtractOptions())
