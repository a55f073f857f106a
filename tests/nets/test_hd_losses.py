"""What the losses of the high-definition models are for; their values are tested with the models."""

from __future__ import annotations

import pytest
import torch

from recaster.nets.hd_losses import (
    background_style_loss,
    blur_out,
    blurred_mask,
    face_loss,
    face_style_loss,
    soft_mask,
    structure_loss,
    total_variation,
)
from recaster.nets.losses import dssim


def pictures(seed: int, side: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.rand(2, 2, 3, side, side, generator=generator)
    return a, b


def square_mask(side: int = 64) -> torch.Tensor:
    mask = torch.zeros(2, 1, side, side)
    mask[..., side // 4 : -side // 4, side // 4 : -side // 4] = 1
    return mask


def test_what_lies_outside_the_weight_is_free() -> None:
    (a, b), mask = pictures(0), square_mask()
    weight = soft_mask(mask)
    mixed = torch.where(weight > 0, a, b)
    torch.testing.assert_close(face_loss(mixed, mask, a, mask, weight), torch.zeros(2), atol=1e-6, rtol=0)
    assert (face_loss(b, mask, a, mask, weight) > 1).all()


def test_eyes_and_mouth_count_wherever_they_lie() -> None:
    (a, b), mask = pictures(0), square_mask()
    features = torch.zeros_like(mask)
    features[0, :, :8, :8] = 1
    weight = soft_mask(mask)
    more = face_loss(b, mask, a, mask, weight, features) - face_loss(b, mask, a, mask, weight)
    assert more[0] > 0.5 and more[1] == 0


@pytest.mark.parametrize(
    ("side", "size", "half"),
    [(64, 5, 2), (96, 8, 4), (128, 11, 5), (160, 13, 6), (224, 19, 9), (256, 22, 11), (384, 33, 16)],
)
def test_windows_of_structure(side: int, size: int, half: int) -> None:
    a, b = (picture[:1] for picture in pictures(5, side))
    torch.testing.assert_close(structure_loss(a, b, two_scales=False), 10 * dssim(a, b, size))
    torch.testing.assert_close(structure_loss(a, b, two_scales=True), 5 * dssim(a, b, size) + 5 * dssim(a, b, half))


@pytest.mark.parametrize(("side", "reach"), [(64, 4), (128, 8), (31, 2)])
def test_masks_fade_out_beyond_their_edge(side: int, reach: int) -> None:
    mask = torch.zeros(1, 1, side, side)
    mask[..., : side // 2] = 1
    row = soft_mask(mask)[0, 0, side // 2]
    edge = side // 2
    assert (row[reach : edge - 1] > 0.999).all()
    assert 0 < row[edge + reach - 1] < row[edge] < 1
    assert not row[edge + reach :].any()
    assert blurred_mask(mask)[0, 0, side // 2, edge - 1] < 0.75


def test_blurring_out_leaves_the_face_alone_and_keeps_it_out_of_its_surroundings() -> None:
    mask = square_mask(128)
    target = torch.where(mask > 0, 1.0, pictures(1, 128)[0] * 0.2)
    smooth = blur_out(target, mask)
    assert torch.equal(smooth[mask.expand_as(smooth) > 0], target[mask.expand_as(target) > 0])
    ring = (torch.nn.functional.max_pool2d(mask, 5, 1, 2) - mask).expand_as(target) > 0
    assert smooth[ring].max() < 0.2
    assert smooth[ring].std() < 0.7 * target[ring].std()


def test_style_is_blind_to_shape_and_sees_color() -> None:
    a, _ = pictures(2)
    mirrored = face_style_loss(a, a.flip(3))
    brighter, redder = face_style_loss(a, a + 0.1), face_style_loss(a, a * torch.tensor([1.2, 1, 1]).view(3, 1, 1))
    assert mirrored.max() < 1e-8
    assert brighter.min() > 1e-3 and redder.min() > 1e-4


def test_background_style_sees_only_the_surroundings() -> None:
    (a, b), mask = pictures(3), square_mask()
    inside_differs = torch.where(mask > 0, b, a)
    outside = 1 - mask
    assert background_style_loss(inside_differs, a, outside).abs().max() < 1e-6
    assert background_style_loss(b, a, outside).min() > 0.1


def test_variation_runs_down_and_across_but_not_through_the_colors() -> None:
    picture = torch.zeros(1, 3, 4, 4)
    picture[:, 0] = 1
    assert total_variation(picture) == 0
    picture[0, 1, 1, 1] = 0.5
    assert total_variation(picture) == pytest.approx(4 * 0.25)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_losses_compute_in_full_precision(dtype: torch.dtype) -> None:
    (a, b), mask = pictures(4), square_mask()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = face_loss(a.to(dtype), mask, b.to(dtype), mask, soft_mask(mask))
    assert half.dtype == torch.float32
    exact = face_loss(a.to(dtype).float(), mask, b.to(dtype).float(), mask, soft_mask(mask))
    torch.testing.assert_close(half, exact, rtol=1e-6, atol=1e-6)
