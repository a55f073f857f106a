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


def src_loss_of(batch: Batch, region: torch.Tensor) -> float:
    """How much the source's loss rises when the target is brighter in ``region`` than the network's grey."""
    mini, options = Mini(), MiniOptions()
    torch.manual_seed(0)
    net = mini.build(options)
    grey = torch.full_like(batch.target_src, 0.6)
    plain, spoiled = (
        mini.losses(net, replace(batch, target_src=grey + 0.2 * amount * region), options, 0.0).src.item()
        for amount in (0, 1)
    )
    return spoiled - plain


def test_an_error_counts_more_inside_the_mask_than_outside(make_batch: Callable[..., Batch]) -> None:
    batch = make_batch(64)
    forehead, chin = torch.zeros_like(batch.mask_src), torch.zeros_like(batch.mask_src)
    forehead[..., :8, :] = 1
    chin[..., -8:, :] = 1
    batch = replace(batch, mask_src=chin)
    assert src_loss_of(batch, chin) > 3 * src_loss_of(batch, forehead) > 0


def test_an_error_counts_more_on_the_eyes_than_on_the_cheeks(make_batch: Callable[..., Batch]) -> None:
    batch = make_batch(64)
    batch = replace(batch, mask_src=torch.ones_like(batch.mask_src))
    eyes, cheeks = torch.zeros_like(batch.mask_src), torch.zeros_like(batch.mask_src)
    for column in (17, 38):
        eyes[..., 18:24, column : column + 9] = 1
        cheeks[..., 32:38, column : column + 9] = 1
    assert src_loss_of(batch, eyes) > 2 * src_loss_of(batch, cheeks) > 0


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
