"""H128: the classic half-face autoencoder at 128 px, sharp in the inner face, and its light form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recaster.nets.architecture import Phase, architectures
from recaster.nets.classic import Classic, LightOptions, joint_phase, net_of_128
from recaster.types import Framing

if TYPE_CHECKING:
    from torch import nn

    from recaster.nets.autoencoder import FaceNet


class H128Options(LightOptions):
    """What can be chosen for H128."""


class H128(Classic):
    """Half framing, 128 px; 138 million parameters, 56 million in the light form."""

    name = "h128"
    options = H128Options

    def build(self, options: H128Options) -> FaceNet:
        """Encoder, bottleneck and two decoders with mask branches of their own; Glorot uniform weights."""
        return net_of_128(Framing.HALF, light=options.light)

    def phases(
        self, net: FaceNet, critics: nn.ModuleDict, options: H128Options, *, random_warp: bool
    ) -> tuple[Phase, ...]:
        """One update of all weights."""
        return joint_phase(net, options)


architectures.add(H128.name)(H128())
