from __future__ import annotations

import torch

from recaster.train.colors import color_map, recolor


def noise(mean: tuple[float, float, float], spread: float, seed: int) -> torch.Tensor:
    values = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(seed)) * spread
    return (values + torch.tensor(mean)[None, :, None, None]).clamp(0, 1)


def test_mean_and_spread_are_taken_over_inside_the_mask() -> None:
    source, reference = noise((0.7, 0.5, 0.4), 0.05, 0), noise((0.4, 0.35, 0.45), 0.08, 1)
    mask = torch.zeros(2, 1, 24, 24)
    mask[:, :, 4:20, 4:20] = 1
    source[:, :, :4] = 0  # outside, it must not count
    reference[:, :, 20:] = 1
    changed = recolor(source, *color_map(source, mask, reference, mask))[:, :, 4:20, 4:20].flatten(2)
    wanted = reference[:, :, 4:20, 4:20].flatten(2)
    assert torch.allclose(changed.mean(2), wanted.mean(2), atol=0.005)
    assert torch.allclose(changed.std(2), wanted.std(2), rtol=0.15)


def test_equal_colors_stay() -> None:
    source, mask = noise((0.5, 0.4, 0.3), 0.1, 2), torch.ones(2, 1, 24, 24)
    assert torch.allclose(recolor(source, *color_map(source, mask, source, mask)), source, atol=1e-4)


def test_an_empty_mask_keeps_the_colors() -> None:
    source, reference = noise((0.7, 0.5, 0.4), 0.05, 0), noise((0.2, 0.3, 0.4), 0.1, 1)
    full, empty = torch.ones(2, 1, 24, 24), torch.zeros(2, 1, 24, 24)
    for masks in ((full, empty), (empty, full)):
        changed = recolor(source, *color_map(source, masks[0], reference, masks[1]))
        assert torch.allclose(changed, source, atol=1e-5)


def test_a_flat_picture_is_not_blown_up() -> None:
    flat, reference, mask = torch.full((2, 3, 24, 24), 0.5), noise((0.5, 0.5, 0.5), 0.2, 3), torch.ones(2, 1, 24, 24)
    matrix, _ = color_map(flat, mask, reference, mask)
    assert float(torch.linalg.matrix_norm(matrix, 2).max()) <= 2.0001
