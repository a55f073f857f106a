from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from recaster.errors import UsageError
from recaster.merge.composite import Paste, composite
from recaster.merge.settings import MergeSettings
from recaster.types import Framing

Points = Callable[..., np.ndarray]
Pasting = Callable[..., Paste]

MODES = ["overlay", "seamless"]
PLAIN = {mode: MergeSettings(mode=mode, color_transfer="none") for mode in MODES}


def steps(a: np.ndarray, b: np.ndarray) -> int:
    """Largest difference of two uint8 pictures."""
    return int(np.abs(a.astype(int) - b).max())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("transfer", ["none", "rct"])
@pytest.mark.parametrize("framing", list(Framing))
def test_the_same_face_gives_back_the_frame(
    plate: np.ndarray, mode: str, transfer: str, framing: Framing, face_points: Points, paste_on: Pasting
) -> None:
    paste = paste_on(plate, face_points(160, 120, 90, roll=12), framing=framing)
    result = composite(plate, [paste], MergeSettings(mode=mode, color_transfer=transfer))
    assert steps(result, plate) <= 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_what_no_mask_touches_is_returned_bit_for_bit(
    mode: str, dtype: type, face_points: Points, paste_on: Pasting
) -> None:
    rng = np.random.default_rng(0)
    noise = rng.random((240, 320, 3), dtype=np.float32)
    image = noise if dtype is np.float32 else (noise * np.iinfo(dtype).max).astype(dtype)
    paste = paste_on(image, face_points(160, 120, 60), lambda crop: 1 - crop)
    result = composite(image, [paste], PLAIN[mode])
    assert result.dtype == dtype
    changed = (result != image).any(axis=-1)
    assert changed[120, 160]
    away = np.hypot(*(np.mgrid[:240, :320] - np.array([120, 160])[:, None, None])) > 60
    assert not changed[away].any()


def test_the_frame_given_is_not_changed(plate: np.ndarray, face_points: Points, paste_on: Pasting) -> None:
    before = plate.copy()
    composite(plate, [paste_on(plate, face_points(160, 120, 90), lambda crop: crop * 0)], PLAIN["overlay"])
    assert np.array_equal(plate, before)
    assert np.array_equal(composite(plate, [], PLAIN["overlay"]), before)


@given(
    seed=st.integers(0, 999),
    size=st.floats(5, 150),
    x=st.floats(0, 160),
    y=st.floats(0, 120),
    mode=st.sampled_from(MODES),
    transfer=st.sampled_from(["none", "rct"]),
    blur=st.integers(-200, 200),
)
@settings(max_examples=25, deadline=None)
def test_eight_bits_are_within_one_step_of_float(
    seed: int,
    size: float,
    x: float,
    y: float,
    mode: str,
    transfer: str,
    blur: int,
    face_points: Points,
    paste_on: Pasting,
) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (120, 160, 3), dtype=np.uint8)
    paste = paste_on(image, face_points(x, y, size), lambda crop: rng.random(crop.shape), resolution=64)
    knobs = MergeSettings(mode=mode, color_transfer=transfer, blur=blur)
    exact = composite((image / 255).astype(np.float32), [paste], knobs)
    assert np.abs(composite(image, [paste], knobs) - exact * 255.0).max() <= 0.51


def test_seamless_hides_a_face_of_another_brightness(plate: np.ndarray, face_points: Points, paste_on: Pasting) -> None:
    paste = paste_on(plate, face_points(160, 120, 90), lambda crop: crop - 0.12)
    assert steps(composite(plate, [paste], PLAIN["seamless"]), plate) <= 2
    assert steps(composite(plate, [paste], PLAIN["overlay"]), plate) >= 28


def test_a_bright_background_beside_the_face_does_not_shine_into_it(face_points: Points, paste_on: Pasting) -> None:
    """The feather reaches over the background; what is blended in must not."""
    image = np.full((240, 320, 3), 255, np.uint8)
    image[:, :210] = 120
    points = face_points(160, 120, 80)
    paste = paste_on(image, points, lambda crop: np.full_like(crop, 120 / 255))
    for blur in (0, 100, 150):
        result = composite(image, [paste], MergeSettings(mode="seamless", color_transfer="none", blur=blur))
        assert steps(result[100:140, 130:180], image[100:140, 130:180]) <= 6, f"blur {blur}"


