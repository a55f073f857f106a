from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from recaster.nets.architecture import Batch
from recaster.nets.autoencoder import parameter_count
from recaster.nets.mini import Mini, MiniOptions
from recaster.types import Framing


def test_size_and_framing() -> None:
    net = Mini().build(MiniOptions())
    assert (net.resolution, net.framing) == (64, Framing.FULL)
    assert 2_000_000 < parameter_count(net) < 4_000_000


def test_rate_falls_towards_the_end_of_a_known_length() -> None:
    mini, options = Mini(), MiniOptions()
    rates = [mini.learning_rate(options, progress / 10) for progress in range(11)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == mini.learning_rate(options, None)
    assert 0 < rates[10] < 0.2 * rates[0]


def test_an_error_counts_more_inside_the_mask_than_outside(make_batch: Callable[..., Batch]) -> None:
    mini, options = Mini(), MiniOptions()
    torch.manual_seed(0)
    net = mini.build(options)
    batch = make_batch(64)

    def loss(region: torch.Tensor) -> float:
        spoiled = (batch.target_src + 0.2 * region).clamp(0, 1)
        return mini.losses(net, replace(batch, target_src=spoiled), options, 0.0).src.item()

    half = torch.zeros_like(batch.mask_src)
    half[..., :32] = 1
    batch = replace(batch, mask_src=half, target_src=torch.full_like(batch.target_src, 0.6))
    nothing, inside, outside = loss(torch.zeros(1)), loss(half), loss(1 - half)
    assert inside - nothing > 3 * (outside - nothing) > 0


@pytest.mark.slow
def test_two_hundred_steps_learn_a_picture(make_batch: Callable[..., Batch]) -> None:
    mini, options = Mini(), MiniOptions()
    torch.manual_seed(0)
    net = mini.build(options)
    optimizer, batch = mini.optimizer(net, options), make_batch(64)
    for _ in range(200):
        optimizer.zero_grad()
        losses = mini.losses(net, batch, options, 0.0)
        losses.total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        out = net.reconstruct(batch.warped_src, batch.warped_dst)
    assert ((out.src_rgb - batch.target_src) * batch.mask_src).abs().mean() < 0.03
    assert ((out.dst_rgb - batch.target_dst) * batch.mask_dst).abs().mean() < 0.03
