from __future__ import annotations

import resource
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from recaster.errors import MediaError, UsageError
from recaster.media.pictures import encode_png, write_picture
from recaster.media.reader import FrameReader

OPEN_GROUPS = "open-gop=1:keyint=6:bframes=3:b-adapt=0:scenecut=0"
REFRESH = "intra-refresh=1:keyint=10"


def difference(one: Any, other: Any) -> float:
    return float(np.abs(one.astype(int) - other).mean())


@pytest.mark.parametrize(
    "name",
    [
        "man_in_car_176x144.mp4",
        "man_smile.mp4",
        "no_faces_bikes.mp4",
        "woman_expressions.mp4",
        "title_then_man.mov",
        pytest.param("man_then_title.mov", marks=pytest.mark.slow),
        pytest.param("webcam_man_a.mp4", marks=pytest.mark.slow),
        pytest.param("webcam_man_b.mp4", marks=pytest.mark.slow),
        pytest.param("talking_man_blue.mp4", marks=pytest.mark.slow),
    ],
)
def test_random_access_gives_the_sequential_picture(clips: Path, name: str) -> None:
    with FrameReader(clips / name) as reader:
        last = len(reader) - 1
        wanted = {0, 1, last // 3, last // 2, last - 1, last}
        frames = {frame.index: frame for frame in reader if frame.index in wanted}
        assert set(frames) == wanted
        for index in [last, 0, last // 2, last // 3, last - 1, 1]:
            frame = reader.read(index)
            assert np.array_equal(frame.image, frames[index].image)
            assert (frame.pts, frame.name) == (frames[index].pts, frames[index].name)


def test_variable_timestamps_are_the_files_own(clips: Path) -> None:
    path = clips / "title_then_man.mov"
    with av.open(str(path)) as container:
        expected = [Fraction(frame.pts) * frame.time_base for frame in container.decode(video=0)]
    with FrameReader(path) as reader:
        assert [frame.pts for frame in reader] == expected
    assert len({b - a for a, b in pairwise(expected)}) > 2


CODECS: dict[str, dict[str, Any]] = {
    "b.mp4": {},
    "b.mkv": {},
    "b.ts": {},
    "b.avi": {},
    "fragments.mp4": {"container": {"movflags": "frag_keyframe+empty_moov"}},
    "variable.mp4": {"pts": [0, 1, 3, 4, 9, 10, 11, 12, 20, 21, 22, 23]},
    "open.mkv": {"frames": 20, "options": {"x264-params": OPEN_GROUPS}},
    "open.mp4": {"frames": 20, "options": {"x264-params": OPEN_GROUPS}},
    "refresh.mkv": {"frames": 24, "options": {"x264-params": REFRESH}},
    "open_hevc.mp4": {
        "frames": 20,
        "codec": "libx265",
        "options": {"x265-params": f"log-level=none:{OPEN_GROUPS}"},
    },
    "xvid.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
    "prores.mov": {"codec": "prores_ks", "options": {}, "pixel_format": "yuv422p10le"},
    "rgb.mov": {"codec": "png", "options": {}, "pixel_format": "rgb24"},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"lag-in-frames": "8", "deadline": "realtime"}},
}


@pytest.mark.parametrize("name", CODECS)
def test_every_frame_from_every_start(maker: Any, name: str) -> None:
    with FrameReader(maker.video(name, **CODECS[name])) as reader:
        frames = list(reader)
        assert [frame.index for frame in frames] == list(range(len(reader)))
        assert len(frames) == CODECS[name].get("frames", 12)
        for index in reversed(range(len(reader))):
            assert reader.name_of(index) == frames[index].name
            assert np.array_equal(reader.read(index).image, frames[index].image)
        for start in range(0, len(reader), 3):
            for frame in reader.frames(start, start + 2):
                assert np.array_equal(frame.image, frames[frame.index].image)
        for frame in frames:
            assert difference(frame.image, maker.numbered(frame.index)) < 14


def test_two_iterations_run_side_by_side(maker: Any) -> None:
    with FrameReader(maker.video("a.mp4")) as reader:
        for one, other in zip(reader.frames(0), reader.frames(3), strict=False):
            assert other.index == one.index + 3
            assert not np.array_equal(one.image, other.image)


def test_sound_that_begins_first_keeps_its_distance(maker: Any) -> None:
    with FrameReader(maker.video("late.mp4", pts=list(range(10, 22)), sound=[("aac", "eng")])) as reader:
        assert [frame.pts for frame in reader.frames(0, 2)] == [Fraction(10, 25), Fraction(11, 25)]
    with FrameReader(maker.video("stream.ts")) as reader:
        assert reader.info.start > 0
        assert next(iter(reader)).pts == 0


@pytest.mark.parametrize(("degrees", "turns"), [(-90, -1), (90, 1), (180, 2)])
def test_pictures_are_upright(maker: Any, degrees: int, turns: int) -> None:
    with FrameReader(maker.video("phone.mp4", 2, rotation=degrees)) as reader:
        image = reader.read(0).image
        assert image.shape == (reader.info.height, reader.info.width, 3)
        assert difference(image, np.rot90(maker.numbered(0), turns)) < 6


def test_the_stated_matrix_and_range_are_used(maker: Any) -> None:
    bars = np.zeros((48, 64, 3), np.uint8)
    for number, color in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]):
        bars[:, 16 * number : 16 * number + 16] = color
    for matrix, color_range in [(1, 1), (6, 1), (1, 2), (6, 2)]:
        path = maker.video(
            f"{matrix}{color_range}.mp4",
            1,
            matrix=matrix,
            color_range=color_range,
            options={"crf": "1"},
            picture=lambda _: bars,
        )
        with FrameReader(path) as reader:
            image = reader.read(0).image.astype(int)
        assert np.abs(image[24, 8::16] - bars[24, 8::16]).max() <= 4, (matrix, color_range)


