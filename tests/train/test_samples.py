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
from recaster.train.augment import augment, unchanged
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
    masks = augment(samples.pictures, unchanged(6), 32, samples.span).mask[:, 0].numpy()
    for stored, mask in zip(facesets[0], masks, strict=True):
        points = stored.face.landmarks.points
        expected = hull_mask(apply_matrix(align(points, Framing.FULL, 32).frame_to_crop, points), (32, 32))
        assert float(np.abs(expected - mask).mean()) < 0.02
        assert 0.2 < mask.mean() < 0.9


def test_one_tensor_holds_all_and_says_its_size(facesets: tuple[FaceSet, FaceSet]) -> None:
    samples = FaceSamples.load(facesets[0], Framing.FULL, 128, CPU)
    assert samples.pictures.dtype == torch.uint8 and samples.pictures.shape == (6, 184, 184, 4)
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


def test_eyes_and_mouth_are_cached_where_they_are_needed(facesets: tuple[FaceSet, FaceSet]) -> None:
    without = FaceSamples.load(facesets[0], Framing.FULL, 64, CPU)
    samples = FaceSamples.load(facesets[0], Framing.FULL, 64, CPU, features=True)
    assert samples.has_features and not without.has_features
    assert torch.equal(samples.pictures[..., :4], without.pictures)
    features = samples.pictures[..., 4]
    assert bool((features.flatten(1).amax(1) == 255).all())
    assert 0.03 < float((features > 127).float().mean()) < 0.25
    for stored, shown in zip(facesets[0], features, strict=True):
        points = stored.face.landmarks.points
        here = apply_matrix(align(points, Framing.FULL, 64).frame_to_crop, points)
        for part in (slice(36, 42), slice(42, 48), slice(48, 60)):
            x, y = ((here[part].mean(0) + 0.5) / 64 - 0.5) / samples.span * len(shown) + (len(shown) - 1) / 2
            assert int(shown[round(float(y)), round(float(x))]) == 255


def test_eyes_and_mouth_are_limited_to_the_face(
    facesets: tuple[FaceSet, FaceSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recaster.train.samples.feature_mask", lambda points, shape: np.ones(shape, np.float32))
    pictures = FaceSamples.load(facesets[0], Framing.FULL, 32, CPU, features=True).pictures
    sure = (pictures[..., 3] > 0) | (pictures[..., 4] == 0)
    assert bool(sure.all()) and 0.2 < float((pictures[..., 4] == 255).float().mean()) < 0.9


def test_directions_are_known(facesets: tuple[FaceSet, FaceSet]) -> None:
    samples = FaceSamples.load(facesets[0], Framing.FULL, 32, CPU)
    assert samples.yaw.tolist() == pytest.approx([stored.face.pose.yaw for stored in facesets[0]], abs=1e-4)


def test_faces_on_the_host_are_the_same_faces(facesets: tuple[FaceSet, FaceSet]) -> None:
    device, host = (
        FaceSamples.load(facesets[0], Framing.FULL, 32, CPU, faces_on=place) for place in ("device", "host")
    )
    assert host.on_host and not device.on_host
    assert torch.equal(host.plain([3, 1, 3]), device.plain([3, 1, 3]))
    assert torch.equal(host.take(torch.tensor([4, 4])), device.pictures[[4, 4]])


@pytest.mark.parametrize(("free", "on_host"), [(0, False), (8 * 6 * 46 * 46 * 4, False), (6 * 46 * 46 * 4, True)])
def test_faces_that_do_not_fit_beside_the_model_stay_on_the_host(
    facesets: tuple[FaceSet, FaceSet], monkeypatch: pytest.MonkeyPatch, free: int, on_host: bool
) -> None:
    """The meta device stands for one whose memory is small."""
    monkeypatch.setattr("recaster.train.samples.free_memory", lambda device: free)
    samples = FaceSamples.load(facesets[0], Framing.FULL, 32, torch.device("meta"))
    assert samples.on_host == on_host
    assert samples.pictures.device.type == ("cpu" if on_host else "meta")


def test_skipped_faces_leave_no_gap(tmp_path: Path, make_faceset: Callable[..., FaceSet]) -> None:
    faceset = make_faceset(tmp_path, 5)
    whole = FaceSamples.load(faceset, Framing.FULL, 32, CPU)
    for row in (0, 3):
        path = faceset.faces[row].path
        path.write_bytes(path.read_bytes()[:-200])
    samples = FaceSamples.load(faceset, Framing.FULL, 32, CPU)
    assert torch.equal(samples.pictures, whole.pictures[[1, 2, 4]])
    assert samples.yaw.tolist() == whole.yaw[[1, 2, 4]].tolist()
