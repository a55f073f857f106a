"""SAE: the styled autoencoder. Its sizes are free, and it can take light and color of the target while it learns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from recaster.nets.architecture import Batch, Losses, Phase, Rule, SampleNeeds, architectures, weights_of
from recaster.options import Options, option
from recaster.types import Framing

if TYPE_CHECKING:
    from torch import Tensor, nn

    from recaster.nets.autoencoder import FaceNet
    from recaster.nets.sae import SaeNet

USUAL_BATCH = 4
"""Samples of each person a step; the face style's range was made for it."""


class SaeOptions(Options):
    """What can be chosen for SAE."""

    resolution: int = option(
        128,
        "Side of the faces it draws, rounded down to a multiple of 16. More shows more detail, and needs more memory"
        " and time.",
        ge=64,
        le=256,
        unit="px",
        fixed=True,
    )
    face_type: Literal["half", "full"] = option(
        "full", "Half or full face. Half has the better resolution, full shows more of the cheeks.", fixed=True
    )
    learn_mask: bool = option(
        True,
        "Learn the faces' masks too. Without it training is faster, and the merge uses the outline of the target's"
        " landmarks.",
        fixed=True,
    )
    architecture: Literal["df", "liae", "vg"] = option(
        "df",
        "df keeps the face more natural and more like the source; liae repairs faces of strongly different shape; vg is"
        " df with a much deeper encoder, slower and rarely better.",
        fixed=True,
    )
    ae_dims: int = option(
        0,
        "Numbers that all of a face must pass through, from 32; 0 takes 512, for liae 256. With too few, for instance"
        " closed eyes are not learned. More needs more memory.",
        ge=0,
        le=1024,
        fixed=True,
    )
    e_ch_dims: int = option(
        42,
        "Encoder dims per channel. More recognises more of a face, for more memory. vg uses them for its decoders too.",
        ge=21,
        le=85,
        fixed=True,
    )
    d_ch_dims: int = option(
        0,
        "Decoder dims per channel, from 10; 0 takes half the encoder's. More draws finer detail, for more memory.",
        ge=0,
        le=85,
        fixed=True,
    )
    residual_blocks: bool = option(
        False, "Add residual blocks to the decoder: finer detail for more computation; vg always has them.", fixed=True
    )
    remove_gray_border: bool = option(
        False,
        "Remove the gray rim of the drawn faces: pictures are continued by their mirror image in the network, for some"
        " more computation.",
        fixed=True,
    )
    lightweight_encoder: bool = option(
        False, "Use a lightweight encoder: about a third faster, for some quality.", fixed=True
    )
    multiscale_decoder: bool = option(
        False,
        "Learn to draw at a quarter and at half the size too, which can give finer detail. Not for vg.",
        fixed=True,
    )
    pixel_loss: bool = option(
        False,
        "Use pixel loss: plain differences between pixels instead of structural similarity, for detail and less jitter"
        " after 15,000 to 25,000 iterations; earlier the model may collapse.",
    )
    face_style_power: float = option(
        0.0,
        "Learn the light and color of the target's face. After 10,000 iterations, begin with 0.1 and watch the"
        " previews; the model may collapse, so save a backup before.",
        ge=0.0,
        le=100.0,
    )
    background_style_power: float = option(
        0.0,
        "Learn the target's surroundings of the face, which also makes the face more like the target's. The model may"
        " collapse, so save a backup before.",
        ge=0.0,
        le=100.0,
    )
    losses: Literal["modern", "original"] = option(
        "modern",
        "modern: each sample counts by its own dissimilarity and squared error, whatever the batch size. original: as"
        " in older programs, the square of the whole batch's dissimilarity, face style summed over the batch, and masks"
        " three times as strong in a multiscale model.",
        advanced=True,
    )

    @field_validator("resolution")
    @classmethod
    def _steps_of_16(cls, value: int) -> int:
        return value - value % 16

    @field_validator("ae_dims", "d_ch_dims")
    @classmethod
    def _zero_or_enough(cls, value: int, info: ValidationInfo) -> int:
        least = {"ae_dims": 32, "d_ch_dims": 10}[info.field_name or ""]
        if 0 < value < least:
            raise PydanticCustomError("too_small", "input should be 0 or at least {least}", {"least": least})
        return value

    @field_validator("d_ch_dims", "residual_blocks", "multiscale_decoder")
    @classmethod
    def _not_for_vg(cls, value: int, info: ValidationInfo) -> int:
        if value and info.data.get("architecture") == "vg":
            raise PydanticCustomError("not_for_vg", "architecture vg has no such choice")
        return value

    @property
    def code_dims(self) -> int:
        """``ae_dims`` with its default."""
        return self.ae_dims or (256 if self.architecture == "liae" else 512)

    @property
    def decoder_dims(self) -> int:
        """``d_ch_dims`` with its default."""
        return self.d_ch_dims or self.e_ch_dims // 2


