from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from recaster.errors import MediaError
from recaster.media.info import AudioInfo, probe
from recaster.media.pictures import encode_jpeg, write_picture
from recaster.types import ColorTag


def test_a_real_clip_is_described_exactly(clips: Path) -> None:
    info = probe(clips / "woman_expressions.mp4")
    assert (info.kind, info.width, info.height, info.frames) == ("video", 640, 360, 472)
    assert info.rate == Fraction(24000, 1001)
    assert info.duration == Fraction(472 * 1001, 24000)
    assert not info.variable_rate
    assert (info.codec, info.pixel_format, info.bit_depth) == ("h264", "yuv420p", 8)
    assert info.color == ColorTag("smpte170m", "smpte170m", "smpte170m", False)
    assert info.color_stated
    assert info.audio == (AudioInfo("aac", 48000, 2),)


def test_variable_rate_is_seen(clips: Path) -> None:
    info = probe(clips / "man_then_title.mov")
    assert info.variable_rate
    assert info.rate == Fraction(519168, 19667)
    assert info.color.matrix == "bt709"


def test_an_untagged_clip_says_that_its_matrix_was_guessed(clips: Path) -> None:
    info = probe(clips / "man_smile.mp4")
    assert info.color == ColorTag("smpte170m", "unknown", "unknown", False)
    assert not info.color_stated


@pytest.mark.parametrize(("degrees", "rotation"), [(-90, 90), (90, 270), (180, 180)])
def test_sizes_are_upright(maker: Any, degrees: int, rotation: int) -> None:
    info = probe(maker.video("phone.mp4", 3, rotation=degrees))
    assert info.rotation == rotation
    assert (info.width, info.height) == ((64, 48) if degrees == 180 else (48, 64))


def test_a_dropped_frame_makes_the_rate_vary(maker: Any) -> None:
    assert not probe(maker.video("even.mkv", 6)).variable_rate
    info = probe(maker.video("gap.mkv", 6, pts=[0, 1, 2, 4, 5, 6]))
    assert info.variable_rate
    assert info.duration == Fraction(7, 25)


@pytest.mark.parametrize("name", ["one.mp4", "one.mkv", "one.ts", "one.avi"])
def test_one_frame_is_a_video(maker: Any, name: str) -> None:
    info = probe(maker.video(name, 1))
    assert info.frames == 1
    assert info.duration == Fraction(1, 25)
    assert info.rate == 25


def test_every_sound_is_listed(maker: Any) -> None:
    info = probe(maker.video("two.mkv", 3, sound=[("aac", "fra"), ("libmp3lame", "jpn")]))
    assert [(a.codec, a.language, a.rate, a.channels) for a in info.audio] == [
        ("aac", "fra", 48000, 2),
        ("mp3", "jpn", 48000, 2),
    ]
    assert probe(maker.video("silent.mp4", 3)).audio == ()


@pytest.mark.parametrize(
    ("pixel_format", "depth", "full"), [("yuv420p", 8, True), ("yuv420p10le", 10, False), ("yuv444p", 8, False)]
)
def test_depth_and_range(maker: Any, pixel_format: str, depth: int, full: bool) -> None:
    info = probe(maker.video("x.mp4", 2, pixel_format=pixel_format, color_range=2 if full else 1))
    assert info.bit_depth == depth
    assert info.color.full_range is full


def test_what_is_no_video_says_so_in_one_line(maker: Any, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("this is a letter, not a film\n" * 40)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("x")
    cases = {
        "absent.mp4": "there is no such file",
        "empty.mp4": "is empty",
        "text.mp4": "is not a video",
        "notes": "has no pictures",
        maker.sound("song.m4a").name: "has no video stream",
        maker.cut(maker.video("camera.mp4"), 0.6).name: "moov",
    }
    for name, words in cases.items():
        with pytest.raises(MediaError, match=words) as caught:
            probe(tmp_path / name)
        assert name in str(caught.value)
        assert caught.value.mend
        assert "\n" not in str(caught.value)


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "Bilder ü"
    for name in ("b 2.png", "a顔.jpg", "c.TIF"):
        write_picture(folder / name, np.zeros((6, 8, 3), np.uint8))
    for stranger in (".hidden.png", "notes.txt", "clip.mp4"):
        (folder / stranger).write_bytes(b"x")
    info = probe(folder, picture_rate=Fraction(24))
    assert (info.kind, info.width, info.height, info.frames) == ("pictures", 8, 6, 3)
    assert info.duration == Fraction(3, 24)
    assert info.bit_depth == 8
    assert info.color.matrix == "gbr"


def test_depth_of_pictures_and_a_bad_first_one(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(b"broken")
    (tmp_path / "1.png").write_bytes(cv2.imencode(".png", np.zeros((4, 5, 3), np.uint16))[1].tobytes())
    info = probe(tmp_path)
    assert (info.width, info.bit_depth, info.frames) == (5, 16, 2)
    (tmp_path / "1.png").write_bytes(b"broken too")
    with pytest.raises(MediaError, match="none of its pictures"):
        probe(tmp_path)


def test_two_pictures_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encode_jpeg(np.zeros((4, 4, 3), np.uint8)))
    write_picture(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(MediaError, match="same name"):
        probe(tmp_path)
