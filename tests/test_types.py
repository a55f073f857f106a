"""The values check themselves, filter and join."""

from __future__ import annotations

import numpy as np
import pytest

from recaster.errors import MediaError
from recaster.types import Alignment, Face, Faces, Framing, Landmarks, Pose


def face(frame: str, left: float = 0.0) -> Face:
    return Face(
        frame=frame,
        box=(left, 0, left + 10, 10),
        landmarks=Landmarks(np.zeros((68, 2), np.float32)),
        pose=Pose(1, 2, 3),
        alignment=Alignment(np.eye(2, 3), 64, Framing.FULL),
    )


def test_faces_filter_join_and_group() -> None:
    faces = Faces.of([face("00002", 5), face("00001"), face("00001", 20)])
    assert len(faces) == 3
    assert faces[faces.box[:, 0] > 1].frame.tolist() == ["00002", "00001"]
    assert len(faces[:1] + faces[1:]) == 3
    assert [(name, len(rows)) for name, rows in faces.by_frame()] == [("00001", 2), ("00002", 1)]


def test_no_faces_have_the_right_shapes() -> None:
    none = Faces.of([])
    assert none.points.shape == (0, 68, 2)
    assert none.frame_to_crop.shape == (0, 2, 3)
    assert len(none + Faces.of([face("1")])) == 1


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"points has shape \(5, 2\)"):
        Landmarks(np.zeros((5, 2), np.float32))
    with pytest.raises(ValueError, match="frame_to_crop"):
        Alignment(np.eye(3), 64, Framing.FULL)


def test_an_error_is_one_line_with_place_and_mend() -> None:
    error = MediaError("the file\nis truncated", where="a b.mp4", frame=17, mend="Copy it again.")
    assert str(error) == "a b.mp4, frame 17: the file is truncated. Copy it again."
