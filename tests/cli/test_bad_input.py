"""What a user may hand in by mistake or misfortune: one clear line, the right exit code, and nothing lost."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from recaster.media.pictures import write_picture
from recaster.media.reader import FrameReader
from recaster.media.writer import FrameWriter

Recast = Callable[..., Any]


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def kept(before: dict[str, bytes], film: Path) -> bool:
    """Whether faces, model and result are as they were, and nothing half-written lies about."""
    after = content(film)
    assert not [name for name in after if ".part" in name or "unsigned" in name]
    made = ("aligned/", "model/", "result.mp4", "contact_sheet.jpg", "people/")
    return all(after.get(name) == data for name, data in before.items() if any(part in name for part in made))


def without_index(data: bytes) -> bytes:
    """An MP4 without its ``moov`` box: a recording that was cut off."""
    start = data.index(b"moov") - 4
    length = int.from_bytes(data[start : start + 4], "big")
    return data[:start] + data[start + length :]


BROKEN: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda data: b"", "the file is empty"),
    "text": (lambda data: b"Dear diary\n" * 99, "is not a video that can be read"),
    "no index": (without_index, "cut off before its index"),
    "head only": (lambda data: data[:2000], "cut off before its index|is not a video|truncated"),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("verb", ["extract {} dst", "merge {}", "run {}"])
def test_a_target_that_cannot_be_opened(recast: Recast, film: Path, kind: str, verb: str) -> None:
    spoil, problem = BROKEN[kind]
    target = film / "data_dst.mp4"
    data = target.read_bytes()
    before = content(film)
    target.write_bytes(spoil(data))
    said = recast(*(str(film) if word == "{}" else word for word in verb.split()), "--json")
    assert said.code == said.json["exit_code"] == 1
    assert any(part in said.problem for part in problem.split("|")), said.problem
    assert str(target) in said.problem
    assert kept(before, film)
    target.write_bytes(data)
    assert recast("run", film).code == 0
    assert kept(before, film)


def test_a_missing_target(recast: Recast, film: Path) -> None:
    before = content(film)
    (film / "data_dst.mp4").unlink()
    for words in (("extract", film, "dst"), ("merge", film), ("run", film), ("info", film)):
        said = recast(*words)
        assert (said.code, "no data_dst clip. Put data_dst.mp4" in said.problem) == (1, True)
    assert kept(before, film)


def test_a_truncated_target_keeps_and_uses_what_can_be_read(recast: Recast, film: Path) -> None:
    before, target = content(film), film / "data_dst.mp4"
    data = target.read_bytes()
    target.write_bytes(data[: int(len(data) * 0.6)])
    said = recast("extract", film, "dst")
    assert said.code == 1
    assert "the video ends too early" in said.problem
    readable = len(list((film / "data_dst" / "aligned").glob("*.jpg")))
    assert 0 < readable < 12
    assert len(list((film / "data_dst" / "aligned_trash").rglob("*.jpg"))) == 12
    said = recast("run", film)
    assert (said.code, "Go on with these faces" in said.problem) == (1, True)
    assert (film / "result.mp4").read_bytes() == before["result.mp4"]
    said = recast("merge", film, "--json")
    assert (said.code, said.json["merge"]["frames"], said.json["merge"]["faces"]) == (1, readable, readable)
    assert len(said.json["merge"]["unreadable"]) == 1
    assert recast("verify", film / "result.mp4").code == 0
    target.write_bytes(data)
    assert recast("run", film, "--json").json["merge"]["merge"]["faces"] == 12


def write_gradient(path: Path, frames: int = 3) -> None:
    ramp = np.tile(np.linspace(0, 255, 320).astype(np.uint8)[None, :, None], (240, 1, 3))
    path.unlink(missing_ok=True)
    with FrameWriter(path, width=320, height=240, rate=25, preset="ultrafast") as writer:
        for number in range(frames):
            writer.write(np.roll(ramp, 8 * number, axis=1))


@pytest.mark.parametrize("side", ["src", "dst"])
def test_a_clip_without_a_face(recast: Recast, film: Path, side: str) -> None:
    before = content(film)
    write_gradient(film / f"data_{side}.mp4")
    said = recast("extract", film, side)
    assert said.code == 1
    assert "no face was found: try --detector" in said.out
    assert recast("extract", film, side, "--json").json["faces"] == 0
    for verb in ("run", "train", "merge"):
        more = ["--iterations", 9] if verb == "train" else []
        said = recast(verb, film, *more)
        assert (said.code, f"there are no {side} faces" in said.problem) == (1, True), verb
    assert (film / "result.mp4").read_bytes() == before["result.mp4"]
    assert len(list((film / f"data_{side}" / "aligned_trash").rglob("*.jpg"))) == 12
    assert len(content(film / "model")) == len([name for name in before if name.startswith("model/")])


def test_a_job_from_clips_without_faces_ends_with_one_line(recast: Recast, tmp_path: Path) -> None:
    write_gradient(tmp_path / "leer.mp4")
    film = tmp_path / "film"
    assert recast("new", film, "--src", tmp_path / "leer.mp4", "--dst", tmp_path / "leer.mp4").code == 0
    said = recast("run", film, "--model", "mini", "--iterations", 2)
    assert (said.code, said.out) == (1, "")
    assert "there are no src faces" in said.problem
    assert not list((film / "model").iterdir())


@pytest.mark.parametrize(
    ("width", "height", "frames"), [(321, 241, 3), (640, 360, 1), (321, 240, 1)], ids=["odd", "one frame", "both"]
)
def test_unusual_clips_are_work_as_usual(recast: Recast, film: Path, width: int, height: int, frames: int) -> None:
    """Without sound, of an odd size, of one frame."""
    target = film / "data_dst.mp4"
    with FrameReader(target) as reader:
        images = [frame.image for frame in reader.frames(0, frames)]
    target.unlink()
    with FrameWriter(target, width=width, height=height, rate=25, preset="ultrafast") as writer:
        for image in images:
            writer.write(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))
    said = recast("run", film, "--json")
    assert said.code == 0
    assert said.json["dst"]["faces"] == said.json["merge"]["merge"]["faces"] == frames
    with FrameReader(film / "result.mp4") as reader:
        assert (reader.info.width, reader.info.height, len(list(reader))) == (width, height, frames)
        assert reader.info.audio == ()
    assert recast("verify", film / "result.mp4").code == 0
    for name in ("data_dst.mp4", "result.mp4", "data_dst/aligned"):
        assert recast("info", film / name).code == 0


def test_a_folder_with_pictures_that_cannot_be_read(recast: Recast, film: Path) -> None:
    """The others go on, those are listed, and the exit code tells."""
    frames = film / "data_dst"
    with FrameReader(film / "data_dst.mp4") as reader:
        for frame in reader.frames(0, 4):
            write_picture(frames / f"Bild № {frame.name}.png", frame.image)
    (film / "data_dst.mp4").unlink()
    (frames / "Bild № 00002.png").write_bytes(b"")
    (frames / "Bild № 00003.png").write_bytes(b"no picture")
    said = recast("extract", film, "dst")
    assert said.code == 1
    assert "dst: 2 faces in 2 of 4 frames" in said.out
    assert "unreadable: frame Bild № 00002: the file is empty" in said.out
    assert "unreadable: frame Bild № 00003: is not a picture that can be read" in said.out
    assert recast("extract", film, "dst", "--json").json["unreadable"][0][0] == "Bild № 00002"
    said = recast("merge", film)
    assert said.code == 1
    assert said.out.count("  unreadable: frame ") == 2
    assert ": 2 frames, 2 faces replaced" in said.out
    said = recast("run", film)
    assert said.code == 1
    assert "unreadable: frame Bild № 00002" in said.out
    assert recast("verify", film / "result.mp4").code == 0


def test_a_folder_of_torn_pictures_only(recast: Recast, film: Path) -> None:
    before = content(film)
    (film / "data_dst.mp4").unlink()
    (film / "data_dst" / "1.png").write_bytes(b"torn")
    for words in (("extract", film, "dst"), ("merge", film), ("run", film)):
        said = recast(*words)
        assert (said.code, "none of its pictures can be read" in said.problem) == (1, True)
    assert kept(before, film)


def spoil_record(path: Path) -> None:
    data = bytearray(path.read_bytes())
    start = data.find(b"\xff\xef")
    assert start > 0
    data[start + 40 : start + 90] = b"\0" * 50
    path.write_bytes(bytes(data))


def test_a_corrupt_face_record(recast: Recast, film: Path) -> None:
    for side in ("src", "dst"):
        spoil_record(film / f"data_{side}" / "aligned" / "00005_0.jpg")
    said = recast("train", film, "--iterations", 7, "--json")
    assert (said.code, said.json["src_faces"], said.json["dst_faces"]) == (0, 11, 11)
    assert said.err.count("00005_0.jpg") == 2
    said = recast("merge", film, "--json")
    assert (said.code, said.json["merge"]["faces"], said.json["merge"]["frames_without_faces"]) == (0, 11, 1)
    assert "00005_0.jpg is left out" in said.err
    said = recast("info", film / "data_src" / "aligned" / "00005_0.jpg")
    assert (said.code, "00005_0.jpg" in said.problem) == (1, True)
    assert "00005_0.jpg" in recast("info", film / "data_src" / "aligned").out
    assert recast("run", film).code == 0


def cut(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.unlink()  # it may be shared with other tests
    path.write_bytes(data[: int(len(data) * share)])


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors", "state.json"])
def test_a_checkpoint_cut_short_falls_back_to_the_one_before(recast: Recast, film: Path, name: str) -> None:
    saves = film / "model" / "mini" / "checkpoints"
    cut(saves / "00000006" / name, 0.5)
    said = recast("merge", film, "--json")
    assert (said.code, said.json["skipped"]) == (0, False)
    assert "00000006: the checkpoint is damaged; the one of iteration 3 is used" in said.err
    said = recast("train", film, "--json")
    assert (said.code, said.json["iterations"], said.json["trained"]) == (0, 6, 3)
    assert "00000006: the checkpoint is damaged" in said.err
    assert (saves / "00000006.damaged").is_dir()
    assert recast("merge", film).code == 0


def test_no_sound_checkpoint_at_all(recast: Recast, film: Path) -> None:
    before = content(film)
    saves = film / "model" / "mini" / "checkpoints"
    for save in ("00000003", "00000006"):
        cut(saves / save / "weights.safetensors", 0.9)
    spoiled = content(film / "model")
    for verb in ("train", "merge", "run", "info"):
        said = recast(verb, film)
        assert (said.code, "all checkpoints are damaged" in said.problem) == (1, True), verb
    assert content(film / "model") == spoiled
    assert (film / "result.mp4").read_bytes() == before["result.mp4"]


def test_facesets_with_one_face(recast: Recast, film: Path) -> None:
    for side in ("src", "dst"):
        for path in (film / f"data_{side}" / "aligned").glob("*.jpg"):
            if path.name != "00007_0.jpg":
                path.unlink()
    said = recast("run", film, "--iterations", 8, "--json")
    assert said.code == 0
    assert (said.json["train"]["src_faces"], said.json["train"]["trained"]) == (1, 2)
    assert (said.json["merge"]["merge"]["frames"], said.json["merge"]["merge"]["faces"]) == (12, 1)
    assert said.err.count("there is only one face") == 2
    assert recast("verify", film / "result.mp4").code == 0


def moved_to(disk: Any, film: Path) -> Path:
    return Path(shutil.copytree(film, disk.folder / "Film – 映画"))


def test_a_read_only_folder(recast: Recast, film: Path, disk: Any, short_clips: tuple[Path, Path]) -> None:
    place = moved_to(disk, film)
    before = content(place)
    disk.change("ro")
    for words in (
        ("extract", place, "dst", "--size", 300),
        ("train", place, "--iterations", 9),
        ("merge", place, "--erode", 5),
        ("sheet", place),
        ("new", disk.folder / "new", "--src", short_clips[0], "--dst", short_clips[1]),
        ("merge", film, "--output", disk.folder / "deep" / "result.mp4"),
    ):
        said = recast(*words)
        assert (said.code, "cannot be written. Choose a folder" in said.problem) == (1, True), words
    assert content(place) == before
    for words in (("info", place), ("verify", place / "result.mp4"), ("extract", place, "src"), ("merge", place)):
        assert recast(*words).code == 0, words
    assert recast("run", place).code == 0


FULL = "the disk is full. Free some space and run again"


def test_a_full_disk_while_extracting(recast: Recast, film: Path, disk: Any) -> None:
    place = moved_to(disk, film)
    faces = content(place / "data_dst" / "aligned")
    shutil.rmtree(place / "data_dst" / "aligned")
    disk.leave_free(100)
    said = recast("extract", place, "dst")
    assert (said.code, FULL in said.problem) == (1, True)
    assert kept({}, place)
    for path in (place / "data_dst" / "aligned").glob("*.jpg"):
        assert recast("info", path).code == 0
    disk.change("size=400m")
    assert recast("extract", place, "dst").code == 0
    now = content(place / "data_dst" / "aligned")
    assert {name: now[name] for name in now if name.endswith(".jpg")} == {
        name: faces[name] for name in faces if name.endswith(".jpg")
    }


@pytest.mark.parametrize("kilobytes", [0, 40, 20_000])
def test_a_full_disk_while_training(recast: Recast, film: Path, disk: Any, kilobytes: int) -> None:
    place = moved_to(disk, film)
    before = content(place)
    assert recast("train", film, "--iterations", 8, "--json").code == 0
    (place / "recast.toml").write_bytes((film / "recast.toml").read_bytes())
    disk.leave_free(kilobytes)
    said = recast("train", place, "--json")
    assert said.code == said.json["exit_code"] == 1
    assert FULL in said.problem
    saves = {name: data for name, data in before.items() if "checkpoints" in name or "aligned" in name}
    assert kept(saves, place)
    disk.change("size=400m")
    assert recast("train", place, "--json").json["iterations"] == 8
    weights = "model/mini/checkpoints/00000008/weights.safetensors"
    assert (place / weights).read_bytes() == (film / weights).read_bytes()


@pytest.mark.parametrize("kilobytes", [0, 100, 420])
def test_a_full_disk_while_merging(recast: Recast, film: Path, disk: Any, kilobytes: int) -> None:
    place = moved_to(disk, film)
    settings = place / "recast.toml"
    settings.write_text(settings.read_text() + "\n[merge]\nerode = 30\n")
    before = content(place)
    disk.leave_free(kilobytes)
    said = recast("merge", place)
    assert (said.code, FULL in said.problem) == (1, True), said.err
    assert kept(before, place)
    disk.change("size=400m")
    assert recast("merge", place).code == 0
    assert recast("verify", place / "result.mp4").code == 0
    assert not [name for name in content(place) if ".part" in name]


def test_a_full_disk_while_a_workspace_is_made(recast: Recast, disk: Any, short_clips: tuple[Path, Path]) -> None:
    disk.leave_free(16)
    words = ("new", disk.folder / "film", "--src", short_clips[0], "--dst", short_clips[1], "--basis", "own face")
    said = recast(*words)
    assert (said.code, FULL in said.problem) == (1, True)
    assert list(disk.folder.iterdir()) == []
    disk.change("size=50m")
    assert recast(*words).code == 0
