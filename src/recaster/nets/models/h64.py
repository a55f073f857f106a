"""H64: the classic half-face autoencoder at 64 px, the lightest of its family, and its light form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recaster.nets.architecture import Phase, architectures
from recaster.nets.classic import PEOPLE, Classic, LightOptions, joint_phase
from recaster.types import Framing

if TYPE_CHECKING:
    from torch import nn

    from recaster.nets.autoencoder import FaceNet


class H64Options(LightOptions):
    """What can be chosen for H64."""


class H64(Classic):
    """Half framing, 64 px; 113 million parameters, 45 million in the light form."""

    name = "h64"
    options = H64Options

    def build(self, options: H64Options) -> FaceNet:
        """Encoder, bottleneck and two decoders with mask branches of their own; Glorot uniform weights."""
        from recaster.nets.autoencoder import TwoDecoderNet
        from recaster.nets.blocks import Decoder, encoder, glorot_

        if options.light:
            shared = encoder(64, (128, 256, 512, 768), code=512, channels=512, up=256)
            decoders = [Decoder(256, (256, 128, 64), (256, 128, 64), kernel=5) for _ in PEOPLE]
        else:
            shared = encoder(64, (128, 256, 512, 1024), code=1024, channels=1024, up=512)
            decoders = [Decoder(512, (512, 256, 128), (256, 128, 64), kernel=5) for _ in PEOPLE]
        net = TwoDecoderNet(64, Framing.HALF, shared, *decoders)
        glorot_(net)
        return net

    def phases(
        self, net: FaceNet, critics: nn.ModuleDict, options: H64Options, *, random_warp: bool
    ) -> tuple[Phase, ...]:
        """One update of all weights."""
        return joint_phase(net, options)


architectures.add(H64.name)(H64())
