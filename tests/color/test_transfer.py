from __future__ import annotations

import time

import numpy as np
import pytest
from numpy.typing import NDArray

from recaster.color.lab import lab_to_rgb, rgb_to_lab
from recaster.color.statistics import ColorStatistics, lab_statistics
from recaster.color.transfer import color_transfers, match_statistics
from recaster.errors import UsageError

Image = NDArray[np.float32]


def skin(size: int, seed: int, mean: tuple[float, float, float], std: tuple[float, float, float]) -> Image:
    """Smooth blobs of a colour that sRGB can show."""
    coarse = np.random.default_rng(seed).normal(mean, std, (size // 8, size // 8, 3))
    return lab_to_rgb(np.repeat(np.repeat(coarse, 8, axis=0), 8, axis=1).astype(np.float32))


def disc(size: int) -> Image:
    """A soft round mask."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return np.clip((0.4 * size - np.hypot(x, y)) / (0.1 * size) + 0.5, 0, 1).astype(np.float32)


PALE = skin(128, 1, (65, 12, 16), (6, 2, 2))
TANNED = skin(96, 2, (45, 18, 24), (9, 3, 4))


@pytest.mark.parametrize("name", color_transfers.names())
def test_a_transfer_onto_itself_is_the_identity(name: str) -> None:
    transfer = color_transfers.get(name)
    for image in (PALE, np.random.default_rng(0).random((96, 96, 3), np.float32)):
        mask = disc(len(image))
        moved = transfer(image, image, mask, mask)
        assert moved.dtype == np.float32
        assert np.abs(moved - image).max() < 1e-3


@pytest.mark.parametrize("name", color_transfers.names())
def test_a_transfer_stays_in_range_and_leaves_its_arguments_alone(name: str) -> None:
    dark, bright = PALE * 0.05, np.random.default_rng(0).random((64, 64, 3), np.float32)
    for array in (dark, bright):
        array.setflags(write=False)
    for image, reference in ((dark, bright), (bright, dark)):
        moved = color_transfers.get(name)(image, reference, disc(len(image)), disc(len(reference)))
        assert moved.shape == image.shape
        assert moved.min() >= 0
        assert moved.max() <= 1


@pytest.mark.parametrize("name", color_transfers.names())
@pytest.mark.parametrize("empty", ["image", "reference"])
def test_an_empty_mask_changes_nothing(name: str, empty: str) -> None:
    masks = [disc(128) * (empty != "image"), disc(96) * (empty != "reference")]
    moved = color_transfers.get(name)(PALE, TANNED, masks[0].astype(np.float32), masks[1].astype(np.float32))
    np.testing.assert_array_equal(moved, PALE)
    assert moved is not PALE


def test_rct_brings_the_statistics_of_the_reference() -> None:
    moved = color_transfers.get("rct")(PALE, TANNED, disc(128), disc(96))
    found, wanted = lab_statistics(moved, disc(128)), lab_statistics(TANNED, disc(96))
    np.testing.assert_allclose(found.mean, wanted.mean, atol=0.05)
    np.testing.assert_allclose(found.std, wanted.std, atol=0.05)


def test_rct_measures_inside_the_masks_only() -> None:
    """A green wall around the face, or around the reference, changes no pixel of the face."""
    image_mask, reference_mask = disc(128), disc(96)
    walled, walled_reference = PALE.copy(), TANNED.copy()
    walled[image_mask == 0] = (0, 1, 0)
    walled_reference[reference_mask == 0] = (0, 1, 0)
    rct = color_transfers.get("rct")
    plain = rct(PALE, TANNED, image_mask, reference_mask)
    inside = image_mask > 0
    np.testing.assert_allclose(rct(walled, TANNED, image_mask, reference_mask)[inside], plain[inside], atol=1e-5)
    np.testing.assert_allclose(rct(PALE, walled_reference, image_mask, reference_mask), plain, atol=1e-5)


def test_a_golden_colour() -> None:
    """Two greys and a reference of two other greys: the answer follows by hand, L -> 60 + (L - 40) * 5 / 10."""
    lab = np.zeros((1, 2, 3), np.float32)
    lab[0, :, 0] = (30, 50)
    wanted = np.zeros((1, 2, 3), np.float32)
    wanted[0, :, 0] = (55, 65)
    ones = np.ones((1, 2), np.float32)
    moved = color_transfers.get("rct")(lab_to_rgb(lab), lab_to_rgb(wanted), ones, ones)
    np.testing.assert_allclose(rgb_to_lab(moved), wanted, atol=0.02)


def test_the_statistics_serve_on_their_own() -> None:
    """What a merge does: the reference's statistics come from elsewhere, say smoothed over time."""
    own, target = lab_statistics(PALE, disc(128)), lab_statistics(TANNED, disc(96))
    direct = color_transfers.get("rct")(PALE, TANNED, disc(128), disc(96))
    np.testing.assert_allclose(match_statistics(PALE, own, target), direct, atol=1e-6)
    smoothed = ColorStatistics(mean=(own.mean + target.mean) / 2, std=own.std)
    found = lab_statistics(match_statistics(PALE, own, smoothed), disc(128))
    np.testing.assert_allclose(found.mean, smoothed.mean, atol=0.05)


def test_a_channel_without_spread_is_only_shifted() -> None:
    flat = np.full((128, 128, 3), 0.4, np.float32)
    moved = color_transfers.get("rct")(flat, TANNED, disc(128), disc(96))
    wanted = lab_statistics(TANNED, disc(96)).mean
    np.testing.assert_allclose(rgb_to_lab(moved), np.broadcast_to(wanted, moved.shape), atol=0.05)


def test_an_unknown_transfer_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="rct"):
        color_transfers.get("nothing")


def test_rct_is_fast_enough_for_a_merge() -> None:
    """4 ms for a 256-px face on an idle core; the bound allows for a busy machine."""
    image, mask = np.random.default_rng(0).random((256, 256, 3), np.float32), disc(256)
    rct = color_transfers.get("rct")
    times = []
    for _ in range(20):
        start = time.perf_counter()
        rct(image, image, mask, mask)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.012
