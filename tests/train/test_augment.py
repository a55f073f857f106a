from __future__ import annotations

import math

import pytest
import torch
from torch import Generator

from recaster.train.augment import (
    CELLS,
    STRENGTH,
    Augmentation,
    Samples,
    augment,
    draw,
    full_scale,
    plain_grid,
    render,
    truncated_normal,
    unchanged,
    warped_grid,
)

CUT_NORMAL_STD = 0.38184
"""Standard deviation of a normal distribution cut at ±2.5 and divided by 2.5."""


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def smooth_pictures(count: int, size: int, channels: int = 4) -> torch.Tensor:
    y, x = torch.meshgrid(torch.linspace(0, 6, size), torch.linspace(0, 6, size), indexing="ij")
    phase = torch.arange(count * channels).view(count, 1, 1, channels) * 0.7
    x, y = x[:, :, None], y[:, :, None]
    return ((x + phase).sin() * (y - phase).cos()).mul(100).add(128).to(torch.uint8)


def varied(pictures: torch.Tensor, settings: Augmentation, seed: int = 0) -> Samples:
    return augment(pictures, draw(len(pictures), settings, generator(seed)), 32, 1.15)


def test_warp_noise_is_a_cut_normal_distribution() -> None:
    values = truncated_normal((200_000,), generator())
    assert float(values.abs().max()) <= 1
    assert float(values.mean()) == pytest.approx(0, abs=0.005)
    assert float(values.std()) == pytest.approx(CUT_NORMAL_STD, rel=0.01)


@pytest.mark.parametrize("kind", ["independent", "transposed"])
def test_moves_have_the_spread_of_two_draws_in_cells(kind: str) -> None:
    drawn = draw(6000, Augmentation(warp=kind), generator())  # type: ignore[arg-type]
    for cells in CELLS:
        assert drawn.moves is not None
        inner = drawn.moves[drawn.cells == cells][:, :, 1:cells, 1:cells]
        in_cells = inner * cells / 2
        assert float(in_cells.std()) == pytest.approx(CUT_NORMAL_STD * STRENGTH * math.sqrt(2), rel=0.05)
        assert float(in_cells.abs().max()) <= 2 * STRENGTH + 1e-6
        assert float((drawn.cells == cells).float().mean()) == pytest.approx(1 / 3, abs=0.03)
        outside = drawn.moves[drawn.cells == cells].clone()
        outside[:, :, 1:cells, 1:cells] = 0
        assert not outside.any()


def test_moves_are_independent_or_mirror_images() -> None:
    independent = draw(500, Augmentation(warp="independent"), generator()).moves
    transposed = draw(500, Augmentation(warp="transposed"), generator()).moves
    assert independent is not None and transposed is not None
    assert torch.equal(transposed[:, 0], transposed[:, 1].transpose(1, 2))
    x, y = independent[:, 0], independent[:, 1].transpose(1, 2)
    assert abs(float((x * y).mean() / (x.std() * y.std()))) < 0.05


def test_affine_stays_in_its_ranges() -> None:
    drawn = draw(5000, Augmentation(scale=(0.85, 1.15)), generator())
    linear = drawn.affine[:, :, :2]
    mirrored = torch.linalg.det(linear) < 0
    assert float(mirrored.float().mean()) == pytest.approx(0.4, abs=0.03)
    scale = torch.linalg.det(linear).abs().rsqrt()
    assert 0.85 <= float(scale.min()) < 0.86 and 1.14 < float(scale.max()) <= 1.1501
    angle = torch.rad2deg(torch.atan2(-linear[:, 1, 0] * torch.where(mirrored, -1, 1), linear[:, 1, 1]))
    assert 9.9 < float(angle.abs().max()) <= 10.001
    assert float(angle.mean()) == pytest.approx(0, abs=0.3)
    shift = -torch.linalg.inv(linear) @ drawn.affine[:, :, 2:]
    assert 0.099 < float(shift.abs().max()) <= 0.1001, "±5 % of the side is ±0.1 of -1..1"


def test_without_flip_nothing_is_mirrored() -> None:
    linear = draw(500, Augmentation(flip=0.0), generator()).affine[:, :, :2]
    assert bool((torch.linalg.det(linear) > 0).all())


def test_the_border_of_the_crop_does_not_move() -> None:
    drawn = draw(30, Augmentation(), generator())
    edge = torch.linspace(-1, 1, 21)
    square = torch.stack([torch.stack([edge, edge]), torch.stack([torch.ones(21), -torch.ones(21)])])
    sides = torch.cat([square, square.flip(0)], dim=1)  # x, y of points on the four edges
    grid = sides.expand(30, 2, *sides.shape[1:])
    assert torch.allclose(warped_grid(drawn, grid), grid, atol=1e-6)
    beyond = grid * 1.3
    assert torch.allclose(warped_grid(drawn, beyond), beyond, atol=1e-6)