def test_ten_bits_read_as_float_are_finer(maker: Any) -> None:
    path = maker.video("deep.mp4", 1, pixel_format="yuv420p10le", options={"crf": "1"})
    with FrameReader(path, "float32") as deep, FrameReader(path) as shallow:
        fine, coarse = deep.read(0).image, shallow.read(0).image
    assert fine.dtype == np.float32
    assert coarse.dtype == np.uint8
    assert np.array_equal(np.rint(fine * 255).astype(np.uint8), coarse)
    assert len(np.unique(fine)) > 2 * len(np.unique(coarse))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.ts", "fragments.mp4"])
def test_a_truncated_video_gives_what_it_has(maker: Any, name: str) -> None:
    flags = {"a.mp4": "faststart", "fragments.mp4": "frag_keyframe+empty_moov"}.get(name)
    cut = maker.cut(maker.video(name, 40, container={"movflags": flags} if flags else None), 0.7)
    frames = []
    with FrameReader(cut) as reader, pytest.raises(MediaError, match="truncated") as caught:
        for frame in reader:
            assert not frames or frame.pts > frames[-1].pts
            assert difference(frame.image, maker.numbered(round(frame.pts * 25))) < 6
            frames.append(frame)
    assert 15 < len(frames) == len(reader) < 40
    assert caught.value.frame == f"{len(frames) + 1:05d}"
    assert str(cut) in str(caught.value)
    problems: list[MediaError] = []
    assert len(list(reader.frames(on_error=problems.append))) == len(frames)
    assert len(problems) == 1
    assert np.array_equal(reader.read(len(reader) - 1).image, frames[-1].image)


def test_damage_in_the_middle_is_named_and_passed(maker: Any) -> None:
    path = maker.video("a.mp4", 40)
    data = bytearray(path.read_bytes())
    middle = int(len(data) * 0.4)
    data[middle : middle + 400] = bytes(400)
    path.write_bytes(data)
    with FrameReader(path) as reader:
        problems: list[MediaError] = []
        frames = list(reader.frames(on_error=problems.append))
        assert problems
        assert len(frames) + len(problems) == len(reader) == 40
        names = {problem.frame for problem in problems}
        assert not names & {frame.name for frame in frames}
        with pytest.raises(MediaError, match="damaged"):
            list(reader)
        with pytest.raises(MediaError, match="damaged"):
            reader.read(int(min(str(name) for name in names)) - 1)
        assert difference(reader.read(39).image, maker.numbered(39)) < 6


def test_names_count_from_one(maker: Any) -> None:
    with FrameReader(maker.video("a.mp4", 3)) as reader:
        assert [frame.name for frame in reader] == ["00001", "00002", "00003"]
        with pytest.raises(UsageError, match="no frame 4"):
            reader.read(3)
        with pytest.raises(UsageError):
            reader.read(-1)


def test_pictures_are_read_by_name(tmp_path: Path) -> None:
    for number, name in enumerate(["b.png", "a 顔.jpg", "c.png"]):
        write_picture(tmp_path / name, np.full((6, 8, 3), 40 * number + 40, np.uint8))
    with FrameReader(tmp_path, picture_rate=Fraction(10)) as reader:
        frames = list(reader)
        assert [frame.name for frame in frames] == ["a 顔", "b", "c"]
        assert [int(frame.image[0, 0, 0]) for frame in frames] == [80, 40, 120]
        assert [frame.pts for frame in frames] == [0, Fraction(1, 10), Fraction(2, 10)]
        assert np.array_equal(reader.read(1).image, frames[1].image)
        assert [frame.name for frame in reader.frames(1)] == ["b", "c"]


def test_a_bad_picture_is_named_and_passed(tmp_path: Path) -> None:
    good = encode_png(np.zeros((6, 8, 3), np.uint8))
    for name, data in {"1.png": good, "2.png": good[:30], "3.png": good, "4.jpg": b"?", "5.png": good}.items():
        (tmp_path / name).write_bytes(data)
    write_picture(tmp_path / "6.png", np.zeros((4, 4, 3), np.uint8))
    with FrameReader(tmp_path) as reader:
        with pytest.raises(MediaError, match=r"2\.png"):
            list(reader)
        problems: list[MediaError] = []
        assert [frame.name for frame in reader.frames(on_error=problems.append)] == ["1", "3", "5"]
        assert [Path(str(problem.where)).name for problem in problems] == ["2.png", "4.jpg", "6.png"]
        assert "4×4" in str(problems[2])


def test_grey_sixteen_bit_and_alpha_pictures(tmp_path: Path) -> None:
    deep = (np.arange(48, dtype=np.uint16).reshape(6, 8) * 1000).astype(np.uint16)
    (tmp_path / "1.png").write_bytes(cv2.imencode(".png", deep)[1].tobytes())
    (tmp_path / "2.png").write_bytes(cv2.imencode(".png", np.full((6, 8, 4), 90, np.uint8))[1].tobytes())
    with FrameReader(tmp_path, "float32") as reader:
        first, second = reader
    assert first.image.shape == second.image.shape == (6, 8, 3)
    assert np.abs(first.image[..., 0] * 65535 - deep).max() < 0.01
    assert np.allclose(second.image, 90 / 255)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the peak of resident memory is read the POSIX way")
def test_a_long_clip_is_read_in_constant_memory(clips: Path) -> None:
    with FrameReader(clips / "talking_man_blue.mp4") as reader:
        for _ in reader.frames(0, 300):
            pass
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        count = sum(1 for _ in reader)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert count == 4800
    assert grown < 60, f"{grown:.0f} MiB more, where the frames are 1400 MiB"
