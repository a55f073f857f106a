"""The extraction step: what it writes, what it leaves alone, and how it goes on after an interruption."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import recaster
from recaster import files
from recaster.errors import Interrupted, MediaError, MissingError, StorageError, UsageError
from recaster.faces.extract import extract_faces
from recaster.faces.faceset import JOURNAL, FaceSet
from recaster.faces.journal import Journal, run_key
from recaster.faces.options import ExtractOptions
from recaster.media.pictures import read_picture, write_picture
from recaster.media.reader import FrameReader
from recaster.media.writer import FrameWriter
from recaster.progress import Recorded
from recaster.types import Face, Framing, Picture

FRAMES = 20


@pytest.fixture(scope="module")
def clip(fakes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    clip: Path = fakes.paint_clip(tmp_path_factory.mktemp("clip") / "pictures ä 顔", FRAMES)
    return clip


@pytest.fixture(scope="module")
def undisturbed(fakes: ModuleType, clip: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed") / "aligned"
    fakes.run(clip, folder)
    return content(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data src ü" / "aligned"


def content(folder: Path) -> dict[str, bytes]:
    """Everything in the folder but the journal, hidden files too."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != JOURNAL}


def test_faces_are_stored_with_their_records(fakes: ModuleType, clip: Path, folder: Path) -> None:
    progress = Recorded()
    summary = fakes.run(clip, folder, progress=progress)
    faceset = FaceSet(folder)
    assert not faceset.unreadable
    by_frame = {name: len(faces) for name, faces in faceset.by_frame().items()}
    expected = {f"{i:03d}": (i % 7 != 3) + (i % 3 == 1) for i in range(FRAMES)}
    assert by_frame == {name: count for name, count in expected.items() if count}
    assert (summary.frames, summary.faces) == (FRAMES, sum(expected.values()))
    assert summary.frames_with_faces == len(by_frame)
    assert summary.misses == summary.gaps == FRAMES - len(by_frame)
    assert not summary.skipped
    first, second = faceset.by_frame()["001"]
    assert [first.path.name, second.path.name] == ["001_0.jpg", "001_1.jpg"]
    assert first.face.box == (21, 30, 61, 70)
    assert second.face.box == (110, 70, 140, 100)
    assert (first.record.source, first.record.source_size) == (clip.name, (160, 120))
    assert first.face.quality > 0
    assert first.picture().shape == (256, 256, 3)
    assert (progress.done, progress.figures["faces"]) == (FRAMES, summary.faces)


def test_frames_go_through_the_networks_in_batches(fakes: ModuleType, clip: Path, folder: Path) -> None:
    detector = fakes.SquareDetector()
    fakes.run(clip, folder, detector=detector)
    assert detector.batches == [8, 8, 4]


def test_the_second_run_does_nothing(fakes: ModuleType, clip: Path, folder: Path) -> None:
    first = fakes.run(clip, folder)
    (folder / "001_0.jpg").unlink()
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    detector = fakes.SquareDetector()
    second = fakes.run(clip, folder, detector=detector)
    assert detector.seen == 0
    assert second.skipped
    assert (second.faces, second.misses, second.jitter) == (first.faces, first.misses, first.jitter)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


class StopAfter(Recorded):
    """Asks to stop after so many batches."""

    def __init__(self, batches: int) -> None:
        super().__init__()
        self.left = batches

    def advance(self, count: int = 1, **figures: float) -> None:
        self.left -= 1
        if not self.left:
            raise Interrupted("stopped")


def test_stopped_on_request_it_goes_on_and_deleted_faces_stay_deleted(
    fakes: ModuleType, clip: Path, folder: Path, undisturbed: dict[str, bytes]
) -> None:
    with pytest.raises(Interrupted):
        fakes.run(clip, folder, progress=StopAfter(1))
    (folder / "001_1.jpg").unlink()
    detector = fakes.SquareDetector()
    summary = fakes.run(clip, folder, detector=detector)
    assert detector.batches == [8, 4]
    assert content(folder) == {name: data for name, data in undisturbed.items() if name != "001_1.jpg"}
    assert summary.faces == len(undisturbed)