class Sae:
    """Half or full framing, 64 to 256 px; 113 million parameters (df) or 117 million (liae) as it is."""

    name = "sae"
    options = SaeOptions
    default_batch_size = USUAL_BATCH
    usual_iterations = 100_000

    def needs(self, options: SaeOptions) -> SampleNeeds:
        """The usual samples."""
        return SampleNeeds()

    def pretraining(self, options: SaeOptions) -> SaeOptions:
        """No styles."""
        return options.with_values(face_style_power=0.0, background_style_power=0.0)

    def build(self, options: SaeOptions) -> FaceNet:
        """Encoder, inters (liae), decoders of pictures and of masks; Glorot uniform weights."""
        from recaster.nets.blocks import glorot_
        from recaster.nets.sae import mirror_borders

        net = _assemble(options)
        if options.remove_gray_border:
            mirror_borders(net)
        glorot_(net)
        return net

    def critics(self, options: SaeOptions, net: FaceNet) -> nn.ModuleDict:
        """None."""
        from torch import nn

        return nn.ModuleDict()

    def phases(
        self, net: FaceNet, critics: nn.ModuleDict, options: SaeOptions, *, random_warp: bool
    ) -> tuple[Phase, ...]:
        """An update by the pictures of all but the masks' decoders, then one by the masks of all but the pictures'."""
        from recaster.nets.sae import SaeNet

        assert isinstance(net, SaeNet)
        parts = [name for name, _ in net.named_children()]
        of_masks = [name for name in parts if name.startswith("decoder_mask")]
        of_pictures = [name for name in parts if name.startswith("decoder") and name not in of_masks]

        def phase(name: str, losses: Any, without: list[str]) -> Phase:
            weights = weights_of(net, *(part for part in parts if part not in without))
            return Phase(name, weights, Rule(), lambda batch, progress: losses(net, batch, options))

        pictures = phase("pictures", picture_losses, of_masks)
        return (pictures, phase("masks", mask_losses, of_pictures)) if of_masks else (pictures,)


