"""DF: the network of H128 on the full face; source and destination are learned in turns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recaster.nets.architecture import Phase, architectures
from recaster.nets.classic import Classic, ClassicOptions, alternating_phases, net_of_128
from recaster.types import Framing

if TYPE_CHECKING:
    from torch import nn

    from recaster.nets.autoencoder import FaceNet


class DfOptions(ClassicOptions):
    """What can be chosen for DF."""


class Df(Classic):
    """Full framing, 128 px, 138 million parameters."""

    name = "df"
    options = DfOptions

    def build(self, options: DfOptions) -> FaceNet:
        """Encoder, bottleneck and two decoders with mask branches of their own; Glorot uniform weights."""
        return net_of_128(Framing.FULL)

    def phases(
        self, net: FaceNet, critics: nn.ModuleDict, options: DfOptions, *, random_warp: bool
    ) -> tuple[Phase, ...]:
        """An update of the encoder and the source's decoder, then one of the encoder and the destination's."""
        parts = {"src": ("encoder", "decoder_src"), "dst": ("encoder", "decoder_dst")}
        return alternating_phases(net, options, parts)


architectures.add(Df.name)(Df())