class PowerCut(BaseException):
    """The process is gone: nothing catches this."""


def test_cut_off_at_any_step_of_writing_it_ends_with_the_same_files(
    fakes: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = fakes.paint_clip(tmp_path / "clip", 10)
    fakes.run(clip, tmp_path / "calm")
    calm = content(tmp_path / "calm")
    real = files.flush_to_disk
    steps = 0
    while True:
        steps += 1
        left = steps
        folder = tmp_path / f"cut at {steps}"

        def flush(path: Path) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise PowerCut
            if left > 0:
                real(path)

        monkeypatch.setattr(files, "flush_to_disk", flush)
        try:
            fakes.run(clip, folder)
        except PowerCut:
            left = 0
            fakes.run(clip, folder)
            assert content(folder) == calm, f"cut at step {steps}"
            shutil.rmtree(folder)
            continue
        break
    assert steps > 2 * len(calm)


def kill_and_finish(fakes: ModuleType, clip: Path, folder: Path, kills: int, patience: random.Random) -> int:
    """Start the extraction as a process, kill it ``kills`` times in its work, and finish; how many kills hit."""
    environment = {**os.environ, "PYTHONPATH": str(Path(recaster.__file__).parents[1])}
    hits = 0
    for _ in range(kills):
        at_start = len(Journal(folder / JOURNAL, run_key(clip, ExtractOptions(size=256))).frames)
        child = subprocess.Popen([sys.executable, str(fakes.__file__), str(clip), str(folder)], env=environment)
        try:
            deadline = time.monotonic() + 60
            while child.poll() is None and time.monotonic() < deadline:
                if len(Journal(folder / JOURNAL, run_key(clip, ExtractOptions(size=256))).frames) > at_start:
                    break
                time.sleep(0.002)
            time.sleep(patience.uniform(0, 0.05))
        finally:
            child.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
            hits += child.wait() != 0
    fakes.run(clip, folder)
    return hits


def test_killed_twice_it_ends_with_the_same_files(
    fakes: ModuleType, clip: Path, folder: Path, undisturbed: dict[str, bytes]
) -> None:
    assert kill_and_finish(fakes, clip, folder, 2, random.Random(1)) >= 1
    assert content(folder) == undisturbed


@pytest.mark.slow
def test_killed_ten_times_it_ends_with_the_same_files(fakes: ModuleType, tmp_path: Path) -> None:
    clip = fakes.paint_clip(tmp_path / "clip", 150)
    fakes.run(clip, tmp_path / "calm")
    assert kill_and_finish(fakes, clip, tmp_path / "killed", 10, random.Random(2)) >= 8
    assert content(tmp_path / "killed") == content(tmp_path / "calm")


def test_other_options_move_the_old_faces_to_the_trash_and_leave_strangers(
    fakes: ModuleType, clip: Path, folder: Path, make_face: Callable[..., Face], crop: Picture
) -> None:
    first = ExtractOptions(size=256, debug=True)
    fakes.run(clip, folder, first)
    old = content(folder)
    (folder / "001_0.jpg").rename(folder / "renamed by hand.jpg")
    copied = FaceSet(folder).add(make_face("00077"), crop, run="another extraction")
    (folder / "notes.txt").write_text("keep me")
    (folder / "holiday.jpg").write_bytes(b"\xff\xd8 a stranger's picture")
    progress = Recorded()
    fakes.run(clip, folder, first.with_values(framing=Framing.FULL, debug=False), progress)
    kept = content(folder)
    assert {"notes.txt", "holiday.jpg", copied.path.name} < kept.keys()
    assert "renamed by hand.jpg" not in kept
    assert {stored.record.framing for stored in FaceSet(folder) if stored.record.frame != "00077"} == {Framing.FULL}
    (trash,) = folder.with_name("aligned_trash").iterdir()
    trashed = {path.name: path.read_bytes() for path in trash.glob("*.jpg")}
    assert sorted(trashed.values()) == sorted(old.values())
    assert len(list((trash / "aligned_debug").iterdir())) == FRAMES
    assert not folder.with_name("aligned_debug").exists()
    assert any("were moved to" in note for note in progress.notes)


def test_another_clip_of_the_same_name_starts_afresh(fakes: ModuleType, tmp_path: Path) -> None:
    clip, folder = tmp_path / "clip", tmp_path / "aligned"
    fakes.paint_clip(clip, 5)
    fakes.run(clip, folder)
    shutil.rmtree(clip)
    fakes.paint_clip(clip, 3)
    assert fakes.run(clip, folder).frames == 3
    assert set(FaceSet(folder).by_frame()) == {"000", "001", "002"}


def test_killed_while_old_faces_move_none_is_left_behind(
    fakes: ModuleType, clip: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes.run(clip, folder)
    other = ExtractOptions(size=256, framing=Framing.FULL)
    real, moves = Path.replace, 0

    def replace(self: Path, target: Path) -> Path:
        nonlocal moves
        moves += self.suffix == ".jpg"
        if moves == 4:
            raise PowerCut
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        with pytest.raises(PowerCut):
            fakes.run(clip, folder, other)
    fakes.run(clip, folder, other)
    assert {stored.record.framing for stored in FaceSet(folder)} == {Framing.FULL}


def test_a_stranger_under_a_face_s_name_is_moved_not_lost(
    fakes: ModuleType, clip: Path, folder: Path, undisturbed: dict[str, bytes]
) -> None:
    folder.mkdir(parents=True)
    (folder / "001_0.jpg").write_bytes(b"not ours")
    fakes.run(clip, folder)
    assert content(folder) == undisturbed
    (moved,) = folder.with_name("aligned_trash").glob("*/001_0.jpg")
    assert moved.read_bytes() == b"not ours"


def test_a_lost_journal_costs_time_only(
    fakes: ModuleType, clip: Path, folder: Path, undisturbed: dict[str, bytes]
) -> None:
    fakes.run(clip, folder)
    (folder / JOURNAL).unlink()
    fakes.run(clip, folder)
    assert content(folder) == undisturbed
    assert not folder.with_name("aligned_trash").exists()


def test_an_unreadable_picture_is_reported_and_the_rest_goes_on(
    fakes: ModuleType, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    clip = fakes.paint_clip(tmp_path / "clip", FRAMES)
    for name in ("005.png", "019.png"):
        (clip / name).write_bytes((clip / name).read_bytes()[:200])
    summary = fakes.run(clip, tmp_path / "aligned")
    assert [name for name, _ in summary.unreadable] == ["005", "019"]
    assert summary.unreadable[0][1] == "the picture is truncated"
    assert summary.frames == FRAMES
    assert content(tmp_path / "aligned").keys() == {n for n in undisturbed if n[:3] not in {"005", "019"}}


def test_one_frame_and_no_face(fakes: ModuleType, tmp_path: Path) -> None:
    one = fakes.run(fakes.paint_clip(tmp_path / "one", 1), tmp_path / "aligned one")
    assert (one.frames, one.faces, one.jitter) == (1, 1, None)
    write_picture(tmp_path / "none" / "a.png", fakes.paint([]))
    none = fakes.run(tmp_path / "none", tmp_path / "aligned none")
    assert (none.frames, none.faces, none.misses, none.gaps) == (1, 0, 1, 0)
    assert content(tmp_path / "aligned none") == {}
    assert fakes.run(tmp_path / "none", tmp_path / "aligned none").skipped


def test_a_missing_clip_or_device_leaves_the_faces_alone(
    fakes: ModuleType, clip: Path, folder: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    fakes.run(clip, folder)
    with pytest.raises(MissingError):
        fakes.run(tmp_path / "gone.mp4", folder)
    (tmp_path / "text.mp4").write_text("hello")
    with pytest.raises(MediaError):
        fakes.run(tmp_path / "text.mp4", folder)
    with pytest.raises(UsageError, match="abacus"):
        extract_faces(clip, folder, ExtractOptions(size=512, device="abacus"))
    assert content(folder) == undisturbed
    assert fakes.run(clip, folder).skipped


def test_a_folder_that_cannot_be_written(
    fakes: ModuleType, clip: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, data: bytes) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(StorageError, match="cannot be written"):
        fakes.run(clip, folder)


def test_debug_pictures_show_every_frame(fakes: ModuleType, clip: Path, folder: Path) -> None:
    fakes.run(clip, folder, ExtractOptions(size=256, debug=True))
    drawn = sorted(folder.with_name("aligned_debug").iterdir())
    assert [path.name for path in drawn] == [f"{i:03d}.jpg" for i in range(FRAMES)]
    empty, full = read_picture(drawn[3]).astype(int), read_picture(drawn[0]).astype(int)
    plain = fakes.paint([(20, 30, 40)]).astype(int)
    assert np.abs(empty - fakes.paint([], 3)).mean() < 4
    assert np.abs(full - plain).mean() > 4


@pytest.fixture(scope="module")
def video(fakes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "clip.mkv"
    with FrameWriter(path, width=160, height=120, rate=Fraction(25)) as writer:
        for index in range(40):
            writer.write(fakes.paint([(20 + index, 30, 40)], index))
    return path


def test_a_video_goes_on_in_the_middle_with_the_same_faces(fakes: ModuleType, video: Path, tmp_path: Path) -> None:
    fakes.run(video, tmp_path / "calm")
    for stop in (1, 3):
        folder = tmp_path / f"stopped {stop}"
        with pytest.raises(Interrupted):
            fakes.run(video, folder, progress=StopAfter(stop))
        assert len(content(folder)) == 8 * stop
        fakes.run(video, folder)
        assert content(folder) == content(tmp_path / "calm")
    assert sorted(content(tmp_path / "calm"))[-1] == "00040_0.jpg"


def test_a_truncated_video_keeps_what_it_has_and_says_so(fakes: ModuleType, video: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mkv"
    data = video.read_bytes()
    cut.write_bytes(data[: len(data) * 2 // 3])
    folder = tmp_path / "aligned"
    with pytest.raises(
        MediaError, match=r"cut\.mkv: the video ends too early; its \d+ readable frames are done"
    ) as error:
        fakes.run(cut, folder)
    faces = content(folder)
    assert 8 < len(faces) < 40
    assert f"{len(faces)} faces are kept" in str(error.value)
    detector = fakes.SquareDetector()
    with pytest.raises(MediaError, match="ends too early"):
        fakes.run(cut, folder, detector=detector)
    assert detector.seen == 0
    assert content(folder) == faces


def test_real_networks_on_a_short_piece(clips: Path, tmp_path: Path) -> None:
    options = ExtractOptions(device="cpu", size=256)
    clip = tmp_path / "pictures"
    with FrameReader(clips / "man_smile.mp4") as reader:
        for frame in reader.frames(0, 4):
            write_picture(clip / f"{frame.name}.png", frame.image)
    summary = extract_faces(clip, tmp_path / "aligned", options)
    assert (summary.frames, summary.frames_with_faces, summary.faces) == (4, 4, 4)
    table = FaceSet(tmp_path / "aligned").table()
    assert np.ptp(table.points.mean(axis=1), axis=0).max() < 10
    assert np.abs(table.pose).max() < 40


@pytest.mark.slow
def test_every_frame_of_a_real_clip_has_its_one_face(clips: Path, tmp_path: Path) -> None:
    summary = extract_faces(clips / "man_smile.mp4", tmp_path / "aligned", ExtractOptions(device="cpu"))
    assert (summary.frames, summary.frames_with_faces, summary.faces, summary.misses) == (72, 72, 72, 0)
    assert summary.jitter is not None
    assert summary.jitter < 3
