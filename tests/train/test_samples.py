from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from recaster.errors import Interrupted, MissingError, UsageError
from recaster.faces.faceset import FaceSet
from recaster.geometry.framing import align
from recaster.geometry.landmarks import hull_mask
from recaster.geometry.similarity import apply_matrix, compose, invert_matrix
from recaster.geometry.warp import warp_crop
from recaster.progress import Recorded
from recaster.train.augment import plain_grid, render, unchanged
from recaster.train.samples import FaceSamples, cache_size
from recaster.types import Framing

CPU = torch.device("cpu")


def test_samples_are_the_model_s_crops(facesets: tuple[FaceSet, FaceSet]) -> None:
    """What training sees must lie where the merge later crops: bit by bit impossible, half a pixel would be seen."""
    samples = FaceSamples.load(facesets[0], Framing.FULL, 32, CPU)
    plain = samples.plain(range(6)).permute(0, 2, 3, 1).numpy()
    for stored, shown in zip(facesets[0], plain, strict=True):
        wanted = align(stored.face.landmarks.points, Framing.FULL, 32).frame_to_crop
        matrix = compose(invert_matrix(stored.face.alignment.frame_to_crop), wanted)
        errors = []
        for shift in (0.0, 0.5):
            moved = compose(matrix, np.array([[1.0, 0, shift], [0, 1, 0]]))
            expected = warp_crop(stored.picture(), moved, 32, border="replicate") / 255
            errors.append(float(np.sqrt(np.square(expected - shown)[2:-2, 2:-2].mean())))
        assert errors[0] < 0.02 and errors[0] < 0.6 * errors[1]


def test_the_mask_is_the_hull_of_the_landmarks(facesets: tuple[FaceSet, FaceSet]) -> None:
    samples = FaceSamples.load(facesets[0], Framing.FULL, 32, CPU)
    grid = plain_grid(unchanged(6), 32)
    masks = render(samples.pictures[:, 3:].float() / 255, grid, samples.span)[:, 0].numpy()
    for stored, mask in zip(facesets[0], masks, strict=True):
        points = stored.face.landmarks.points
        expected = hull_mask(apply_matrix(align(points, Framing.FULL, 32).frame_to_crop, points), (32, 32))
        assert float(np.abs(expected - mask).mean()) < 0.02
        assert 0.2 < mask.mean() < 0.9


def test_one_tensor_holds_all_and_says_its_size(facesets: tuple[FaceSet, FaceSet]) -> None:
    samples = FaceSamples.load(facesets[0], Framing.FULL, 128, CPU)
    assert samples.pictures.dtype == torch.uint8 and samples.pictures.shape == (6, 4, 184, 184)
    assert samples.memory == 6 * 4 * cache_size(128) ** 2
    assert len(samples) == 6 and bool((samples.weights == 1).all())


def test_unusable_files_are_skipped_and_named(tmp_path: Path, make_faceset: Callable[..., FaceSet]) -> None:
    faceset = make_faceset(tmp_path / "faces", 4)
    good = faceset.faces[1].path
    faceset.faces[2].path.write_bytes(faceset.faces[2].path.read_bytes()[:-200])
    (tmp_path / "faces" / "notes.txt").write_text("mine")
    faceset.refresh()
    progress = Recorded()
    samples = FaceSamples.load(faceset, Framing.FULL, 32, CPU, progress=progress)
    assert len(samples) == 3 and good.name not in dict(samples.skipped)
    assert {"notes.txt", "00003_0.jpg"} == set(dict(samples.skipped))
    assert any("2 files skipped" in note and "00003_0.jpg" in note for note in progress.notes)


def test_one_face_is_enough_but_said(tmp_path: Path, make_faceset: Callable[..., FaceSet]) -> None:
    progress = Recorded()
    samples = FaceSamples.load(make_faceset(tmp_path, 1), Framing.FULL, 32, CPU, leave_out=True, progress=progress)
    assert len(samples) == 1 and float(samples.weights[0]) == 1
    assert any("only one face" in note for note in progress.notes)


def test_no_face_is_an_error_with_a_mend(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"no usable face.*Extract"):
        FaceSamples.load(FaceSet(tmp_path), Framing.FULL, 32, CPU)


def test_a_larger_framing_than_stored_is_refused(tmp_path: Path, make_faceset: Callable[..., FaceSet]) -> None:
    faceset = make_faceset(tmp_path, 2, framing=Framing.HALF)
    with pytest.raises(UsageError, match="2 of 2 faces are stored in the framing half, the model needs full"):
        FaceSamples.load(faceset, Framing.FULL, 32, CPU)
    assert len(FaceSamples.load(faceset, Framing.HALF, 32, CPU)) == 2


def test_loading_can_be_stopped(facesets: tuple[FaceSet, FaceSet]) -> None:
    class Stop(Recorded):
        def advance(self, count: int = 1, **figures: float) -> None:
            raise Interrupted("enough")

    with pytest.raises(Interrupted):
        FaceSamples.load(facesets[0], Framing.FULL, 32, CPU, progress=Stop())
