"""Networks of the styled autoencoder SAE: df and vg (a decoder for each person) and liae (an inter for each person).

Decoders of pictures and masks are apart, since masks have an update of their own. Features are what an encoder makes of
a picture, a code is what decoders draw.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recaster.nets.autoencoder import FaceNet, Reconstruction
from recaster.nets.blocks import Bottleneck, Down, Residual, SeparableDown, Up, pairs
from recaster.types import Framing


class SaeNet(FaceNet):
    """What both kinds share."""

    def __init__(self, resolution: int, framing: Framing, encoder: nn.Module) -> None:
        super().__init__(resolution, framing)
        self.encoder = encoder

    @abstractmethod
    def code_src(self, features: Tensor) -> Tensor:
        """The source's code."""

    @abstractmethod
    def codes_dst(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The destination's own code, and the one of which the source's decoder draws the swap."""

    @abstractmethod
    def decoders(self, person: str) -> tuple[nn.Module, nn.Module | None]:
        """Those of the picture and of the mask of "src" or "dst"."""

    def codes(self, src: Tensor, dst: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Codes for the source's and the destination's own pictures and for the swap, with one call of the encoder."""
        features_src, features_dst = self.encoder(torch.cat([src, dst])).split([len(src), len(dst)])
        return self.code_src(features_src), *self.codes_dst(features_dst)

    def scales(self, person: str, code: Tensor) -> list[Tensor]:
        """The person's pictures, smallest first; the last has full size."""
        return list(self.decoders(person)[0](code))

    def mask(self, person: str, code: Tensor) -> Tensor | None:
        """The person's mask ``(N, 1, R, R)``."""
        decoder = self.decoders(person)[1]
        return None if decoder is None else decoder(code)[-1]

    def reconstruct(self, src: Tensor, dst: Tensor) -> Reconstruction:
        """Each person by the own code and decoders."""
        code_src, code_dst, _ = self.codes(src, dst)
        return Reconstruction(
            self.scales("src", code_src)[-1],
            self.mask("src", code_src),
            self.scales("dst", code_dst)[-1],
            self.mask("dst", code_dst),
        )

    def swap(self, dst: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The source's face of the code for the swap; the destination's own code gives the mask there was."""
        own, swapped = self.codes_dst(self.encoder(dst))
        return self.scales("src", swapped)[-1], self.mask("src", swapped), self.mask("dst", own)


class SaeDf(SaeNet):
    """The person is in the decoder; all else passes through one code."""

    def __init__(
        self,
        resolution: int,
        framing: Framing,
        encoder: nn.Module,
        decoders: tuple[nn.Module, nn.Module],
        mask_decoder_src: nn.Module | None,
        mask_decoder_dst: nn.Module | None,
    ) -> None:
        super().__init__(resolution, framing, encoder)
        self.decoder_src, self.decoder_dst = decoders
        self.decoder_mask_src = mask_decoder_src
        self.decoder_mask_dst = mask_decoder_dst

    def code_src(self, features: Tensor) -> Tensor:
        """The features."""
        return features

    def codes_dst(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The features, both times."""
        return features, features

    def decoders(self, person: str) -> tuple[nn.Module, nn.Module | None]:
        """The person's own."""
        if person == "src":
            return self.decoder_src, self.decoder_mask_src
        return self.decoder_dst, self.decoder_mask_dst


class SaeLiae(SaeNet):
    """The person is in the inters that make the code: [AB, AB] for the source, [B, AB] for the destination.

    A swap draws [AB, AB] of the destination, so that some of its light and shape come through AB.
    """

    personal = ("inter_AB", "inter_B")

    def __init__(
        self,
        resolution: int,
        framing: Framing,
        encoder: nn.Module,
        inters: tuple[nn.Module, nn.Module],
        decoder: nn.Module,
        mask_decoder: nn.Module | None,
    ) -> None:
        super().__init__(resolution, framing, encoder)
        self.inter_AB, self.inter_B = inters
        self.decoder = decoder
        self.decoder_mask = mask_decoder

    def code_src(self, features: Tensor) -> Tensor:
        """[AB, AB]."""
        shared = self.inter_AB(features)
        return torch.cat([shared, shared], 1)

    def codes_dst(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """[B, AB] and [AB, AB]."""
        shared = self.inter_AB(features)
        return torch.cat([self.inter_B(features), shared], 1), torch.cat([shared, shared], 1)

    def decoders(self, person: str) -> tuple[nn.Module, nn.Module | None]:
        """The same for both."""
        return self.decoder, self.decoder_mask


class ScaleDecoder(nn.Module):
    """Code to pictures of ``outputs`` channels, 0..1: one of full size, and with ``multiscale`` a quarter and a half.

    ``width`` is half the channels of the last features; ``residual`` makes what follows each of the three up blocks.
    """

    def __init__(
        self, inputs: int, width: int, outputs: int, residual: Callable[[int], nn.Module], *, multiscale: bool = False
    ) -> None:
        super().__init__()
        widths = [8 * width, 4 * width, 2 * width]
        self.stages = nn.ModuleList(nn.Sequential(Up(a, b), residual(b)) for a, b in pairs(inputs, widths))
        heads = widths if multiscale else widths[-1:]
        self.heads = nn.ModuleList(nn.Conv2d(channels, outputs, 5, padding=2) for channels in heads)

    def forward(self, code: Tensor) -> list[Tensor]:
        """``(N, inputs, S, S)`` to ``(N, outputs, R, R)``, smallest first; the last has R = 8·S."""
        features = [code]
        for stage in self.stages:
            features.append(stage(features[-1]))
        last = features[-len(self.heads) :]
        return [torch.sigmoid(head(x)) for head, x in zip(self.heads, last, strict=True)]


def two_residuals(channels: int) -> nn.Module:
    """What SAE puts after an up block for finer detail."""
    return nn.Sequential(Residual(channels), Residual(channels))


class ScaledResidual(nn.Module):
    """A residual block whose change is learned to be more than a tenth; activations come first and last."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.scale = nn.Parameter(torch.full((1,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        """Same shape in and out."""
        change = self.second(F.leaky_relu(self.first(F.leaky_relu(x, 0.2)), 0.2))
        return F.leaky_relu(x + self.scale * change, 0.2)


class Trunk(nn.Module):
    """Half the size by one convolution, then ``depth`` residual blocks beside the identity."""

    def __init__(self, channels: int, depth: int, *, centered: bool) -> None:
        super().__init__()
        self.border = (0, 0, 0, 0) if centered else (1, 2, 1, 2)
        self.stem = nn.Conv2d(3, channels, 5, stride=2, padding=2 if centered else 0)
        self.blocks = nn.Sequential(*(ScaledResidual(channels) for _ in range(depth)))

    def forward(self, image: Tensor) -> Tensor:
        """``(N, 3, H, W)`` to ``(N, channels, H/2, W/2)``."""
        stem = self.stem(F.pad(image, self.border))
        refined: Tensor = stem + self.blocks(stem)
        return refined


def downs(width: int, *, light: bool, centered: bool) -> list[nn.Module]:
    """Picture ``(N, 3, R, R)`` to ``(N, 8·width, R/16, R/16)``; ``light`` takes separable convolutions in turn."""
    kinds = (Down, SeparableDown if light else Down) * 2
    sizes = pairs(3, [width, 2 * width, 4 * width, 8 * width])
    return [kind(a, b, centered=centered) for kind, (a, b) in zip(kinds, sizes, strict=True)]


def vg_downs(resolution: int, width: int, *, light: bool, centered: bool) -> list[nn.Module]:
    """Picture ``(N, 3, R, R)`` to ``(N, 8·width, S, S)`` with S = R/32, rounded up, by many residual blocks.

    Twice the size is halved and restored by a pixel shuffle. ``width`` must be a multiple of 4.
    """
    thrifty = SeparableDown if light else Down
    odd = resolution // 16 % 2 == 1
    return [
        Trunk(width, 8 if light else 16, centered=centered),
        *(Down(width, width, centered=centered), nn.PixelShuffle(2)),
        *(Down(width // 4, width, centered=centered), nn.PixelShuffle(2)),
        Down(width // 4, width, centered=centered),
        thrifty(width, 2 * width, centered=centered),
        Down(2 * width, 4 * width, centered=centered),
        # "SAME" padding is even where the size is odd.
        thrifty(4 * width, 8 * width, centered=centered or odd),
    ]


def dense_code(inputs: int, dims: int, channels: int, side: int) -> list[nn.Module]:
    """Any ``inputs`` numbers through ``dims`` to a code ``(N, channels, 2·side, 2·side)``."""
    return [Bottleneck(inputs, dims, channels, side), Up(channels, channels)]


class MirrorConv2d(nn.Conv2d):
    """A convolution that continues pictures by their mirror image, edge pixels included, and not by zeros."""

    def forward(self, input: Tensor) -> Tensor:
        """As of nn.Conv2d."""
        margin = int(self.padding[0])
        return F.conv2d(mirrored(input, margin), self.weight, self.bias, self.stride, groups=self.groups)


def mirrored(image: Tensor, margin: int) -> Tensor:
    """``(..., H, W)`` continued on all sides by ``margin`` pixels of its mirror image."""
    for axis in (-1, -2):
        before = image.narrow(axis, 0, margin).flip(axis)
        behind = image.narrow(axis, image.shape[axis] - margin, margin).flip(axis)
        image = torch.cat([before, image, behind], axis)
    return image


def mirror_borders(net: nn.Module) -> None:
    """Replace every convolution that pads with zeros by a new one that mirrors."""
    for module in list(net.modules()):
        for name, layer in module.named_children():
            if isinstance(layer, nn.Conv2d) and layer.padding != (0, 0):
                shape = (layer.in_channels, layer.out_channels, layer.kernel_size[0], layer.stride[0])
                mirror = MirrorConv2d(*shape, layer.padding[0], groups=layer.groups, bias=layer.bias is not None)
                setattr(module, name, mirror)
