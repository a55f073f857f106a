"""Networks that learn two faces: one shared encoder keeps expression, pose and light, the rest gives the person."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recaster.types import Framing


@dataclass(frozen=True)
class Reconstruction:
    """Both people as the network sees them: rgb ``(N, 3, R, R)`` and mask ``(N, 1, R, R)``, 0..1; None where the
    network learns no masks.
    """

    src_rgb: Tensor
    src_mask: Tensor | None
    dst_rgb: Tensor
    dst_mask: Tensor | None


class FaceNet(nn.Module, ABC):
    """A network for two people that works on square crops of ``resolution`` px, framed as ``framing``.

    ``personal`` names the parts that know the two people, which start afresh after pretraining. ``morph`` 0..1 says how
    far a swap goes, in networks that can stop half-way; None in all others.
    """

    personal: tuple[str, ...] = ()
    morph: float | None = None

    def __init__(self, resolution: int, framing: Framing) -> None:
        super().__init__()
        self.resolution = resolution
        self.framing = framing

    @abstractmethod
    def reconstruct(self, src: Tensor, dst: Tensor) -> Reconstruction:
        """Each person's crops ``(N, 3, R, R)`` through that person's own path; the numbers of crops may differ."""

    @abstractmethod
    def swap(self, dst: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The source's face with the expression, pose and light of ``dst`` ``(N, 3, R, R)``.

        Gives rgb ``(N, 3, R, R)``, its mask and the mask of the face that was there ``(N, 1, R, R)``; None where the
        network has learned no mask.
        """


class TwoDecoderNet(FaceNet):
    """One encoder, one decoder a person ("df"): the person is in the decoder, all else passes through the code.

    The decoders map a code to (rgb, mask).
    """

    def __init__(
        self, resolution: int, framing: Framing, encoder: nn.Module, decoder_src: nn.Module, decoder_dst: nn.Module
    ) -> None:
        super().__init__(resolution, framing)
        self.encoder = encoder
        self.decoder_src = decoder_src
        self.decoder_dst = decoder_dst

    def reconstruct(self, src: Tensor, dst: Tensor) -> Reconstruction:
        """Both people with one call of the encoder."""
        code_src, code_dst = self.encoder(torch.cat([src, dst])).split([len(src), len(dst)])
        return Reconstruction(*self.decoder_src(code_src), *self.decoder_dst(code_dst))

    def reconstruct_src(self, src: Tensor) -> tuple[Tensor, Tensor | None]:
        """Rgb and mask of the source alone."""
        rgb, mask = self.decoder_src(self.encoder(src))
        return rgb, mask

    def reconstruct_dst(self, dst: Tensor) -> tuple[Tensor, Tensor | None]:
        """Rgb and mask of the destination alone."""
        rgb, mask = self.decoder_dst(self.encoder(dst))
        return rgb, mask

    def swap(self, dst: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The code of ``dst`` through the source's decoder; the destination's decoder gives the mask there was."""
        code = self.encoder(dst)
        rgb, mask = self.decoder_src(code)
        _, mask_dst = self.decoder_dst(code)
        return rgb, mask, mask_dst


class SharedDecoderNet(FaceNet):
    """One encoder, one decoder ("liae"): the person is in the inters that make the code of the encoder's features.

    The source's code is [AB, AB], the destination's [B, AB], stacked by channels. A swap draws [AB, AB] of the
    destination, so that some of its light and shape come through AB. The decoder maps a code to (rgb, mask).
    """

    personal = ("inter_AB", "inter_B")

    def __init__(
        self,
        resolution: int,
        framing: Framing,
        encoder: nn.Module,
        inter_ab: nn.Module,
        inter_b: nn.Module,
        decoder: nn.Module,
    ) -> None:
        super().__init__(resolution, framing)
        self.encoder = encoder
        self.inter_AB = inter_ab
        self.inter_B = inter_b
        self.decoder = decoder

    def reconstruct(self, src: Tensor, dst: Tensor) -> Reconstruction:
        """Each person by the own inters."""
        return Reconstruction(*self.reconstruct_src(src), *self.reconstruct_dst(dst))

    def reconstruct_src(self, src: Tensor) -> tuple[Tensor, Tensor | None]:
        """Rgb and mask of the source alone."""
        shared = self.inter_AB(self.encoder(src))
        rgb, mask = self.decoder(torch.cat([shared, shared], 1))
        return rgb, mask

    def reconstruct_dst(self, dst: Tensor) -> tuple[Tensor, Tensor | None]:
        """Rgb and mask of the destination alone."""
        features = self.encoder(dst)
        rgb, mask = self.decoder(torch.cat([self.inter_B(features), self.inter_AB(features)], 1))
        return rgb, mask

    def swap(self, dst: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """``dst`` through AB alone; its own code gives the mask there was."""
        features = self.encoder(dst)
        own, shared = self.inter_B(features), self.inter_AB(features)
        rgb, mask = self.decoder(torch.cat([shared, shared], 1))
        _, mask_dst = self.decoder(torch.cat([own, shared], 1))
        return rgb, mask, mask_dst


def parameter_count(net: nn.Module) -> int:
    """How many numbers ``net`` learns."""
    return sum(parameter.numel() for parameter in net.parameters())
