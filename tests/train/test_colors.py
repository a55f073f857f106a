from __future__ import annotations

import colorsys

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from torch import Generator, Tensor

from recaster.color import lab
from recaster.color.transfer import transfer_reinhard
from recaster.train import sliced
from recaster.train.colors import (
    LEAST_VARIANCE,
    color_map,
    draw_jitter,
    jitter,
    match_masked,
    monge_map,
    principal_map,
    roots,
)
from recaster.train.colorspace import hsv_to_rgb, lab_to_rgb, rgb_to_hsv, rgb_to_lab

WHOLE = ("rct", "lct", "mkl", "idt", "sot")


def noise(mean: tuple[float, float, float], spread: float, seed: int) -> Tensor:
    values = torch.randn(2, 3, 24, 24, generator=Generator().manual_seed(seed)) * spread
    return (values + torch.tensor(mean)[None, :, None, None]).clamp(0, 1)


def correlated(mean: tuple[float, float, float], seed: int, count: int = 3) -> Tensor:
    """Pictures (count, 3, 32, 32) whose channels hang together, as those of faces do; well inside 0..1."""
    generator = Generator().manual_seed(seed)
    mixing = torch.randn(count, 3, 3, generator=generator) * 0.01 + 0.04 * torch.eye(3)
    values = mixing @ torch.randn(count, 3, 1024, generator=generator).clamp(-2.5, 2.5)
    return (values + torch.tensor(mean)[None, :, None]).view(count, 3, 32, 32).clamp(0, 1)


def mapped(kind: str, pictures: Tensor, references: Tensor) -> Tensor:
    mask = torch.ones(len(pictures), 1, *pictures.shape[2:])
    return color_map(kind, pictures, mask, references, mask)(pictures)


def covariance(pictures: Tensor) -> Tensor:
    return torch.stack([torch.cov(picture.flatten(1), correction=0) for picture in pictures])


def random_covariance(seed: int, condition: float) -> Tensor:
    generator = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(generator.normal(size=(4, 3, 3)))
    values = 0.05 * condition ** -generator.uniform(0, 1, (4, 3, 1))
    return torch.from_numpy(basis.transpose(0, 2, 1) * values.transpose(0, 2, 1) @ basis)


def test_mean_and_spread_are_taken_over_inside_the_mask() -> None:
    source, reference = noise((0.7, 0.5, 0.4), 0.05, 0), noise((0.4, 0.35, 0.45), 0.08, 1)
    mask = torch.zeros(2, 1, 24, 24)
    mask[:, :, 4:20, 4:20] = 1
    source[:, :, :4] = 0  # outside, it must not count
    reference[:, :, 20:] = 1
    changed = color_map("match", source, mask, reference, mask)(source)[:, :, 4:20, 4:20].flatten(2)
    wanted = reference[:, :, 4:20, 4:20].flatten(2)
    assert torch.allclose(changed.mean(2), wanted.mean(2), atol=0.005)
    assert torch.allclose(changed.std(2), wanted.std(2), rtol=0.15)


@pytest.mark.parametrize("kind", ["match", *WHOLE])
def test_equal_colors_stay(kind: str) -> None:
    source = correlated((0.5, 0.4, 0.35), 2)
    assert torch.allclose(mapped(kind, source, source), source, atol=2e-3)


def test_an_empty_mask_keeps_the_colors() -> None:
    source, reference = noise((0.7, 0.5, 0.4), 0.05, 0), noise((0.2, 0.3, 0.4), 0.1, 1)
    full, empty = torch.ones(2, 1, 24, 24), torch.zeros(2, 1, 24, 24)
    for masks in ((full, empty), (empty, full)):
        changed = color_map("match", source, masks[0], reference, masks[1])(source)
        assert torch.allclose(changed, source, atol=1e-5)


def test_a_flat_picture_is_not_blown_up() -> None:
    flat, reference, mask = torch.full((2, 3, 24, 24), 0.5), noise((0.5, 0.5, 0.5), 0.2, 3), torch.ones(2, 1, 24, 24)
    matrix, _ = match_masked(flat, mask, reference, mask)
    assert float(torch.linalg.matrix_norm(matrix, 2).max()) <= 2.0001


@pytest.mark.parametrize("kind", WHOLE)
def test_flat_and_extreme_pictures_give_finite_colors(kind: str) -> None:
    extremes = torch.stack([torch.zeros(3, 32, 32), torch.ones(3, 32, 32), torch.full((3, 32, 32), 0.5)])
    busy = correlated((0.5, 0.5, 0.5), 1)
    for source, reference in ((extremes, busy), (busy, extremes), (extremes, extremes.flip(0))):
        changed = mapped(kind, source, reference)
        assert changed.shape == source.shape and bool(changed.isfinite().all())
        assert float(changed.min()) >= 0 and float(changed.max()) <= 1


