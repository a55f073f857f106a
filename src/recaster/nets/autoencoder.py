"""Networks that learn two faces: one shared encoder keeps expression, pose and light, the rest gives the person."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recaster.types import Framing


@dataclass(frozen=True)
class Reconstruction:
    """Both people as the network sees them: rgb ``(N, 3, R, R)`` and mask ``(N, 1, R, R)``, 0..1."""

    src_rgb: Tensor
    src_mask: Tensor
    dst_rgb: Tensor
    dst_mask: Tensor


class FaceNet(nn.Module, ABC):
    """A network for two people that works on square crops of ``resolution`` px, framed as ``framing``."""

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

    def swap(self, dst: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The code of ``dst`` through the source's decoder; the destination's decoder gives the mask there was."""
        code = self.encoder(dst)
        rgb, mask = self.decoder_src(code)
        _, mask_dst = self.decoder_dst(code)
        return rgb, mask, mask_dst


def parameter_count(net: nn.Module) -> int:
    """How many numbers ``net`` learns."""
    return sum(parameter.numel() for parameter in net.parameters())