def test_moves_are_interpolated_between_the_nodes_of_each_sample() -> None:
    drawn = draw(200, Augmentation(), generator())
    assert drawn.moves is not None
    for row in (int((drawn.cells == cells).nonzero()[0]) for cells in CELLS):
        cells = int(drawn.cells[row])
        nodes = torch.linspace(-1, 1, cells + 1)
        y, x = torch.meshgrid(nodes, nodes, indexing="ij")
        grid = torch.stack([x, y]).expand(200, 2, cells + 1, cells + 1)
        moved = (warped_grid(drawn, grid) - grid)[row]
        assert torch.allclose(moved, drawn.moves[row, :, : cells + 1, : cells + 1], atol=1e-5)


def test_the_affine_map_moves_pixels_as_said() -> None:
    pictures = torch.zeros(1, 1, 40, 40)
    pictures[0, 0, 10, 30] = 1
    drawn = unchanged(1)
    drawn.affine[0, 0, 0] = -1
    mirrored = render(pictures, plain_grid(drawn, 40), 1.0)
    assert mirrored[0, 0].argmax() == 10 * 40 + 9


def test_unchanged_samples_are_the_middle_of_the_cache() -> None:
    pictures = smooth_pictures(2, 50).permute(0, 3, 1, 2).float()
    plain = render(pictures, plain_grid(unchanged(2), 40), 50 / 40)
    assert torch.allclose(plain, pictures[:, :, 5:45, 5:45], atol=0.02)


def test_equal_seeds_give_equal_samples_and_others_do_not() -> None:
    pictures = smooth_pictures(4, 46)
    first, again, other = (varied(pictures, Augmentation(), seed) for seed in (3, 3, 4))
    assert torch.equal(first.warped, again.warped) and torch.equal(first.target, again.target)
    assert not torch.equal(first.target, other.target)


def test_outputs_show_the_same_variation_except_for_the_warp() -> None:
    pictures = smooth_pictures(3, 46)
    pictures[..., 3] = pictures[..., 0]
    samples = varied(pictures, Augmentation())
    assert samples.warped.shape == samples.target.shape == (3, 3, 32, 32) and samples.mask.shape == (3, 1, 32, 32)
    assert float(samples.warped.min()) >= 0 and float(samples.warped.max()) <= 1
    assert not torch.allclose(samples.warped, samples.target, atol=0.05)
    assert torch.equal(samples.target[:, :1], samples.mask), "the mask goes where the picture goes"
    assert samples.features is None


def test_without_warp_the_input_is_the_target() -> None:
    samples = varied(smooth_pictures(3, 46), Augmentation(warp="off"))
    assert samples.warped is samples.target


def test_features_go_where_the_picture_goes_at_full_scale() -> None:
    pictures = torch.zeros(3, 46, 46, 5, dtype=torch.uint8)
    pictures[:, 20:23, 20:23, 3:] = 180
    pictures[2] = 0
    samples = varied(pictures, Augmentation())
    assert samples.features is not None
    assert torch.allclose(samples.features[:2].amax((1, 2, 3)), torch.ones(2))
    assert torch.allclose(samples.features[:2] * samples.mask[:2].amax((1, 2, 3), keepdim=True), samples.mask[:2])
    assert not samples.features[2].any()


def test_what_is_almost_beyond_the_edge_stays_faint() -> None:
    assert float(full_scale(torch.full((1, 1, 4, 4), 0.1)).max()) == pytest.approx(0.2)


def test_mirrored_once_more_is_mirrored_back() -> None:
    pictures = smooth_pictures(4, 46)
    drawn = draw(4, Augmentation(warp="off"), generator())
    other = drawn.mirrored(torch.tensor([True, False, True, False]))
    was, now = (augment(pictures, numbers, 32, 1.15).target for numbers in (drawn, other))
    for row in range(4):
        expected = was[row].flip(2) if row % 2 == 0 else was[row]
        assert torch.allclose(now[row], expected, atol=1e-5)


def test_a_part_of_the_draw_gives_a_part_of_the_samples() -> None:
    pictures = smooth_pictures(5, 46)
    drawn = draw(5, Augmentation(), generator())
    whole, part = augment(pictures, drawn, 32, 1.15), augment(pictures[1:3], drawn[1:3], 32, 1.15)
    assert torch.equal(whole.warped[1:3], part.warped) and torch.equal(whole.mask[1:3], part.mask)
