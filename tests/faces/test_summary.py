"""The figures at the end of an extraction."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from recaster.faces.summary import FrameResult, Sighting, overlap, summarize, tracks
from recaster.geometry.framing import align
from recaster.geometry.mean_face import MEAN_FACE
from recaster.geometry.similarity import scale_of
from recaster.types import Framing

FACE = np.concatenate([np.full((17, 2), 0.5), MEAN_FACE]) * 100


def sighting(frame: int, left: float = 0.0, noise: float = 0.0) -> Sighting:
    draw = np.random.default_rng(frame)
    points = FACE + np.array((left, 0.0)) + noise * draw.normal(size=(68, 2))
    return Sighting(frame, (left, 0.0, left + 100, 100.0), points.astype(np.float32))


def test_frames_without_a_face_are_counted_where_they_lie() -> None:
    frames = [FrameResult(str(i), faces) for i, faces in enumerate([0, 1, 0, 2, 0, 0, 1, 0])]
    frames[4] = FrameResult("4", problem="cut off")
    summary = summarize(frames, [], 2.0)
    assert (summary.frames, summary.frames_with_faces, summary.faces) == (8, 3, 4)
    assert (summary.misses, summary.gaps) == (4, 2)
    assert summary.unreadable == (("4", "cut off"),)
    assert summary.frames_per_second == 4.0
    assert summary.jitter is None
    assert summary.jitter_at_rest is None


def test_a_clip_without_any_face() -> None:
    summary = summarize([FrameResult("1"), FrameResult("2", rejected=3)], [], 0.0)
    assert (summary.faces, summary.misses, summary.gaps, summary.rejected) == (0, 2, 0, 3)


def test_a_still_face_has_no_jitter_and_noise_has_its_own() -> None:
    frames = [FrameResult(str(i), 1) for i in range(400)]
    still = summarize(frames, [sighting(i) for i in range(400)], 1.0)
    assert still.jitter == pytest.approx(0.0, abs=1e-6)
    assert still.jitter_at_rest == pytest.approx(0.0, abs=1e-6)
    scale = scale_of(align(FACE, Framing.FULL, 256).frame_to_crop)
    noisy = summarize(frames, [sighting(i, noise=0.3) for i in range(400)], 1.0)
    assert noisy.jitter == pytest.approx(math.sqrt(12) * 0.3 * scale, rel=0.02)
    assert noisy.jitter_at_rest == pytest.approx(noisy.jitter, rel=0.05)


def test_a_moving_face_is_not_at_rest() -> None:
    frames = [FrameResult(str(i), 1) for i in range(60)]
    summary = summarize(frames, [sighting(i, left=3.0 * i) for i in range(60)], 1.0)
    assert summary.jitter == pytest.approx(0.0, abs=1e-4)
    assert summary.jitter_at_rest is None


def test_two_faces_that_cross_frames_in_any_order_are_two_tracks() -> None:
    seen = []
    for index in range(10):
        pair = [sighting(index, left=0.0), sighting(index, left=300.0)]
        seen += pair if index % 2 else pair[::-1]
    found = tracks(seen)
    assert sorted(len(track) for track in found) == [10, 10]
    assert all(len({s.box for s in track}) == 1 for track in found)


def test_a_gap_or_a_jump_ends_a_track() -> None:
    assert [len(track) for track in tracks([sighting(i) for i in (0, 1, 2, 4, 5)])] == [3, 2]
    assert [len(track) for track in tracks([sighting(0), sighting(1), sighting(2, left=90.0)])] == [2, 1]


box = st.tuples(*[st.floats(0, 100)] * 2, *[st.floats(1, 100)] * 2).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


@given(box, box)
def test_overlap_is_symmetric_and_bounded(one: tuple[float, ...], other: tuple[float, ...]) -> None:
    shared = overlap(one, other)
    assert 0 <= shared <= 1 + 1e-9
    assert shared == pytest.approx(overlap(other, one))
    assert overlap(one, one) == pytest.approx(1)
