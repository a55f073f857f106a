from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from recaster.media.container import is_cut_off
from recaster.media.frameindex import index_frames

OPEN_GROUPS = "open-gop=1:keyint=6:bframes=3:b-adapt=0:scenecut=0"
CLIPS = [
    "man_in_car_176x144.mp4",
    "man_smile.mp4",
    "man_then_title.mov",
    "no_faces_bikes.mp4",
    pytest.param("talking_man_blue.mp4", marks=pytest.mark.slow),
    "title_then_man.mov",
    "webcam_man_a.mp4",
    "webcam_man_b.mp4",
    "woman_expressions.mp4",
]


def decoded_pts(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [frame.pts for frame in container.decode(video=0)]


@pytest.mark.parametrize("name", CLIPS)
def test_real_clips_have_as_many_entries_as_frames(clips: Path, name: str) -> None:
    index = index_frames(clips / name)
    assert index.pts.tolist() == decoded_pts(clips / name)
    assert index.by_pts
    assert not index.truncated


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.avi", "a.ts", "a.flv"])
def test_containers(maker: Any, name: str) -> None:
    index = index_frames(maker.video(name, 12))
    assert len(index) == 12
    steps = np.diff(index.pts)
    assert steps.min() == steps.max() > 0
    assert not index.truncated


@pytest.mark.parametrize(("shift", "left"), [(6, 24), (16, 14)])
def test_frames_before_an_edit_lists_start_are_not_counted(maker: Any, shift: int, left: int) -> None:
    source = maker.video("a.mp4", 30, options={"g": "10", "bf": "2", "x264-params": "scenecut=0"})
    edited = maker.remux(source, "edited.mp4", shift=shift)
    index = index_frames(edited)
    assert len(index) == left == len(decoded_pts(edited))
    assert int(index.pts[0]) == 0


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_leading_frames_that_no_decoder_gives_are_not_counted(maker: Any, suffix: str) -> None:
    source = maker.video("a.mp4", 30, codec="libx265", options={"x265-params": f"log-level=none:{OPEN_GROUPS}"})
    cut = maker.remux(source, f"cut.{suffix}", from_key=2)
    assert index_frames(cut).pts.tolist() == decoded_pts(cut)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_a_header_tells_a_cut_off_file(maker: Any, name: str) -> None:
    whole = maker.video(name, 20, container={"movflags": "faststart"} if name == "a.mp4" else None)
    assert not is_cut_off(whole)
    assert is_cut_off(maker.cut(whole, 0.99))


def test_bytes_after_the_end_do_not_matter(maker: Any) -> None:
    path = maker.video("a.mp4", 5)
    path.write_bytes(path.read_bytes() + b"\xff" * 50)
    index = index_frames(path)
    assert len(index) == 5
    assert not index.truncated
