"""Quick96: a model without options that shows within minutes whether two facesets fit each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recaster.nets.architecture import Batch, Losses, Phase, Rule, SampleNeeds, architectures, weights_of
from recaster.options import Options
from recaster.types import Framing

if TYPE_CHECKING:
    from torch import nn

    from recaster.nets.autoencoder import FaceNet

RESOLUTION = 96
AE_DIMS, E_DIMS, D_DIMS, D_MASK_DIMS = 128, 64, 64, 16
LETTERS = "ud"


class Quick96Options(Options):
    """Quick96 has nothing to choose."""


class Quick96:
    """Full framing, 96 px, df-ud; 38 million parameters."""

    name = "quick96"
    options = Quick96Options
    default_batch_size = 4
    usual_iterations = 20_000

    def needs(self, options: Quick96Options) -> SampleNeeds:
        """Every third batch is the one before, unwarped: the network sees what it is to give."""
        return SampleNeeds(replay_every=3)

    def pretraining(self, options: Quick96Options) -> Quick96Options:
        """The same."""
        return options

    def build(self, options: Quick96Options) -> FaceNet:
        """Encoder, inter and two decoders; Glorot uniform weights."""
        from recaster.nets.blocks import glorot_
        from recaster.nets.hd_blocks import HdDecoder, code_side, hd_encoder, hd_inter, vector_size
        from recaster.nets.hd_nets import DfNet

        inputs, grid = vector_size(RESOLUTION, E_DIMS, LETTERS), code_side(RESOLUTION, LETTERS)
        net = DfNet(
            RESOLUTION,
            Framing.FULL,
            hd_encoder(E_DIMS, LETTERS),
            hd_inter(inputs, AE_DIMS, AE_DIMS, grid, LETTERS),
            HdDecoder(AE_DIMS, D_DIMS, D_MASK_DIMS, LETTERS),
            HdDecoder(AE_DIMS, D_DIMS, D_MASK_DIMS, LETTERS),
        )
        glorot_(net)
        return net

    def critics(self, options: Quick96Options, net: FaceNet) -> nn.ModuleDict:
        """None."""
        from torch import nn

        return nn.ModuleDict()

    def phases(
        self, net: FaceNet, critics: nn.ModuleDict, options: Quick96Options, *, random_warp: bool
    ) -> tuple[Phase, ...]:
        """One update of all weights at a high rate, of three tenths of them in each step."""
        rule = Rule("rmsprop", 2e-4, betas=(0.0, 0.9), eps=1e-6, keep=0.3)
        return (Phase("generator", weights_of(net), rule, lambda batch, progress: _losses(net, batch)),)


def _losses(net: FaceNet, batch: Batch) -> Losses:
    from recaster.nets.hd_losses import blurred_mask, face_losses

    out = net.reconstruct(batch.warped_src, batch.warped_dst)
    weights = blurred_mask(batch.mask_src), blurred_mask(batch.mask_dst)
    src, dst = face_losses(out, batch, (batch.target_src, batch.target_dst), weights)
    return Losses((src + dst).mean(), src.mean().detach(), dst.mean().detach())


architectures.add(Quick96.name)(Quick96())
