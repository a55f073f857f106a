"""A fixed tiny batch for any network."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from recaster.nets.architecture import Batch


def smooth(generator: torch.Generator, count: int, channels: int, resolution: int) -> torch.Tensor:
    """``(count, channels, R, R)`` random pictures without fine grain, which a network can learn."""
    coarse = torch.rand(count, channels, 4, 4, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=resolution, mode="bilinear")


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    """make_batch(resolution, count): the same numbers every time; the masks are 0 or 1."""

    def make(resolution: int, count: int = 2) -> Batch:
        generator = torch.Generator().manual_seed(3)
        src, dst = (smooth(generator, count, 3, resolution) for _ in range(2))
        mask_src, mask_dst = ((smooth(generator, count, 1, resolution) > 0.4).float() for _ in range(2))
        return Batch(src, src, mask_src, dst, dst, mask_dst)

    return make