def _assemble(options: SaeOptions) -> SaeNet:
    from torch import nn

    from recaster.nets.sae import (
        SaeDf,
        SaeLiae,
        ScaleDecoder,
        ScaledResidual,
        dense_code,
        downs,
        two_residuals,
        vg_downs,
    )

    kind, dims, resolution = options.architecture, options.code_dims, options.resolution
    width, picture_width, mask_width = 3 * options.e_ch_dims, 3 * options.decoder_dims, options.decoder_dims
    form = {"light": options.lightweight_encoder, "centered": options.remove_gray_border}
    if kind == "vg":
        width, mask_width = width - width % 4, int(options.e_ch_dims / 1.5)
        blocks, grid = vg_downs(resolution, width, **form), -(-resolution // 32)
    else:
        blocks, grid = downs(width, **form), resolution // 16

    def decoder(inputs: int) -> nn.Module:
        extra = ScaledResidual if kind == "vg" else two_residuals if options.residual_blocks else nn.Identity
        return ScaleDecoder(inputs, picture_width, 3, extra, multiscale=options.multiscale_decoder)

    def mask_decoder(inputs: int) -> nn.Module | None:
        extra = ScaledResidual if kind == "vg" else nn.Identity
        return ScaleDecoder(inputs, mask_width, 1, extra) if options.learn_mask else None

    def dense(channels: int) -> list[nn.Module]:
        return dense_code(8 * width * grid * grid, dims, channels, resolution // 16)

    place = (resolution, Framing(options.face_type))
    if kind == "liae":
        inters = (nn.Sequential(*dense(2 * dims)), nn.Sequential(*dense(2 * dims)))
        return SaeLiae(*place, nn.Sequential(*blocks), inters, decoder(4 * dims), mask_decoder(4 * dims))
    encoder = nn.Sequential(*blocks, *dense(dims))
    return SaeDf(*place, encoder, (decoder(dims), decoder(dims)), mask_decoder(dims), mask_decoder(dims))


def picture_losses(net: SaeNet, batch: Batch, options: SaeOptions) -> Losses:
    """The pictures of both people inside their masks, at every size that is drawn; styles count for the source."""
    code_src, code_dst, code_swap = net.codes(batch.warped_src, batch.warped_dst)
    src = _picture_loss(net.scales("src", code_src), batch.target_src, batch.mask_src, options)
    dst = _picture_loss(net.scales("dst", code_dst), batch.target_dst, batch.mask_dst, options)
    if options.face_style_power or options.background_style_power:
        src = src + _style_losses(net.scales("src", code_swap)[-1], batch, options)
    return Losses(src + dst, src.detach(), dst.detach())


def mask_losses(net: SaeNet, batch: Batch, options: SaeOptions) -> Losses:
    """The squared errors of both people's masks."""
    from recaster.nets.losses import squared_error

    code_src, code_dst, _ = net.codes(batch.warped_src, batch.warped_dst)
    mask_src, mask_dst = net.mask("src", code_src), net.mask("dst", code_dst)
    assert mask_src is not None and mask_dst is not None
    weight = 3 if options.losses == "original" and options.multiscale_decoder else 1
    errors = squared_error(mask_src, batch.mask_src) + squared_error(mask_dst, batch.mask_dst)
    return Losses(weight * errors.mean())


def _picture_loss(scales: list[Tensor], target: Tensor, mask: Tensor, options: SaeOptions) -> Tensor:
    from recaster.nets.losses import shrink

    losses = []
    for picture in scales:
        size = picture.shape[-1]
        soft = _soft(shrink(mask, size))
        losses.append(_difference(shrink(target, size) * soft, picture * soft, options))
    return sum(losses[1:], losses[0])


def _style_losses(swap: Tensor, batch: Batch, options: SaeOptions) -> Tensor:
    """How far the swap's light and color inside the target's mask, and all of it outside, are from the target's."""
    from recaster.nets.losses import style_distance

    soft, target = _soft(batch.mask_dst), batch.target_dst
    loss = options.background_style_power / 100 * _difference(swap * (1 - soft), target * (1 - soft), options)
    distance = style_distance(swap * soft, target * soft, options.resolution // 16)
    total = distance.sum() if options.losses == "original" else USUAL_BATCH * distance.mean()
    return loss + options.face_style_power / 100 * total


def _difference(a: Tensor, b: Tensor, options: SaeOptions) -> Tensor:
    from recaster.nets.losses import dssim, squared_error

    if options.pixel_loss:
        return 100 * squared_error(a, b).mean()
    structure = dssim(a, b, int(options.resolution / 11.6))
    if options.losses == "original":
        return 100 * structure.mean().square()
    return 10 * (structure + squared_error(a, b)).mean()


def _soft(mask: Tensor) -> Tensor:
    from recaster.nets.losses import blur

    return blur(mask, max(1, mask.shape[-1] // 32))


architectures.add(Sae.name)(Sae())