def distance(first: Tensor, second: Tensor) -> float:
    """Mean distance of the sorted colors along many directions."""
    directions = torch.randn(50, 3, generator=Generator().manual_seed(9))
    directions = directions / directions.norm(dim=1, keepdim=True)
    a, b = ((directions @ pictures.flatten(2)).sort(2).values for pictures in (first, second))
    return float((a - b).abs().mean())


@pytest.mark.parametrize("kind", ["lct", "mkl"])
def test_mean_and_covariance_become_the_reference_s(kind: str) -> None:
    source, reference = correlated((0.6, 0.45, 0.4), 4), correlated((0.45, 0.4, 0.5), 5)
    changed = mapped(kind, source, reference)
    assert torch.allclose(changed.flatten(2).mean(2), reference.flatten(2).mean(2), atol=1e-3)
    off, before = ((covariance(these) - covariance(reference)).abs().max() for these in (changed, source))
    assert float(off) < 0.03 * float(before)


def test_sot_takes_over_the_whole_distribution() -> None:
    source = correlated((0.6, 0.45, 0.4), 4)
    dark = torch.rand(3, 1, 32, 32, generator=Generator().manual_seed(1)) < 0.3
    reference = torch.where(dark, 0.2, 0.6) + correlated((0.0, 0.1, 0.05), 6)
    changed = mapped("sot", source, reference)
    assert distance(changed, reference) < 0.04 * distance(source, reference)
    assert torch.allclose(changed.flatten(2).mean(2), reference.flatten(2).mean(2), atol=2e-3)


@pytest.mark.parametrize("kind", ["idt", "sot"])
def test_sliced_transfers_sort_and_match(kind: str) -> None:
    """The plain way: all pixels sorted along each direction, the first moved to the first, the last to the last."""
    source, reference = correlated((0.6, 0.45, 0.4), 4), correlated((0.45, 0.4, 0.5), 5)
    count, share = sliced.STEPS[kind]
    changed = mapped(kind, source, reference)
    for row in range(3):
        colors, wanted = (pictures[row].reshape(3, -1).double().numpy() for pictures in (source, reference))
        for axes in sliced._rotations(count).double().numpy():
            along, there = axes @ colors, np.sort(axes @ wanted, axis=1)
            ranks = along.argsort(axis=1).argsort(axis=1)
            colors = colors + share * axes.T @ (np.take_along_axis(there, ranks, axis=1) - along)
        np.testing.assert_allclose(changed[row].reshape(3, -1).numpy(), colors.clip(0, 1), atol=0.05)
        assert float(np.abs(changed[row].reshape(3, -1).numpy() - colors).mean()) < 0.002


def test_directions_are_perpendicular_and_always_the_same() -> None:
    axes = sliced._rotations(10)
    assert torch.allclose(axes @ axes.mT, torch.eye(3).expand(10, 3, 3), atol=1e-6)
    assert torch.allclose(torch.linalg.det(axes), torch.ones(10), atol=1e-6)
    sliced._rotations.cache_clear()
    assert torch.equal(axes, sliced._rotations(10))


def test_idt_goes_two_thirds_of_the_way() -> None:
    source, reference = correlated((0.6, 0.45, 0.4), 4), correlated((0.45, 0.4, 0.5), 5)
    changed = mapped("idt", source, reference)
    gone = (changed - source).flatten(2).mean(2) / (reference - source).flatten(2).mean(2)
    assert torch.allclose(gone, torch.full_like(gone, 1 - (1 - 1 / 20) ** 20), atol=0.06)


def test_rct_is_the_one_of_the_merge() -> None:
    source, reference = correlated((0.6, 0.45, 0.4), 4), correlated((0.45, 0.4, 0.5), 5)
    changed = mapped("rct", source, reference)
    full = np.ones((32, 32), np.float32)
    for row in range(3):
        pictures = [picture[row].permute(1, 2, 0).numpy() for picture in (source, reference)]
        expected = transfer_reinhard(*pictures, full, full)
        np.testing.assert_allclose(changed[row].permute(1, 2, 0).numpy(), expected, atol=2e-3)


def test_what_was_measured_is_applied_to_other_pictures_too() -> None:
    source, reference = correlated((0.6, 0.45, 0.4), 4), correlated((0.45, 0.4, 0.5), 5)
    mask = torch.ones(3, 1, 32, 32)
    for kind in ("match", *WHOLE):
        change = color_map(kind, source, mask, reference, mask)
        shuffled = source.flip(2)
        assert torch.allclose(change(shuffled), change(source).flip(2), atol=1e-5), kind


