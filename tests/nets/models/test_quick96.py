from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from recaster.nets.architecture import Batch, Phase
from recaster.nets.autoencoder import FaceNet, Reconstruction, parameter_count
from recaster.nets.hd_nets import DfNet
from recaster.nets.models.quick96 import Quick96, Quick96Options
from recaster.train.optimizers import Optimizer
from recaster.types import Framing

ENCODER = [((48, 48, 64), 4_864), ((24, 24, 128), 204_928), ((12, 12, 256), 819_456), ((6, 6, 512), 3_277_312)]
INTER = [((128,), 2_359_424), ((1_152,), 148_608), ((6, 6, 128), 590_336)]
DECODER = [
    ((12, 12, 512), 2_361_344),
    ((12, 12, 512), 4_719_616),
    ((24, 24, 256), 4_719_616),
    ((24, 24, 256), 1_180_160),
    ((48, 48, 128), 1_180_160),
    ((48, 48, 128), 295_168),
    ((96, 96, 3), 10_764),
    ((12, 12, 128), 590_336),
    ((24, 24, 64), 295_168),
    ((48, 48, 32), 73_856),
    ((96, 96, 16), 18_496),
    ((96, 96, 1), 17),
]


def phase_of(net: FaceNet) -> Phase:
    (phase,) = Quick96().phases(net, nn.ModuleDict(), Quick96Options(), random_warp=True)
    return phase


def test_layers(layer_rows: Callable[..., Any]) -> None:
    with torch.device("meta"):
        net = Quick96().build(Quick96Options())
    assert isinstance(net, DfNet)
    assert layer_rows(net.encoder, 3, 96, 96) == ENCODER
    assert layer_rows(net.inter, 18_432) == INTER
    assert layer_rows(net.decoder_src, 128, 6, 6) == layer_rows(net.decoder_dst, 128, 6, 6) == DECODER
    parts = (net.encoder, net.inter, net.decoder_src)
    assert [parameter_count(part) for part in parts] == [4_306_560, 3_098_368, 15_444_701]
    assert parameter_count(net) == 38_294_330
    assert (net.resolution, net.framing, net.personal) == (96, Framing.FULL, ("inter",))


class Painted(FaceNet):
    """Gives fixed pictures, so that the losses are known."""

    def __init__(self) -> None:
        super().__init__(96, Framing.FULL)
        generator = torch.Generator().manual_seed(7)
        self.out = Reconstruction(*(torch.rand(2, c, 96, 96, generator=generator) for c in (3, 1, 3, 1)))

    def reconstruct(self, src: Tensor, dst: Tensor) -> Reconstruction:
        return self.out

    def swap(self, dst: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        raise NotImplementedError


def test_loss_values(make_batch: Callable[..., Batch], reference: Any) -> None:
    """The blurred mask counts as it is, so the inside of the edge counts less."""
    net, batch = Painted(), make_batch(96)
    losses = phase_of(net).losses(batch, 0.0)
    expected = []
    for person in ("src", "dst"):
        rgb, learned = (getattr(net.out, f"{person}_{kind}").double().numpy() for kind in ("rgb", "mask"))
        target, mask = (getattr(batch, f"{kind}_{person}").double().numpy() for kind in ("target", "mask"))
        soft = reference.blur(mask, 3)
        a, b = rgb * soft, target * soft
        loss = 10 * reference.dssim(a, b, 8) + 10 * reference.squares(a, b) + 10 * reference.squares(learned, mask)
        expected.append(loss.mean())
    assert losses.src is not None and losses.dst is not None
    np.testing.assert_allclose([losses.src, losses.dst, losses.total.detach()], [*expected, sum(expected)], rtol=1e-4)


def test_all_weights_follow_one_rule() -> None:
    net = Painted()
    net.weight = nn.Parameter(torch.zeros(1))
    phase = phase_of(net)
    assert list(phase.weights) == ["weight"]
    rule = phase.rule
    assert (rule.kind, rule.learning_rate, rule.betas[1], rule.eps, rule.keep) == ("rmsprop", 2e-4, 0.9, 1e-6, 0.3)
    assert not rule.cosine_period and not rule.clip


def test_every_third_batch_is_seen_again_unwarped() -> None:
    quick = Quick96()
    assert quick.needs(Quick96Options()).replay_every == 3
    assert quick.default_batch_size == 4
    assert not quick.critics(Quick96Options(), Painted())


@pytest.mark.slow
def test_a_few_iterations_lower_the_loss_by_a_third(real_batch: Callable[..., Batch]) -> None:
    batch = real_batch(96, Framing.FULL)
    batch = Batch(**{name: value[:1] for name, value in vars(batch).items()})
    torch.manual_seed(0)
    net = Quick96().build(Quick96Options())
    phase = phase_of(net)
    optimizer, totals = Optimizer(phase.weights, phase.rule), []
    for _ in range(20):
        optimizer.zero_grad()
        losses = phase.losses(batch, 0.0)
        losses.total.backward()  # type: ignore[no-untyped-call]
        optimizer.step(phase.rule.learning_rate)
        totals.append(losses.total.item())
    assert totals[-1] < 2 / 3 * totals[0]
    with torch.no_grad():
        rgb, _, _ = net.swap(batch.warped_dst)
    assert (rgb - batch.warped_dst).abs().mean() > 0.03
