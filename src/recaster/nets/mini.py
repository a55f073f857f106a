"""Mini: a small model for short trainings on a CPU: minutes to a face that is recognised."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from recaster.nets.architecture import Batch, Losses, architectures
from recaster.options import Options
from recaster.types import Framing

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.optim import Optimizer

    from recaster.nets.autoencoder import FaceNet

RESOLUTION = 64
LEARNING_RATE = 1.2e-3


FEATURES = (
    (0.336, 0.330, 0.078, 0.047, 1.0),
    (0.667, 0.330, 0.078, 0.047, 1.0),
    (0.502, 0.698, 0.109, 0.070, 0.5),
)
"""Eyes and mouth of the mean face in the full framing: x, y, width and height of a bell (standard deviations), in sides
of the crop, and its weight. They are few of the pixels and most of the expression, so they have a loss of their own.
"""
FEATURES_LOSS = 6.0


class MiniOptions(Options):
    """Mini has nothing to choose."""


class Mini:
    """Full framing, 64 px, 2.8 million parameters.

    Narrow on purpose: in the same minutes wider decoders come less far. The dense bottleneck is needed, since a code
    with places in it lets the target's outline through to the swap.
    """

    name = "mini"
    options = MiniOptions
    default_batch_size = 4
    usual_iterations = 6_000

    def build(self, options: MiniOptions) -> FaceNet:
        """A narrow encoder and two residual decoders whose last features give picture and mask."""
        from torch import nn

        from recaster.nets.autoencoder import TwoDecoderNet
        from recaster.nets.blocks import ResidualDecoder, Standardize, encoder, he_

        shared = nn.Sequential(Standardize(), *encoder(RESOLUTION, (24, 48, 96, 192), code=128, channels=128, up=128))
        decoders = (ResidualDecoder(128, (64, 32)) for _ in range(2))
        net = TwoDecoderNet(RESOLUTION, Framing.FULL, shared, *decoders)
        he_(net)
        return net

    def losses(self, net: FaceNet, batch: Batch, options: MiniOptions, progress: float) -> Losses:
        """Structure, squared and absolute differences, strong inside the mask and weak outside, once more on eyes and
        mouth; and the mask.
        """
        out = net.reconstruct(batch.warped_src, batch.warped_dst)
        src = _picture_loss(out.src_rgb, batch.target_src, batch.mask_src)
        dst = _picture_loss(out.dst_rgb, batch.target_dst, batch.mask_dst)
        masks = (out.src_mask - batch.mask_src).square().mean() + (out.dst_mask - batch.mask_dst).square().mean()
        return Losses(src + dst + masks, src.detach(), dst.detach())

    def optimizer(self, net: FaceNet, options: MiniOptions) -> Optimizer:
        """Adam over all weights."""
        from torch.optim import Adam

        return Adam(net.parameters(), lr=LEARNING_RATE, betas=(0.5, 0.999), fused=True)

    def learning_rate(self, options: MiniOptions, progress: float | None) -> float:
        """Constant at first, then in a straight line down to a fiftieth over the last 40 % of a known length."""
        return LEARNING_RATE * max(0.02, min(1.0, (1 - (progress or 0.0)) / 0.4))


def _picture_loss(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    from recaster.nets.losses import absolute_error, blur, dssim, squared_error

    weight = 0.05 + 0.95 * blur(mask, RESOLUTION / 32)
    a, b = prediction * weight, target * weight
    whole = (10 * dssim(a, b, size=5) + 10 * squared_error(a, b) + 2 * absolute_error(a, b)).mean()
    features = ((prediction - target).abs().mean(1) * _feature_map(prediction.device)).sum((1, 2)).mean()
    return whole + FEATURES_LOSS * features


@cache
def _feature_map(device: torch.device) -> Tensor:
    """``(R, R)``: bells over eyes and mouth; they sum up to 1."""
    import torch

    place = (torch.arange(RESOLUTION, device=device) + 0.5) / RESOLUTION
    bells = []
    for x, y, width, height, weight in FEATURES:
        across, down = ((place - x) / width).square(), ((place - y) / height).square()
        bells.append(weight * torch.exp(-(across + down[:, None]) / 2))
    highest = torch.stack(bells).amax(0)
    return highest / highest.sum()


architectures.add(Mini.name)(Mini())
