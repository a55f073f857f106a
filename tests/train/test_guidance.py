from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recaster.faces.extract import extract_faces
from recaster.faces.faceset import FaceSet
from recaster.faces.options import ExtractOptions
from recaster.geometry.framing import align
from recaster.geometry.mean_face import MODEL_3D
from recaster.train.guidance import FEW_FACES, advise
from recaster.types import Faces, Framing


def a_table(count: int = 400, width: float = 200, *, stored: int = 384, seed: int = 0) -> Faces:
    """Frontal faces of ``width`` px in the full framing, sharp, eyes open, mouth closed; each a little different."""
    draw = np.random.default_rng(seed)
    base = (MODEL_3D[:, :2] - MODEL_3D[:, :2].min(0)) / np.ptp(MODEL_3D[:, 1])
    base *= width / (1 / np.sqrt(np.linalg.det(align(base, Framing.FULL, 1).frame_to_crop[:, :2])))
    points = (base + draw.normal(0, width / 2000, (count, 68, 2))).astype(np.float32)
    points[:, 60:68] = 0
    points[:, [60, 64], 0] = [0.3 * width, 0.5 * width]
    points[:, 60:68, 1] = base[60:68, 1].mean()
    points[:, [61, 62, 63, 67, 66, 65], 0] = np.linspace(0.35, 0.45, 3).repeat(2).reshape(3, 2).T.ravel() * width
    return Faces(
        frame=np.array([f"{row:05d}" for row in range(count)]),
        box=np.zeros((count, 4), np.float32),
        points=points,
        pose=draw.uniform(-15, 15, (count, 3)).astype(np.float32),
        frame_to_crop=np.array([align(row, Framing.WHOLE, stored).frame_to_crop for row in points]),
        score=np.ones(count, np.float32),
        quality=np.full(count, 0.1, np.float32),
        track=np.zeros(count, np.int32),
        person=np.full(count, ""),
    )


def turned(faces: Faces, low: float, high: float, rows: slice, column: int = 0) -> Faces:
    pose = faces.pose.copy()
    count = len(pose[rows])
    pose[rows, column] = np.linspace(low, high, count, endpoint=False)
    return replace(faces, pose=pose)


def with_closed_eyes(faces: Faces, rows: slice) -> Faces:
    points = faces.points.copy()
    for upper, lower in ((37, 41), (38, 40), (43, 47), (44, 46)):
        points[rows, lower] = points[rows, upper]
    return replace(faces, points=points)


def with_mouth(faces: Faces, openness: float, rows: slice) -> Faces:
    points = faces.points.copy()
    width = np.linalg.norm(points[rows, 60] - points[rows, 64], axis=1)
    points[rows, 65:68, 1] += openness * width[:, None]
    return replace(faces, points=points)


def said(src: Faces, dst: Faces, resolution: int = 128, *, mirrored: bool = True) -> list[str]:
    lines = advise(src, dst, framing=Framing.FULL, resolution=resolution, mirrored=mirrored)
    assert all("\n" not in line and line.endswith(".") for line in lines)
    return lines


def test_good_material_needs_no_advice() -> None:
    assert said(a_table(), a_table(seed=1)) == []
    assert said(a_table()[:0], a_table()) == said(a_table(), a_table()[:0]) == []


def test_few_faces() -> None:
    (line,) = said(a_table(FEW_FACES - 1), a_table(seed=1))
    assert line.startswith("The source has 199 faces, usual are 500 to 3000")
    assert said(a_table(FEW_FACES), a_table(seed=1)) == []


def test_directions_that_the_source_lacks() -> None:
    dst = turned(a_table(seed=1), 30, 50, slice(0, 40))
    (line,) = said(a_table(), dst)
    assert "40 of 400 target faces look 30 to 50 degrees to the right (yaw), but 0 of 400 source faces do" in line
    assert "random_flip" not in line
    dst = turned(turned(a_table(seed=1), -50, -40, slice(0, 40)), 30, 40, slice(50, 90), column=1)
    one, two = said(a_table(), dst)
    assert "40 of 400 target faces look 40 to 50 degrees to the left (yaw)" in one
    assert "40 of 400 target faces look 30 to 40 degrees up (pitch)" in two
    assert said(a_table(), turned(a_table(seed=1), 30, 50, slice(0, 2))) == [], "two faces are no matter"


