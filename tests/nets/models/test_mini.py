from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from recaster.nets.architecture import Batch, Phase
from recaster.nets.autoencoder import FaceNet, parameter_count
from recaster.nets.losses import dssim
from recaster.nets.models.mini import Mini, MiniOptions
from recaster.types import Framing


def phase_of(net: FaceNet) -> Phase:
    (phase,) = Mini().phases(net, nn.ModuleDict(), MiniOptions(), random_warp=True)
    return phase


@pytest.mark.parametrize(("asked", "given", "millions"), [(64, 64, 2.8), (79, 64, 2.8), (128, 128, 4.8)])
def test_size_and_framing(asked: int, given: int, millions: float) -> None:
    with torch.device("meta"):
        net = Mini().build(MiniOptions(resolution=asked))
    assert (net.resolution, net.framing) == (given, Framing.FULL)
    assert parameter_count(net) / 1e6 == pytest.approx(millions, abs=0.1)
    rgb, mask, _ = net.swap(torch.empty(1, 3, given, given, device="meta"))
    assert mask is not None
    assert (rgb.shape, mask.shape) == ((1, 3, given, given), (1, 1, given, given))


def test_rate_falls_towards_the_end_of_a_known_length() -> None:
    rule = phase_of(Mini().build(MiniOptions())).rule
    factors = [rule.factor(iteration=600 * tenth, progress=tenth / 10) for tenth in range(11)]
    assert factors == sorted(factors, reverse=True)
    assert factors[0] == factors[5] == rule.factor(6_000, None) == 1
    assert 0 < factors[10] < 0.2


def src_loss_of(batch: Batch, region: torch.Tensor) -> float:
    """How much the source's loss rises when the target is brighter in ``region`` than the network's grey."""
    torch.manual_seed(0)
    losses = phase_of(Mini().build(MiniOptions())).losses
    grey = torch.full_like(batch.target_src, 0.6)
    plain, spoiled = (losses(replace(batch, target_src=grey + 0.2 * amount * region), 0.0).src for amount in (0, 1))
    assert plain is not None and spoiled is not None
    return (spoiled - plain).item()


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
def test_two_hundred_steps_learn_a_picture(
    make_batch: Callable[..., Batch], train_on: Callable[..., list[float]]
) -> None:
    torch.manual_seed(0)
    net, batch = Mini().build(MiniOptions()), make_batch(64)
    train_on(Mini(), net, MiniOptions(), batch, 200)
    with torch.no_grad():
        out = net.reconstruct(batch.warped_src, batch.warped_dst)
    assert ((out.src_rgb - batch.target_src) * batch.mask_src).abs().mean() < 0.03
    assert ((out.dst_rgb - batch.target_dst) * batch.mask_dst).abs().mean() < 0.03


@pytest.mark.slow
@pytest.mark.parametrize("resolution", [64, 96])
def test_sixteen_real_faces_are_learned(
    resolution: int, real_batch: Callable[..., Batch], overfit: Callable[..., tuple[float, float]]
) -> None:
    torch.manual_seed(0)
    net = Mini().build(MiniOptions(resolution=resolution))
    batch = real_batch(resolution, net.framing)
    phase = phase_of(net)
    assert max(overfit(net, phase, batch, phase.rule.learning_rate)) < 0.05
    with torch.no_grad():
        rgb, _, _ = net.swap(batch.target_dst)
    assert (dssim(rgb * batch.mask_dst, batch.target_dst * batch.mask_dst) > 0.05).all(), "no swap is its input"