@pytest.mark.parametrize("mode", MODES)
def test_no_seam_is_left_on_a_smooth_plate(
    plate: np.ndarray, mode: str, face_points: Points, paste_on: Pasting
) -> None:
    """The default feather: the steepest slope is far below the step between the face and the frame."""
    paste = paste_on(plate, face_points(160, 120, 110), lambda crop: crop + 0.1)
    result = composite(plate, [paste], PLAIN[mode]).astype(np.float32)
    slope = max(np.abs(np.diff(result, axis=axis)).max() for axis in (0, 1))
    assert slope < 25.5 / 4


def test_rct_brings_the_face_to_the_targets_colours(plate: np.ndarray, face_points: Points, paste_on: Pasting) -> None:
    paste = paste_on(plate, face_points(160, 120, 110), lambda crop: np.clip(crop * 0.6 + 0.3, 0, 1))
    middle = (slice(110, 130), slice(150, 170))
    far = composite(plate, [paste], PLAIN["overlay"])[middle].astype(int)
    near = composite(plate, [paste], MergeSettings(color_transfer="rct"))[middle].astype(int)
    assert np.abs(near - plate[middle]).mean() < 0.2 * np.abs(far - plate[middle]).mean()


def test_two_faces_are_laid_on_one_another(plate: np.ndarray, face_points: Points, paste_on: Pasting) -> None:
    black = paste_on(plate, face_points(130, 120, 90), np.zeros_like)
    white = paste_on(plate, face_points(190, 120, 90), np.ones_like)
    both = composite(plate, [black, white], PLAIN["overlay"])
    assert np.array_equal(both, composite(composite(plate, [black], PLAIN["overlay"]), [white], PLAIN["overlay"]))
    assert both[120, 105].max() == 0 and both[120, 195].min() == 255
    assert composite(plate, [white, black], PLAIN["overlay"])[120, 125].max() == 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("x", [0.0, 10.0, 319.0])
@pytest.mark.parametrize("y", [3.0, 239.0])
def test_a_face_cut_by_the_edge(
    plate: np.ndarray, mode: str, x: float, y: float, face_points: Points, paste_on: Pasting
) -> None:
    points = face_points(x, y, 100)
    same = composite(plate, [paste_on(plate, points)], MergeSettings(mode=mode))
    assert steps(same, plate) <= 2
    other = composite(plate, [paste_on(plate, points, lambda crop: 1 - crop)], PLAIN[mode])
    assert steps(other, plate) >= 3


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("place", [(-200, 120), (160, 900), (-150, -150)])
def test_a_face_outside_the_frame_changes_nothing(
    plate: np.ndarray, mode: str, place: tuple[float, float], face_points: Points, paste_on: Pasting
) -> None:
    paste = paste_on(plate, face_points(*place, 80), lambda crop: 1 - crop)
    assert np.array_equal(composite(plate, [paste], MergeSettings(mode=mode)), plate)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [1, 3, 8])
def test_a_tiny_face(plate: np.ndarray, mode: str, size: float, face_points: Points, paste_on: Pasting) -> None:
    paste = paste_on(plate, face_points(160, 120, size), np.zeros_like)
    result = composite(plate, [paste], PLAIN[mode])
    changed = np.argwhere((result != plate).any(axis=-1))
    assert all(np.abs(changed - (120, 160)).max(axis=0) <= 2 * size + 3) if len(changed) else size < 8
    if size == 8 and mode == "overlay":
        assert result[120, 160].max() < 30


@pytest.mark.parametrize("mode", MODES)
def test_a_huge_face(plate: np.ndarray, mode: str, face_points: Points, paste_on: Pasting) -> None:
    paste = paste_on(plate, face_points(200, 200, 3000), lambda crop: crop * 0 + 0.5)
    result = composite(plate, [paste], PLAIN["overlay"])
    assert steps(result, np.full_like(plate, 128)) <= 1
    composite(plate, [paste], PLAIN[mode])