@given(st.integers(0, 2**31), st.floats(1, 1e4))
def test_roots_are_roots(seed: int, condition: float) -> None:
    matrices = random_covariance(seed, condition)
    values, vectors = torch.linalg.eigh(matrices)
    root, inverse = roots(matrices.float())
    expected = vectors @ torch.diag_embed(values.sqrt()) @ vectors.mT
    assert torch.allclose(root.double(), expected, atol=2e-4 * float(expected.abs().max()))
    assert torch.allclose(
        (inverse @ matrices.float() @ inverse).double(), torch.eye(3, dtype=torch.float64).expand(4, 3, 3), atol=0.02
    )


@given(st.integers(0, 2**31))
def test_linear_maps_turn_one_covariance_into_the_other(seed: int) -> None:
    own, wanted = (random_covariance(seed + step, 500).float() for step in (0, 1))
    own, wanted = (matrices + LEAST_VARIANCE * torch.eye(3) for matrices in (own, wanted))
    for matrix in (principal_map(own, wanted), monge_map(own, wanted)):
        assert torch.allclose(matrix @ own @ matrix.mT, wanted, atol=2e-3 * float(wanted.abs().max()))
    matrix = monge_map(own, wanted)
    assert torch.allclose(matrix, matrix.mT, atol=2e-3 * float(matrix.abs().max())), "moves colors least"
    assert bool((torch.linalg.eigvalsh(matrix) > 0).all())


def test_lab_is_the_one_of_the_merge() -> None:
    pictures = torch.rand(2, 3, 40, 40, generator=Generator().manual_seed(0)) ** 2
    pictures[0, :, 0] = torch.tensor([[0.0], [1.0], [0.02]])
    for picture, ours in zip(pictures, rgb_to_lab(pictures), strict=True):
        expected = lab.rgb_to_lab(picture.permute(1, 2, 0).numpy())
        np.testing.assert_allclose(ours.permute(1, 2, 0).numpy(), expected, atol=2e-3)
    assert torch.allclose(lab_to_rgb(rgb_to_lab(pictures)), pictures, atol=1e-4)


@given(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3))
def test_hsv_is_python_s(color: list[float]) -> None:
    picture = torch.tensor(color).view(1, 3, 1, 1)
    hue, saturation, value = rgb_to_hsv(picture).flatten().tolist()
    expected = colorsys.rgb_to_hsv(*color)
    assert value == pytest.approx(expected[2], abs=1e-6)
    if value > 1e-3:
        assert saturation == pytest.approx(expected[1], abs=1e-4)
    if expected[1] * expected[2] > 1e-3:
        difference = (hue - 360 * expected[0] + 180) % 360 - 180
        assert abs(difference) < 0.1
    assert torch.allclose(hsv_to_rgb(rgb_to_hsv(picture)), picture, atol=1e-5)


def test_hue_is_counted_in_degrees_as_by_opencv() -> None:
    picture = torch.rand(1, 3, 16, 16, generator=Generator().manual_seed(0)) * 0.8 + 0.1
    expected = cv2.cvtColor(picture[0].permute(1, 2, 0).numpy(), cv2.COLOR_RGB2HSV)
    np.testing.assert_allclose(rgb_to_hsv(picture)[0].permute(1, 2, 0).numpy(), expected, atol=2e-2)


def test_jitter_is_drawn_within_its_ranges() -> None:
    changes = draw_jitter(4000, 0.05, Generator().manual_seed(0))
    assert sorted(set(changes[:, 0].tolist())) == list(range(-9, 10))
    assert 0.0249 < float(changes[:, 1:].abs().max()) <= 0.025
    assert abs(float(changes[:, 1:].mean())) < 0.001
    assert set(draw_jitter(50, 0.001, Generator())[:, 0].tolist()) <= {-1, 0, 1}, "at least a degree"


def test_jitter_turns_hue_and_limits_the_rest() -> None:
    picture = torch.rand(3, 3, 16, 16, generator=Generator().manual_seed(0)) * 0.6 + 0.2
    changes = torch.tensor([[120.0, 0, 0], [0, 0, 0.1], [0, 2.0, 0]])
    changed = jitter(picture, changes)
    assert torch.allclose(changed[0], picture[0].roll(1, 0), atol=1e-5), "red becomes green"
    assert torch.allclose(changed[1].amax(0), picture[1].amax(0) + 0.1, atol=1e-5)
    assert torch.allclose(changed[2].amin(0), torch.zeros(16, 16), atol=1e-5), "all colors pure"
    assert torch.allclose(jitter(picture, torch.zeros(3, 3)), picture, atol=1e-5)
