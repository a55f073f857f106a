"""Networks of the high-definition models. In each, what a decoder gets for a picture is called its code."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recaster.nets.autoencoder import FaceNet, Reconstruction, SharedDecoderNet
from recaster.nets.hd_blocks import HdDecoder
from recaster.types import Framing


@dataclass(frozen=True)
class Codes:
    """Codes ``(N, C, S, S)`` for the source's and the destination's own pictures, and for the swap."""

    src: Tensor
    dst: Tensor
    swap: Tensor


class CodedNet(FaceNet):
    """A network whose codes training can look at on their way to the decoders."""

    @abstractmethod
    def codes(self, src: Tensor, dst: Tensor) -> Codes:
        """Of pictures of both people ``(N, 3, R, R)``, with one call of the encoder."""

    @abstractmethod
    def src_code(self, pictures: Tensor) -> Tensor:
        """What :meth:`decode_src` takes, of either person's ``pictures``."""

    @abstractmethod
    def decode(self, codes: Codes) -> Reconstruction:
        """Each person's own picture and mask."""

    @abstractmethod
    def decode_src(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """Rgb and mask of the source's face, from its own code or from that of the swap."""

    def reconstruct(self, src: Tensor, dst: Tensor) -> Reconstruction:
        """Both people through their codes."""
        return self.decode(self.codes(src, dst))


class DfNet(CodedNet):
    """One encoder and inter, a decoder for each person: expression, pose and light pass the common code, the person is
    in the decoder.
    """

    personal = ("inter",)

    def __init__(
        self,
        resolution: int,
        framing: Framing,
        encoder: nn.Module,
        inter: nn.Module,
        decoder_src: HdDecoder,
        decoder_dst: HdDecoder,
    ) -> None:
        super().__init__(resolution, framing)
        self.encoder = encoder
        self.inter = inter
        self.decoder_src = decoder_src
        self.decoder_dst = decoder_dst

    def codes(self, src: Tensor, dst: Tensor) -> Codes:
        """The same kind for both people; the swap's is the destination's."""
        src_code, dst_code = self.inter(self.encoder(torch.cat([src, dst]))).split([len(src), len(dst)])
        return Codes(src_code, dst_code, dst_code)

    def src_code(self, pictures: Tensor) -> Tensor:
        """The code there is."""
        code: Tensor = self.inter(self.encoder(pictures))
        return code

    def decode(self, codes: Codes) -> Reconstruction:
        """Each person by the own decoder."""
        return Reconstruction(*self.decoder_src(codes.src), *self.decoder_dst(codes.dst))

    def decode_src(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """Rgb and mask by the source's decoder."""
        rgb, mask = self.decoder_src(code)
        return rgb, mask

    def swap(self, dst: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The code of ``dst`` through the source's decoder; the destination's decoder gives the mask there was."""
        code = self.src_code(dst)
        return *self.decode_src(code), self.decoder_dst.mask(code)


class LiaeNet(CodedNet, SharedDecoderNet):
    """One encoder, one decoder; the person is in the inters."""

    decoder: HdDecoder

    def codes(self, src: Tensor, dst: Tensor) -> Codes:
        """[AB, AB] of the source, [B, AB] and [AB, AB] of the destination."""
        vector = self.encoder(torch.cat([src, dst]))
        src_ab, dst_ab = self.inter_AB(vector).split([len(src), len(dst)])
        dst_b = self.inter_B(vector[len(src) :])
        return Codes(torch.cat([src_ab, src_ab], 1), torch.cat([dst_b, dst_ab], 1), torch.cat([dst_ab, dst_ab], 1))

    def src_code(self, pictures: Tensor) -> Tensor:
        """[AB, AB]."""
        ab = self.inter_AB(self.encoder(pictures))
        return torch.cat([ab, ab], 1)

    def decode(self, codes: Codes) -> Reconstruction:
        """Both people with one call of the decoder."""
        return _decode_together(self.decoder, codes.src, codes.dst)

    def decode_src(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """Rgb and mask from [AB, AB] of either person."""
        rgb, mask = self.decoder(code)
        return rgb, mask

    def swap(self, dst: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The destination through AB alone; its own code gives the mask there was."""
        vector = self.encoder(dst)
        ab, b = self.inter_AB(vector), self.inter_B(vector)
        return *self.decode_src(torch.cat([ab, ab], 1)), self.decoder.mask(torch.cat([b, ab], 1))


class AmpNet(FaceNet):
    """One encoder, one decoder; the person is in the channels of the code, each of which one of two inters fills.

    The destination's code comes from ``inter_dst`` alone. In training random channels of the source's come from
    ``inter_src``; elsewhere its first ``morph`` do, so that a swap slides from one person to the other.
    """

    personal = ("inter_src", "inter_dst")

    def __init__(
        self,
        resolution: int,
        framing: Framing,
        encoder: nn.Module,
        inter_src: nn.Module,
        inter_dst: nn.Module,
        decoder: HdDecoder,
    ) -> None:
        super().__init__(resolution, framing)
        self.morph = 1.0
        self.encoder = encoder
        self.inter_src = inter_src
        self.inter_dst = inter_dst
        self.decoder = decoder

    def reconstruct(self, src: Tensor, dst: Tensor) -> Reconstruction:
        """The source as a swap would show it; the destination by its own inter."""
        src_vector, dst_vector = self.encoder(torch.cat([src, dst])).split([len(src), len(dst)])
        return _decode_together(self.decoder, self._morphed(src_vector), self.inter_dst(dst_vector))

    def reconstruct_mixed(self, src: Tensor, dst: Tensor, share: float) -> Reconstruction:
        """As training needs it: in each sample ``share`` of the source's channels, drawn anew, come from its inter."""
        src_vector, dst_vector = self.encoder(torch.cat([src, dst])).split([len(src), len(dst)])
        from_src, from_dst = self.inter_src(src_vector), self.inter_dst(torch.cat([src_vector, dst_vector]))
        chosen = random_channels(len(src), from_src.shape[1], share, src.device)
        mixed = torch.where(chosen, from_src, from_dst[: len(src)])
        return _decode_together(self.decoder, mixed, from_dst[len(src) :])

    def swap(self, dst: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The destination with as much of the source as ``morph`` says; its own code gives the mask there was."""
        vector = self.encoder(dst)
        rgb, mask = self.decoder(self._morphed(vector))
        return rgb, mask, self.decoder.mask(self.inter_dst(vector))

    def _morphed(self, vector: Tensor) -> Tensor:
        from_src, from_dst = self.inter_src(vector), self.inter_dst(vector)
        first = int(from_src.shape[1] * (1.0 if self.morph is None else self.morph))
        return torch.cat([from_src[:, :first], from_dst[:, first:]], 1)


def random_channels(count: int, channels: int, share: float, device: torch.device) -> Tensor:
    """``(count, channels, 1, 1)`` bool: in each row int(channels · share) are true, drawn from the global generator."""
    order = torch.rand(count, channels, device=device).argsort(1)
    return (order < int(channels * share)).view(count, channels, 1, 1)


def _decode_together(decoder: nn.Module, src_code: Tensor, dst_code: Tensor) -> Reconstruction:
    """Both people's codes with one call of a shared decoder."""
    sizes = [len(src_code), len(dst_code)]
    rgb, mask = decoder(torch.cat([src_code, dst_code]))
    (src_rgb, dst_rgb), (src_mask, dst_mask) = rgb.split(sizes), mask.split(sizes)
    return Reconstruction(src_rgb, src_mask, dst_rgb, dst_mask)
