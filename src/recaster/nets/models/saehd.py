"""SAEHD: an autoencoder of any size, of the df or the liae kind, with all means of a late training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from recaster.errors import UsageError
from recaster.nets import hd_options as hd
from recaster.nets.architecture import Batch, Losses, Phase, SampleNeeds, architectures, weights_of
from recaster.options import Options, option
from recaster.types import Framing

if TYPE_CHECKING:
    from torch import Tensor, nn

    from recaster.nets.autoencoder import FaceNet, Reconstruction
    from recaster.nets.hd_nets import CodedNet, Codes

LETTERS = "udtc"


def _architecture(text: str) -> str:
    """``text`` with its letters in the usual order."""
    kind, dash, letters = text.strip().lower().partition("-")
    known = kind in ("df", "liae") and set(letters) <= set(LETTERS) and len(set(letters)) == len(letters)
    if not known or bool(dash) != bool(letters):
        raise PydanticCustomError("architecture", "df or liae, with or without - and some of the letters u, d, t, c")
    return kind + dash + "".join(sorted(letters, key=LETTERS.index))


class SaehdOptions(Options):
    """What can be chosen for SAEHD."""

    resolution: int = hd.resolution(128)
    face_type: Annotated[Literal["half", "mid-full", "full", "whole", "head"], hd.LongName] = option(
        "full",
        "Face type: half shows the inner face in most detail, mid-full is a third wider, full reaches to the brows,"
        " whole includes the forehead, head the hair and needs drawn or segmented masks of both people.",
        fixed=True,
    )
    architecture: Annotated[str, AfterValidator(_architecture)] = option(
        "liae-ud",
        "AE architecture: df keeps more of the source's likeness, liae repairs face shapes that differ; then - and"
        " letters: u for more likeness, d for double the resolution at equal cost, t for more layers, c for another"
        " activation.",
        fixed=True,
    )
    ae_dims: int = hd.AE_DIMS
    e_dims: hd.Even = hd.E_DIMS
    d_dims: hd.Even = hd.D_DIMS
    d_mask_dims: hd.MaskDims = hd.D_MASK_DIMS
    masked_training: bool = option(
        True,
        "Masked training, for whole and head: learn only what is inside the mask, so that nothing is spent on the"
        " surroundings. The narrower face types always do.",
    )
    eyes_mouth_prio: bool = option(
        False, "Eyes and mouth priority: repairs wrong gaze and odd eyes, and brings more detail of the teeth."
    )
    blur_out_mask: bool = hd.BLUR_OUT_MASK
    adabelief: bool = option(
        True, "Use the AdaBelief optimizer: better results for more memory than RMSprop, which is used otherwise."
    )
    lr_dropout: hd.LrDropout = hd.LR_DROPOUT
    gan_power: float = hd.GAN_POWER
    gan_patch_size: hd.PatchSize = hd.GAN_PATCH_SIZE
    gan_dims: int = hd.GAN_DIMS
    true_face_power: float = option(
        0.0,
        "True face power, for df: pushes the result towards the source's likeness; typically 0.01, in the last"
        " iterations.",
        ge=0.0,
        le=1.0,
    )
    face_style_power: float = option(
        0.0,
        "Face style power: the swapped face takes on the light and color of the target's. Begin with 0.001, after"
        " 10,000 iterations, with a backup: the model may collapse.",
        ge=0.0,
        le=100.0,
    )
    background_style_power: float = option(
        0.0,
        "Background style power: what surrounds the swapped face becomes like the target's; typically 2. The model may"
        " collapse.",
        ge=0.0,
        le=100.0,
    )
    clip_gradients: bool = hd.CLIP_GRADIENTS

    @property
    def letters(self) -> str:
        """Those of the architecture."""
        return self.architecture.partition("-")[2]

    @property
    def shared_decoder(self) -> bool:
        """Whether the architecture is liae."""
        return self.architecture.startswith("liae")

    @property
    def side(self) -> int:
        """The resolution that the network really has, px."""
        step = 32 if "d" in self.letters else 16
        return self.resolution // step * step

    @property
    def only_inside(self) -> bool:
        """Whether the mask limits what is learned."""
        return self.masked_training or self.face_type not in ("whole", "head")


class Saehd:
    """Any framing; 82 million parameters by default."""

    name = "saehd"
    options = SaehdOptions
    default_batch_size = 8
    usual_iterations = 200_000

    def needs(self, options: SaehdOptions) -> SampleNeeds:
        """Sizes that vary widely; masks of eyes and mouth where they have priority."""
        return hd.needs(features=options.eyes_mouth_prio)

    def pretraining(self, options: SaehdOptions) -> SaehdOptions:
        """Nothing that belongs to the end of a training, or that compares two people."""
        return options.with_values(
            lr_dropout="off", gan_power=0.0, true_face_power=0.0, face_style_power=0.0, background_style_power=0.0
        )

    def build(self, options: SaehdOptions) -> FaceNet:
        """df: encoder, inter, two decoders; liae: encoder, two inters, one decoder. Glorot uniform weights."""
        from recaster.nets.blocks import glorot_
        from recaster.nets.hd_blocks import HdDecoder, code_side, hd_encoder, hd_inter, vector_size
        from recaster.nets.hd_nets import DfNet, LiaeNet

        side, letters, dims = options.side, options.letters, options.ae_dims
        framing = Framing(options.face_type)
        encoder = hd_encoder(options.e_dims, letters)
        inputs, grid = vector_size(side, options.e_dims, letters), code_side(side, letters)
        widths = options.d_dims, hd.mask_dims(options.d_mask_dims, options.d_dims)
        net: FaceNet
        if options.shared_decoder:
            inters = [hd_inter(inputs, dims, 2 * dims, grid, letters) for _ in range(2)]
            net = LiaeNet(side, framing, encoder, inters[0], inters[1], HdDecoder(4 * dims, *widths, letters))
        else:
            inter = hd_inter(inputs, dims, dims, grid, letters)
            decoders = [HdDecoder(dims, *widths, letters) for _ in range(2)]
            net = DfNet(side, framing, encoder, inter, *decoders)
        glorot_(net)
        return net

    def critics(self, options: SaehdOptions, net: FaceNet) -> nn.ModuleDict:
        """``code`` for true face, ``patch`` for GAN. Raises UsageError for true face without a df architecture."""
        from torch import nn

        from recaster.nets.blocks import glorot_
        from recaster.nets.critics import CodeCritic, PatchCritic
        from recaster.nets.hd_blocks import code_side

        critics = nn.ModuleDict()
        if options.true_face_power:
            if options.shared_decoder:
                raise UsageError(
                    f"true_face_power needs a df architecture, and this one is {options.architecture}",
                    mend="Set it to 0, or train a df model.",
                )
            grid = code_side(options.side, options.letters)
            critics["code"] = CodeCritic(options.ae_dims, grid if "t" in options.letters else 2 * grid)
        if options.gan_power:
            critics["patch"] = PatchCritic(hd.gan_patch_size(options.gan_patch_size, options.side), options.gan_dims)
        glorot_(critics)
        return critics

    def phases(
        self, net: CodedNet, critics: nn.ModuleDict, options: SaehdOptions, *, random_warp: bool
    ) -> tuple[Phase, ...]:
        """The network, then each critic. Without random warp inter_AB rests: it would learn pictures by heart."""
        rule = hd.rule("adabelief" if options.adabelief else "rmsprop", options.lr_dropout, options.clip_gradients)
        parts = [name for name, _ in net.named_children() if random_warp or name != "inter_AB"]
        losses = {
            "code": lambda batch, progress: _code_critic_losses(net, critics["code"], batch),
            "patch": lambda batch, progress: _patch_critic_losses(net, critics["patch"], batch, options),
        }
        return (
            Phase(
                "generator",
                weights_of(net, *parts),
                rule,
                lambda batch, progress: _generator_losses(net, critics, batch, options),
            ),
            *(Phase(f"{name}_critic", weights_of(critics, name), rule, losses[name]) for name in critics),
        )


def _generator_losses(net: CodedNet, critics: nn.ModuleDict, batch: Batch, options: SaehdOptions) -> Losses:
    from recaster.nets.critics import passing_loss
    from recaster.nets.hd_losses import face_losses, targets_of

    codes = net.codes(batch.warped_src, batch.warped_dst)
    out = net.decode(codes)
    targets = targets_of(batch, blur_out_mask=options.blur_out_mask)
    weights = _weight(batch.mask_src, options), _weight(batch.mask_dst, options)
    two_scales = net.resolution >= 256
    src, dst = face_losses(out, batch, targets, weights, features=options.eyes_mouth_prio, two_scales=two_scales)
    if options.face_style_power or options.background_style_power:
        src = src + _style_loss(net, codes, out, targets[1], options)
    total = src + dst
    if "code" in critics:
        total = total + options.true_face_power * passing_loss(critics["code"], codes.src)
    if "patch" in critics:
        total = total + _deceit_loss(critics["patch"], out.src_rgb, targets[0], weights[0], options)
    return Losses(total.mean(), src.mean().detach(), dst.mean().detach())


def _code_critic_losses(net: CodedNet, critic: nn.Module, batch: Batch) -> Losses:
    import torch

    from recaster.nets.critics import judging_loss

    with torch.no_grad():
        codes = net.codes(batch.warped_src, batch.warped_dst)
    return Losses(judging_loss(critic, codes.dst, codes.src).mean())


def _patch_critic_losses(net: CodedNet, critic: nn.Module, batch: Batch, options: SaehdOptions) -> Losses:
    import torch

    from recaster.nets.critics import judging_loss
    from recaster.nets.hd_losses import targets_of

    with torch.no_grad():
        made, _ = net.decode_src(net.src_code(batch.warped_src))
        target, _ = targets_of(batch, blur_out_mask=options.blur_out_mask)
        weight = _weight(batch.mask_src, options)
    return Losses(judging_loss(critic, target * weight, made * weight).mean())


def _weight(mask: Tensor, options: SaehdOptions) -> Tensor | float:
    """Where a picture counts."""
    from recaster.nets.hd_losses import soft_mask

    return soft_mask(mask) if options.only_inside else 1.0


def _style_loss(
    net: CodedNet, codes: Codes, out: Reconstruction, target_dst: Tensor, options: SaehdOptions
) -> Tensor | float:
    """Of the swap. Face style teaches the decoder alone, background style all that the swap is made of; masks learn
    from neither.
    """
    from recaster.nets.hd_losses import background_style_loss, blurred_mask, face_style_loss

    assert out.dst_mask is not None
    loss: Tensor | float = 0.0
    if options.face_style_power:
        rgb, mask = net.decode_src(codes.swap.detach())
        style = face_style_loss(rgb * mask.detach(), (out.dst_rgb * out.dst_mask).detach())
        loss = loss + 100 * options.face_style_power * style
    if options.background_style_power:
        rgb, mask = net.decode_src(codes.swap)
        outside = 1 - blurred_mask((mask * out.dst_mask).detach()).clamp(0, 1)
        loss = loss + options.background_style_power / 10 * background_style_loss(rgb, target_dst, outside)
    return loss


def _deceit_loss(
    critic: nn.Module, rgb: Tensor, target: Tensor, weight: Tensor | float, options: SaehdOptions
) -> Tensor:
    """How little the critic takes the source's picture for real. Where the mask hides it from all other losses, bright
    dots would appear; so it must be somewhat even, and like the target there.
    """
    from recaster.nets.critics import passing_loss
    from recaster.nets.hd_losses import total_variation
    from recaster.nets.losses import squared_error

    loss = options.gan_power * passing_loss(critic, rgb * weight)
    if options.only_inside:
        outside = 1 - weight
        loss = loss + 1e-6 * total_variation(rgb) + 0.02 * squared_error(rgb * outside, target * outside)
    return loss


architectures.add(Saehd.name)(Saehd())
