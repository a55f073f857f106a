from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from recaster.faces.faceset import FaceSet
from recaster.train.selection import Deck, dump_bytes, eye_openness, eye_weights, load_bytes, sample_weights
from recaster.types import Face, Landmarks


def shot(facesets: tuple[FaceSet, FaceSet], count: int = 30) -> list[Face]:
    """Faces that move a little from frame to frame."""
    draw = np.random.default_rng(0)
    seen = [stored.face for stored in facesets[0]]
    return [
        replace(face, landmarks=Landmarks(face.landmarks.points + draw.normal(0, 0.3, (68, 2)).astype(np.float32)))
        for face in (seen * count)[:count]
    ]


def test_a_good_set_is_used_whole(facesets: tuple[FaceSet, FaceSet]) -> None:
    assert sample_weights(shot(facesets)).all()


def test_odd_faces_are_left_out(facesets: tuple[FaceSet, FaceSet]) -> None:
    faces = shot(facesets)
    draw = np.random.default_rng(1)
    faces[3] = replace(faces[3], landmarks=Landmarks(draw.uniform(0, 160, (68, 2)).astype(np.float32)))
    faces[7] = replace(faces[7], quality=0.5)
    unsure = Landmarks(faces[11].landmarks.points, confidence=np.full(68, 0.3, np.float32))
    faces[11] = replace(faces[11], landmarks=unsure)
    assert np.flatnonzero(sample_weights(faces) == 0).tolist() == [3, 7, 11]


def test_a_sharpness_that_nobody_measured_counts_for_nothing(facesets: tuple[FaceSet, FaceSet]) -> None:
    faces = [replace(face, quality=0.0) for face in shot(facesets)]
    assert sample_weights(faces).all()
    assert sample_weights([replace(face, quality=40.0) for face in faces[:25]] + faces[25:]).all()


def test_never_more_than_a_fifth_is_left_out(facesets: tuple[FaceSet, FaceSet]) -> None:
    faces = [replace(face, quality=1e-3 if row < 12 else 50.0) for row, face in enumerate(shot(facesets))]
    assert np.count_nonzero(sample_weights(faces) == 0) <= 6


def test_covered_faces_are_left_out_and_profiles_are_not(facesets: tuple[FaceSet, FaceSet]) -> None:
    def seen(face: Face, score: float, mouth: float, yaw: float = 0.0) -> Face:
        confidence = np.full(68, 0.95, np.float32)
        confidence[48:] = mouth
        landmarks = Landmarks(face.landmarks.points, confidence=confidence)
        return replace(face, score=score, landmarks=landmarks, pose=replace(face.pose, yaw=yaw))

    faces = [seen(face, 0.92, 0.95) for face in shot(facesets)]
    hand = [seen(face, 0.87, 0.85) for face in faces[:9]]
    profiles = [seen(face, 0.80, 0.80, yaw=40.0) for face in faces[9:14]]
    weights = sample_weights([*hand, *profiles, *faces[14:]])
    assert np.flatnonzero(weights == 0).tolist() == list(range(9))


def test_an_expression_that_the_detector_likes_less_stays(facesets: tuple[FaceSet, FaceSet]) -> None:
    def seen(face: Face, score: float) -> Face:
        return replace(
            face, score=score, landmarks=Landmarks(face.landmarks.points, confidence=np.full(68, 0.97, np.float32))
        )

    faces = [seen(face, 0.86 if row < 12 else 0.95) for row, face in enumerate(shot(facesets))]
    assert sample_weights(faces).all()


def test_closed_eyes_are_dealt_as_rarely_as_the_target_closes_them() -> None:
    source = np.array([0.30] * 30 + [0.08] * 10, np.float32)
    narrow = np.array([0.18] * 15 + [0.16] * 5, np.float32)
    weights = eye_weights(source, narrow)
    assert (weights[:30] == 1).all()
    assert weights[30:].sum() / weights.sum() == pytest.approx(0.05)
    blinking = np.array([0.18] * 16 + [0.03] * 4, np.float32)
    weights = eye_weights(source, blinking)
    assert weights[30:].sum() / weights.sum() == pytest.approx(0.2)


def test_a_source_that_blinks_no_more_than_the_target_is_used_whole() -> None:
    source, target = np.array([0.3] * 18 + [0.05] * 2, np.float32), np.array([0.2] * 15 + [0.02] * 5, np.float32)
    assert (eye_weights(source, target) == 1).all()
    assert (eye_weights(source[-5:], target) == 1).all()


def test_openness_is_height_over_width(facesets: tuple[FaceSet, FaceSet]) -> None:
    face = facesets[0].faces[0].face
    points = face.landmarks.points.copy()
    for first in (36, 42):
        points[first : first + 6] = np.array([(0, 0), (2, -1), (4, -1), (6, 0), (4, 1), (2, 1)], np.float32) * 3
    assert eye_openness([replace(face, landmarks=Landmarks(points))]) == pytest.approx([1 / 3])
    assert eye_openness([]).shape == (0,)


def test_a_few_faces_say_nothing(facesets: tuple[FaceSet, FaceSet]) -> None:
    faces = shot(facesets, 5)
    faces[0] = replace(faces[0], quality=0.0)
    assert sample_weights(faces).all()


@given(st.integers(1, 9), st.lists(st.integers(1, 7), min_size=1, max_size=6))
def test_an_epoch_deals_every_face_once(count: int, portions: list[int]) -> None:
    deck = Deck(torch.ones(count), 5)
    dealt = torch.cat([deck.deal(portion) for portion in portions]).tolist()
    assert len(dealt) == sum(portions)
    for start in range(0, len(dealt) - count + 1, count):
        assert sorted(dealt[start : start + count]) == list(range(count))


def test_weights_are_shares_of_the_epochs() -> None:
    dealt = Deck(torch.tensor([1.0, 0.25, 0.0]), 1).deal(5000).bincount(minlength=3)
    assert int(dealt[2]) == 0
    assert float(dealt[1] / dealt[0]) == pytest.approx(0.25, rel=0.1)


def test_no_face_at_all_is_an_error() -> None:
    with pytest.raises(ValueError, match="positive weight"):
        Deck(torch.zeros(3), 0)


@pytest.mark.parametrize("before", [0, 3, 10, 23])
def test_a_restored_deck_goes_on(before: int) -> None:
    deck = Deck(torch.tensor([1.0, 1, 0.5, 1, 1]), 9)
    if before:
        deck.deal(before)
    state = deck.state()
    expected = deck.deal(40)
    other = Deck(torch.tensor([1.0, 1, 0.5, 1, 1]), 77)
    other.restore(state)
    assert torch.equal(other.deal(40), expected)


def test_states_survive_as_text() -> None:
    state = torch.Generator().manual_seed(4).get_state()
    assert torch.equal(load_bytes(dump_bytes(state)), state)
