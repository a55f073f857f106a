"""The folder a job lives in: what is in it, what its settings may say, and that the originals stay as they were."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from recaster.errors import InputError, MediaError, MissingError, StorageError, UsageError
from recaster.faces.options import ExtractOptions
from recaster.media.pictures import write_picture
from recaster.media.writer import FrameWriter
from recaster.project import workspace as module
from recaster.project.workspace import SETTINGS, Workspace, create_workspace
from recaster.train.options import TrainOptions


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "Aufnahme 1 – ünï 日本.MP4"
    with FrameWriter(path.with_suffix(".mp4"), width=32, height=32, rate=25) as writer:
        for level in (0, 90, 180):
            writer.write(np.full((32, 32, 3), level, np.uint8))
    return path.with_suffix(".mp4").rename(path)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "Bilder 2"
    for number in range(3):
        write_picture(folder / f"Bild {number}.png", np.full((16, 16, 3), 80 * number, np.uint8))
    (folder / "notes.txt").write_text("not a picture")
    return folder


@pytest.fixture
def place(tmp_path: Path, clip: Path) -> Workspace:
    return create_workspace(tmp_path / "mein Film", clip, clip)


def settings(place: Workspace, text: str) -> Workspace:
    place.settings_file.write_text(text, encoding="utf-8")
    return Workspace.open(place.folder)


def test_a_new_workspace_has_the_usual_names(tmp_path: Path, clip: Path, pictures: Path) -> None:
    place = create_workspace(tmp_path / "deep" / "mein Film", clip, pictures)
    assert place.source("src") == place.folder / "data_src.mp4"
    assert place.source("dst") == place.folder / "data_dst"
    assert sorted(path.name for path in place.folder.iterdir()) == [
        "data_dst",
        "data_src",
        "data_src.mp4",
        "model",
        SETTINGS,
    ]
    assert sorted(path.name for path in place.source("dst").iterdir()) == [
        "Bild 0.png",
        "Bild 1.png",
        "Bild 2.png",
        "aligned",
    ]
    assert Workspace.open(place.folder) == place


def test_nothing_in_the_settings_names_a_place_on_this_machine(place: Workspace, tmp_path: Path) -> None:
    place.remember("train", TrainOptions(iterations=5))
    assert str(tmp_path) not in place.settings_file.read_text(encoding="utf-8")
    moved = place.folder.rename(tmp_path / "moved")
    assert Workspace.open(moved).options("train", TrainOptions).iterations == 5
    assert Workspace.open(moved).source("dst") == moved / "data_dst.mp4"


def test_the_originals_stay_as_they_were(place: Workspace, clip: Path) -> None:
    data = clip.read_bytes()
    place.source("src").unlink()
    shutil.rmtree(place.folder)
    assert clip.read_bytes() == data


def test_a_clip_is_copied_where_it_cannot_be_linked(
    tmp_path: Path, clip: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: object, target: object) -> None:
        raise OSError(errno.EXDEV, "another disk")

    monkeypatch.setattr(module.os, "link", refuse)
    place = create_workspace(tmp_path / "film", clip, pictures)
    assert place.source("src").read_bytes() == clip.read_bytes()
    assert not place.source("src").samefile(clip)
    assert (place.source("dst") / "Bild 1.png").read_bytes() == (pictures / "Bild 1.png").read_bytes()


def test_a_link_does_not_need_the_right_to_write_the_clip(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    monkeypatch.setattr(module, "atomic_path", lambda path: opened.append(path))
    place = create_workspace(tmp_path / "film", clip, clip)
    assert place.source("src").samefile(clip)
    assert opened == []


def test_a_clip_without_a_suffix_is_taken(tmp_path: Path, clip: Path) -> None:
    place = create_workspace(tmp_path / "film", clip.rename(tmp_path / "take"), tmp_path / "take")
    assert place.source("src").name == "data_src.mp4"


def test_clips_that_lie_there_already_are_used(tmp_path: Path, clip: Path) -> None:
    folder = tmp_path / "film"
    folder.mkdir()
    shutil.copy(clip, folder / "data_dst.mov")
    with pytest.raises(UsageError, match="--src is missing"):
        create_workspace(folder, None, None)
    with pytest.raises(UsageError, match="already holds a data_dst clip"):
        create_workspace(folder, clip, clip)
    place = create_workspace(folder, clip, None)
    assert place.source("dst") == folder / "data_dst.mov"


def test_a_second_workspace_in_one_folder_is_refused(place: Workspace, clip: Path) -> None:
    before = sorted(place.folder.rglob("*"))
    with pytest.raises(UsageError, match="workspace already"):
        create_workspace(place.folder, clip, clip)
    assert sorted(place.folder.rglob("*")) == before


def test_a_file_is_no_place_for_a_workspace(tmp_path: Path, clip: Path) -> None:
    with pytest.raises(UsageError, match="this is a file"):
        create_workspace(clip, clip, clip)
    assert clip.stat().st_size


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "there is no such file or folder"),
        (b"", "the file is empty"),
        (b"Dear diary, no video today.\n" * 40, "is not a video that can be read"),
        (b"\0\0\0\x10ftypisom\0\0\0\0\0\0\x40\0mdat" + b"\0" * 4000, "cut off before its index"),
    ],
)
def test_a_clip_that_cannot_be_opened_makes_no_workspace(
    tmp_path: Path, clip: Path, content: bytes | None, problem: str
) -> None:
    bad = tmp_path / "bad clip.mp4"
    if content is not None:
        bad.write_bytes(content)
    with pytest.raises(InputError, match=problem) as caught:
        create_workspace(tmp_path / "film", clip, bad)
    assert caught.value.where == str(bad)
    assert not (tmp_path / "film").exists()


def test_a_folder_without_pictures_makes_no_workspace(tmp_path: Path, clip: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no pictures"):
        create_workspace(tmp_path / "film", clip, tmp_path / "empty")
    assert not (tmp_path / "film").exists()


def test_a_full_disk_leaves_nothing_half_made(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module.os, "link", refuse)
    monkeypatch.setattr(module.shutil, "copyfile", refuse)
    with pytest.raises(StorageError, match="the disk is full"):
        create_workspace(tmp_path / "film", clip, clip)
    assert not (tmp_path / "film").exists()
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "notes.txt").write_text("mine")
    with pytest.raises(StorageError):
        create_workspace(tmp_path / "kept", clip, clip)
    assert (tmp_path / "kept" / "notes.txt").read_text() == "mine"


def test_a_folder_that_is_no_workspace_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"not a workspace.*recast new"):
        Workspace.open(tmp_path)
    with pytest.raises(MissingError, match="not a workspace"):
        Workspace.open(tmp_path / "nowhere")


def test_a_missing_clip_says_where_to_put_it(place: Workspace) -> None:
    place.source("dst").unlink()
    with pytest.raises(MissingError, match=r"no data_dst clip.*data_dst\.mp4"):
        place.source("dst")


def test_a_newer_format_is_refused_before_its_new_tables_are(place: Workspace) -> None:
    with pytest.raises(InputError, match=r"newer Recaster.*Update"):
        settings(place, "[workspace]\nformat = 2\n[wonders]\nnew = true\n")


def test_options_are_remembered_overridden_and_forgotten_at_their_default(place: Workspace) -> None:
    first = place.options("extract.src", ExtractOptions, {"detector": "fast", "size": 300})
    place.remember("extract.src", first)
    assert place.options("extract.src", ExtractOptions).detector == "fast"
    assert place.options("extract.src", ExtractOptions, {"size": 512}).size == 512
    assert place.options("extract.dst", ExtractOptions) == ExtractOptions()
    place.remember("extract.src", ExtractOptions(size=300))
    assert place.section("extract.src") == {"size": 300}
    place.remember("extract.src", ExtractOptions())
    assert place.section("extract") == {}


def test_remembering_one_table_leaves_the_others(place: Workspace) -> None:
    place.store("train", {"iterations": 7, "h64": {"light": True}}, known={"iterations"})
    place.remember("train", TrainOptions(iterations=9))
    assert place.section("train") == {"iterations": 9, "h64": {"light": True}}
    assert place.section("workspace") == {"format": 1}


def test_what_has_not_changed_is_not_written(place: Workspace) -> None:
    place.remember("train", TrainOptions(iterations=9, minutes=2.5))
    os.utime(place.settings_file, ns=(1, 1))
    place.remember("train", TrainOptions(iterations=9, minutes=2.5))
    assert place.settings_file.stat().st_mtime_ns == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[train]\nbatch_sise = 4\n", r"\[train\].*unknown option 'batch_sise'; known: .*batch_size"),
        ("[train]\nbatch_size = 'four'\n", "batch_size"),
        ("[train]\nbatch_size = 4000\n", r"batch_size.*allowed: 0\.\.1024"),
        ("train = 3\n", r"\[train\] must be a table"),
    ],
)
def test_a_mistake_in_an_option_names_the_file_and_the_option(place: Workspace, text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem) as caught:
        settings(place, text).options("train", TrainOptions)
    assert SETTINGS in (caught.value.where or "")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[trian]\nbatch_size = 4\n", r"unknown entry \[trian\]"),
        ("[extract]\ndetector = 'fast'\n", r"unknown entry \[extract.detector\].*extract.src, extract.dst"),
        ("[train\n", "not valid TOML"),
        ("a = \x00", "not valid TOML"),
    ],
)
def test_a_misspelt_table_is_not_ignored(place: Workspace, text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        settings(place, text)


def test_settings_in_another_encoding_are_a_mistake_and_no_crash(place: Workspace) -> None:
    place.settings_file.write_bytes("[people]\nsrc = 'Müller'\n".encode("latin-1"))
    with pytest.raises(UsageError, match="not valid TOML"):
        Workspace.open(place.folder)


@pytest.mark.parametrize("note", [b"", b"{", b"[1]", b"\xff\xfe"])
def test_an_unreadable_note_of_a_step_counts_as_none(place: Workspace, note: bytes) -> None:
    place.note_state("merge", {"sha256": "x"})
    assert place.state("merge") == {"sha256": "x"}
    (place.folder / ".recaster" / "merge.json").write_bytes(note)
    assert place.state("merge") == {}


def test_a_video_without_a_picture_makes_no_workspace(tmp_path: Path, clip: Path) -> None:
    import av

    sound = tmp_path / "only sound.mp4"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 2048), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 8000
        container.mux(stream.encode(silence))
        container.mux(stream.encode(None))
    with pytest.raises(MediaError, match="no video stream"):
        create_workspace(tmp_path / "film", clip, sound)