def test_mirrored_faces_cover_the_other_side() -> None:
    src = turned(a_table(), -55, -25, slice(0, 100))
    dst = turned(a_table(seed=1), 30, 50, slice(0, 40))
    assert said(src, dst, mirrored=True) == []
    (line,) = said(src, dst, mirrored=False)
    assert "to the right (yaw), but 0 of 400" in line and "or mirror it with random_flip" in line
    down = turned(a_table(), -45, -25, slice(0, 100), column=1)
    dst = turned(a_table(seed=1), 30, 40, slice(0, 40), column=1)
    assert len(said(down, dst, mirrored=True)) == 1, "pitch has no mirror"


def test_a_small_step_beyond_a_border_is_covered() -> None:
    src = turned(a_table(), -19.9, 19.9, slice(0, 400))
    assert said(src, turned(a_table(seed=1), 20, 24, slice(0, 40))) == []


def test_blinks_that_the_source_lacks() -> None:
    dst = with_closed_eyes(a_table(seed=1), slice(0, 20))
    (line,) = said(with_closed_eyes(a_table(), slice(0, 4)), dst)
    assert "20 of 400 target faces have closed eyes, but 4 of 400 source faces" in line
    assert said(with_closed_eyes(a_table(), slice(0, 10)), dst) == []
    assert said(a_table(), with_closed_eyes(a_table(seed=1), slice(0, 2))) == []


def test_mouths_that_the_source_lacks() -> None:
    dst = with_mouth(with_mouth(a_table(seed=1), 0.25, slice(0, 50)), 0.6, slice(100, 130))
    one, two = said(a_table(), dst)
    assert "30 of 400 target faces have wide open mouths, but 0 of" in one
    assert "50 of 400 target faces have open mouths, but 0 of" in two
    src = with_mouth(with_mouth(a_table(), 0.25, slice(0, 50)), 0.6, slice(100, 130))
    assert said(src, dst) == []


def test_blurred_faces() -> None:
    quality = np.full(400, 0.1, np.float32)
    quality[:201] = 0.005
    (line,) = said(replace(a_table(), quality=quality), a_table(seed=1))
    assert line.startswith("201 of 400 source faces are blurred")
    quality[200] = 0.1
    assert said(replace(a_table(), quality=quality), a_table(seed=1)) == []
    assert said(replace(a_table(), quality=np.zeros(400, np.float32)), a_table(seed=1)) == [], "not known"


def test_sizes() -> None:
    assert said(a_table(width=110), a_table(seed=1)) == []
    (line,) = said(a_table(width=90), a_table(seed=1))
    assert "The source's faces are 90 px wide, the model's 128 px: take a source that is nearer" in line
    (line,) = said(a_table(stored=100), a_table(seed=1))
    assert "px wide as they are stored, the model's 128 px: extract the source with a larger size" in line
    (line,) = said(a_table(), a_table(seed=1, width=640))
    assert "The target's faces are 640 px wide and the model's 128 px, so the result is enlarged 5.0 times" in line
    assert said(a_table(), a_table(seed=1, width=400), 96)[0].startswith("The target's faces")


@pytest.mark.slow
def test_a_real_pair(clips: Path, tmp_path: Path) -> None:
    """A man who smiles and blinks but turns nowhere, from a woman who does all of that; and the other way round."""
    options = ExtractOptions(detector="fast", size=256)
    sets = []
    for name in ("man_smile", "woman_expressions"):
        folder = tmp_path / name
        extract_faces(clips / f"{name}.mp4", folder, options)
        sets.append(FaceSet(folder).table())
    man, woman = sets
    assert said(woman, man, 64) == []
    lines = said(man, woman, 64)
    assert lines[0].startswith("The source has 7")
    assert any("degrees to the left (yaw)" in line or "degrees to the right (yaw)" in line for line in lines)
    assert any("closed eyes" in line for line in lines)
