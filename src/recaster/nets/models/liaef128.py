"""LIAEF128: a full-face autoencoder at 128 px with one decoder, for faces of different shape and light."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recaster.nets.architecture import Phase, architectures
from recaster.nets.classic import Classic, ClassicOptions, alternating_phases
from recaster.types import Framing

if TYPE_CHECKING:
    from torch import nn

    from recaster.nets.autoencoder import FaceNet


class Liaef128Options(ClassicOptions):
    """What can be chosen for LIAEF128."""


class Liaef128(Classic):
    """Full framing, 128 px, 136 million parameters."""

    name = "liaef128"
    options = Liaef128Options

    def build(self, options: Liaef128Options) -> FaceNet:
        """Encoder, two inters through 256 numbers each, one decoder; Glorot uniform weights."""
        from torch import nn

        from recaster.nets.autoencoder import SharedDecoderNet
        from recaster.nets.blocks import Bottleneck, Decoder, Down, Up, glorot_, pairs

        encoder = nn.Sequential(*(Down(a, b) for a, b in pairs(3, (128, 256, 512, 1024))))
        inter_ab, inter_b = (nn.Sequential(Bottleneck(1024 * 8 * 8, 256, 512, 8), Up(512, 512)) for _ in range(2))
        decoder = Decoder(2 * 512, (512, 256, 128), (512, 256, 128), kernel=5)
        net = SharedDecoderNet(128, Framing.FULL, encoder, inter_ab, inter_b, decoder)
        glorot_(net)
        return net

    def phases(
        self, net: FaceNet, critics: nn.ModuleDict, options: Liaef128Options, *, random_warp: bool
    ) -> tuple[Phase, ...]:
        """An update by the source, which inter_B has no part in, then one by the destination."""
        parts = {"src": ("encoder", "inter_AB", "decoder"), "dst": ("encoder", "inter_AB", "inter_B", "decoder")}
        return alternating_phases(net, options, parts)


architectures.add(Liaef128.name)(Liaef128())
