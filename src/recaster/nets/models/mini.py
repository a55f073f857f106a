"""Mini: a small model for short trainings on a CPU: minutes to a face that is recognised."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from pydantic import field_validator

from recaster.nets.architecture import Batch, Losses, Phase, Rule, SampleNeeds, architectures, weights_of
from recaster.options import Options, option
from recaster.types import Framing

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from recaster.nets.autoencoder import FaceNet

LEARNING_RATE = 1.2e-3
"""At 64 px. At 96 px a training of 3,000 iterations collapsed with it, and learned faster with half of it."""

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
    """What can be chosen for mini."""

    resolution: int = option(
        64,
        "Side of the picture that the model gives, in steps of 16. More is sharper and takes longer: 128 px four times"
        " as long as 64.",
        ge=64,
        le=256,
        unit="px",
        fixed=True,
    )

    @field_validator("resolution")
    @classmethod
    def _in_steps(cls, value: int) -> int:
        return value - value % 16


class Mini:
    """Full framing; 2.8 million parameters at 64 px, 4.8 million at 128.

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

        side = options.resolution
        shared = nn.Sequential(Standardize(), *encoder(side, (24, 48, 96, 192), code=128, channels=128, up=128))
        decoders = (ResidualDecoder(128, (64, 32)) for _ in range(2))
        net = TwoDecoderNet(side, Framing.FULL, shared, *decoders)
        he_(net)
        return net

    def needs(self, options: MiniOptions) -> SampleNeeds:
        """The usual samples."""
        return SampleNeeds()

    def pretraining(self, options: MiniOptions) -> MiniOptions:
        """The same."""
        return options

    def critics(self, options: MiniOptions, net: FaceNet) -> nn.ModuleDict:
        """None."""
        from torch import nn

        return nn.ModuleDict()

    def phases(
        self, net: FaceNet, critics: nn.ModuleDict, options: MiniOptions, *, random_warp: bool
    ) -> tuple[Phase, ...]:
        """One update of all weights by Adam, with a rate that falls to the end; larger pictures need smaller steps."""
        rule = Rule("adam", LEARNING_RATE * 64 / net.resolution, eps=1e-8, fall=0.4)
        return (Phase("all", weights_of(net), rule, lambda batch, progress: _losses(net, batch)),)


def _losses(net: FaceNet, batch: Batch) -> Losses:
    """Structure, squared and absolute differences, strong inside the mask and weak outside, once more on eyes and
    mouth; and the mask.
    """
    out = net.reconstruct(batch.warped_src, batch.warped_dst)
    src = _picture_loss(out.src_rgb, batch.target_src, batch.mask_src)
    dst = _picture_loss(out.dst_rgb, batch.target_dst, batch.mask_dst)
    assert out.src_mask is not None and out.dst_mask is not None
    masks = (out.src_mask - batch.mask_src).square().mean() + (out.dst_mask - batch.mask_dst).square().mean()
    return Losses(src + dst + masks, src.detach(), dst.detach())


def _picture_loss(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    from recaster.nets.losses import absolute_error, blur, dssim, squared_error

    side = target.shape[-1]
    weight = 0.05 + 0.95 * blur(mask, side / 32)
    a, b = prediction * weight, target * weight
    # Large pictures need a second window, which sees what the small one sees in small ones.
    window = (
        dssim(a, b, size=5, sigma=1.5) if side < 96 else (dssim(a, b, size=5) + dssim(a, b, size=11, sigma=2.5)) / 2
    )
    whole = (10 * window + 10 * squared_error(a, b) + 2 * absolute_error(a, b)).mean()
    features = ((prediction - target).abs().mean(1) * _feature_map(side, prediction.device)).sum((1, 2)).mean()
    return whole + FEATURES_LOSS * features


@cache
def _feature_map(side: int, device: torch.device) -> Tensor:
    """``(side, side)``: bells over eyes and mouth; they sum up to 1."""
    import torch

    place = (torch.arange(side, device=device) + 0.5) / side
    bells = []
    for x, y, width, height, weight in FEATURES:
        across, down = ((place - x) / width).square(), ((place - y) / height).square()
        bells.append(weight * torch.exp(-(across + down[:, None]) / 2))
    highest = torch.stack(bells).amax(0)
    return highest / highest.sum()


architectures.add(Mini.name)(Mini())