@pytest.mark.parametrize("mode", MODES)
def test_a_face_that_moves_by_a_fraction_takes_the_paste_along(
    mode: str, face_points: Points, paste_on: Pasting
) -> None:
    """Centroid of what the paste changed: it follows in quarter pixels, without a jump."""
    flat = np.full((160, 160, 3), 0.5, np.float32)
    y, x = np.mgrid[:128, :128]
    spot = 0.4 * np.exp(-((x - 64) ** 2 + (y - 64) ** 2) / 200)[..., None]
    places = []
    for quarter in range(9):
        paste = paste_on(flat, face_points(78 + quarter / 4, 80, 60), lambda crop: crop + spot)
        change = (composite(flat, [paste], PLAIN[mode]) - flat)[..., 0].clip(0.02, None) - 0.02
        places.append((change.sum(axis=0) * np.arange(160)).sum() / change.sum())
    assert np.diff(places) == pytest.approx(np.full(8, 0.25), abs=0.03)


@pytest.mark.parametrize("scale", [-50, -20, 0, 30, 50])
def test_face_scale_scales_what_is_pasted(scale: int, face_points: Points, paste_on: Pasting) -> None:
    flat = np.full((400, 400, 3), 0.5, np.float32)
    knobs = MergeSettings(color_transfer="none", face_scale=scale, blur=-200)
    paste = paste_on(flat, face_points(200, 200, 90), np.ones_like)
    area = (composite(flat, [paste], knobs) - 0.5).sum()
    plain = (composite(flat, [paste], knobs.with_values(face_scale=0)) - 0.5).sum()
    assert area / plain == pytest.approx((1 + scale / 100) ** 2, rel=0.03)


def test_more_erosion_changes_less(plate: np.ndarray, face_points: Points, paste_on: Pasting) -> None:
    paste = paste_on(plate, face_points(160, 120, 110), np.zeros_like)
    changed = [
        int((composite(plate, [paste], MergeSettings(color_transfer="none", erode=erode)) != plate).sum())
        for erode in (-200, -100, 0, 100, 200)
    ]
    assert changed == sorted(changed, reverse=True) and len(set(changed)) == 5


def test_learned_masks_decide_what_is_seen(plate: np.ndarray, face_points: Points, paste_on: Pasting) -> None:
    points = face_points(160, 120, 100)
    plain = paste_on(plate, points, np.zeros_like)
    half = np.zeros((128, 128), np.float32)
    half[:, :64] = 1
    learned = Paste(plain.alignment, plain.rgb, plain.target, points, half, np.ones_like(half))
    knobs = MergeSettings(color_transfer="none", mask="learned")
    result = composite(plate, [learned], knobs)
    assert (result[120, 120] == 0).all() and np.array_equal(result[120, 200], plate[120, 200])
    with pytest.raises(UsageError, match="learned"):
        composite(plate, [plain], knobs)


def test_an_empty_learned_mask_changes_nothing(plate: np.ndarray, face_points: Points, paste_on: Pasting) -> None:
    plain = paste_on(plate, face_points(160, 120, 100), np.zeros_like)
    empty = np.zeros((128, 128), np.float32)
    paste = Paste(plain.alignment, plain.rgb, plain.target, plain.points, empty, empty)
    assert np.array_equal(composite(plate, [paste], MergeSettings(mode="seamless")), plate)


def test_a_sharper_prediction_stays_sharp_when_it_is_shrunk_or_enlarged(
    plate: np.ndarray, face_points: Points, paste_on: Pasting
) -> None:
    """A fine checkerboard shrunk eight times becomes grey, not a moiré."""
    checkers = (np.indices((256, 256)).sum(axis=0) % 2).astype(np.float32)[..., None].repeat(3, axis=-1)
    paste = paste_on(plate, face_points(160, 120, 20), lambda crop: checkers, resolution=256)
    middle = composite(plate, [paste], PLAIN["overlay"])[117:123, 157:163]
    assert steps(middle, np.full_like(middle, 128)) <= 4
    assert cv2.meanStdDev(middle)[1].max() < 2
