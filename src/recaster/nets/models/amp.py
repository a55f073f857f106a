"""AMP: a model whose swap can stop anywhere between the two people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from recaster.nets import hd_options as hd
from recaster.nets.architecture import Batch, Losses, Phase, SampleNeeds, architectures, weights_of
from recaster.options import Options, option
from recaster.types import Framing

if TYPE_CHECKING:
    from torch import nn

    from recaster.nets.autoencoder import FaceNet
    from recaster.nets.hd_nets import AmpNet

LETTERS = "udt"


class AmpOptions(Options):
    """What can be chosen for AMP."""

    resolution: int = hd.resolution(224)
    face_type: Annotated[Literal["full", "whole", "head"], hd.LongName] = option(
        "whole",
        "Face type: full reaches to the brows, whole includes the forehead, head the hair; whole and head need drawn or"
        " segmented masks of both people.",
        fixed=True,
    )
    ae_dims: int = hd.AE_DIMS
    inter_dims: int = option(
        1024,
        "Inter dimensions: channels in which the two people are mixed. More bring the result nearer to the source, for"
        " more memory.",
        ge=32,
        le=2048,
        fixed=True,
    )
    e_dims: hd.Even = hd.E_DIMS
    d_dims: hd.Even = hd.D_DIMS
    d_mask_dims: hd.MaskDims = hd.D_MASK_DIMS
    morph_factor: float = option(
        0.5,
        "Morph factor: the share of the source's channels in training. Less lets a swap keep more of the target's"
        " expression.",
        ge=0.1,
        le=0.5,
    )
    blur_out_mask: bool = hd.BLUR_OUT_MASK
    lr_dropout: hd.LrDropout = hd.LR_DROPOUT
    gan_power: float = hd.GAN_POWER
    gan_patch_size: hd.PatchSize = hd.GAN_PATCH_SIZE
    gan_dims: int = hd.GAN_DIMS
    clip_gradients: bool = hd.CLIP_GRADIENTS
    frozen_inters: bool = option(
        False,
        "Leave both inters at their random first values, as the last versions of the original program do.",
        advanced=True,
    )

    @property
    def side(self) -> int:
        """The resolution that the network really has, px."""
        return self.resolution // 32 * 32


class Amp:
    """Full, whole or head framing; 101 million parameters by default."""

    name = "amp"
    options = AmpOptions
    default_batch_size = 8
    usual_iterations = 200_000

    def needs(self, options: AmpOptions) -> SampleNeeds:
        """Sizes that vary widely, and masks of eyes and mouth."""
        return hd.needs(features=True)

    def pretraining(self, options: AmpOptions) -> AmpOptions:
        """Nothing that belongs to the end of a training."""
        return options.with_values(lr_dropout="off", gan_power=0.0)

    def build(self, options: AmpOptions) -> FaceNet:
        """Encoder with its dense layer, an inter for each person, one decoder; Glorot uniform weights."""
        from torch import nn

        from recaster.nets.blocks import glorot_
        from recaster.nets.hd_blocks import HdDecoder, code_side, hd_encoder, vector_size
        from recaster.nets.hd_nets import AmpNet

        side, dims, channels = options.side, options.ae_dims, options.inter_dims
        grid = code_side(side, LETTERS)
        dense = nn.Linear(vector_size(side, options.e_dims, LETTERS), dims)
        inters = [
            nn.Sequential(nn.Linear(dims, channels * grid * grid), nn.Unflatten(1, (channels, grid, grid)))
            for _ in range(2)
        ]
        widths = options.d_dims, hd.mask_dims(options.d_mask_dims, options.d_dims)
        net = AmpNet(
            side,
            Framing(options.face_type),
            nn.Sequential(*hd_encoder(options.e_dims, LETTERS), dense),
            inters[0],
            inters[1],
            HdDecoder(channels, *widths, LETTERS),
        )
        glorot_(net)
        return net

    def critics(self, options: AmpOptions, net: FaceNet) -> nn.ModuleDict:
        """``patch`` for GAN."""
        from torch import nn

        from recaster.nets.blocks import glorot_
        from recaster.nets.critics import PatchCritic

        critics = nn.ModuleDict()
        if options.gan_power:
            critics["patch"] = PatchCritic(hd.gan_patch_size(options.gan_patch_size, options.side), options.gan_dims)
        glorot_(critics)
        return critics

    def phases(
        self, net: AmpNet, critics: nn.ModuleDict, options: AmpOptions, *, random_warp: bool
    ) -> tuple[Phase, ...]:
        """The network, then its critic."""
        rule = hd.rule("adabelief", options.lr_dropout, options.clip_gradients)
        parts = ("encoder", "decoder") if options.frozen_inters else ()
        generator = Phase(
            "generator",
            weights_of(net, *parts),
            rule,
            lambda batch, progress: _generator_losses(net, critics, batch, options),
        )
        if "patch" not in critics:
            return (generator,)
        return generator, Phase(
            "patch_critic",
            weights_of(critics, "patch"),
            rule,
            lambda batch, progress: _patch_critic_losses(net, critics["patch"], batch, options),
        )


def _generator_losses(net: AmpNet, critics: nn.ModuleDict, batch: Batch, options: AmpOptions) -> Losses:
    from recaster.nets.critics import passing_loss
    from recaster.nets.hd_losses import face_losses, soft_mask, targets_of, total_variation
    from recaster.nets.losses import squared_error

    out = net.reconstruct_mixed(batch.warped_src, batch.warped_dst, options.morph_factor)
    targets = targets_of(batch, blur_out_mask=options.blur_out_mask)
    weights = soft_mask(batch.mask_src), soft_mask(batch.mask_dst)
    src, dst = face_losses(out, batch, targets, weights, features=True, two_scales=True)
    # Weakly, the surroundings of the destination: otherwise anything may appear there.
    outside = 1 - weights[1]
    around = out.dst_rgb * outside
    total = src + dst + 0.1 * squared_error(around, targets[1] * outside) + 1e-6 * total_variation(around)
    if "patch" in critics:
        for rgb, weight in zip((out.src_rgb, out.dst_rgb), weights, strict=True):
            total = total + options.gan_power * passing_loss(critics["patch"], rgb * weight)
    return Losses(total.mean(), src.mean().detach(), dst.mean().detach())


def _patch_critic_losses(net: AmpNet, critic: nn.Module, batch: Batch, options: AmpOptions) -> Losses:
    """For the pictures of both people."""
    import torch

    from recaster.nets.critics import judging_loss
    from recaster.nets.hd_losses import soft_mask, targets_of

    with torch.no_grad():
        out = net.reconstruct_mixed(batch.warped_src, batch.warped_dst, options.morph_factor)
        targets = targets_of(batch, blur_out_mask=options.blur_out_mask)
        weights = soft_mask(batch.mask_src), soft_mask(batch.mask_dst)
    src, dst = (
        judging_loss(critic, target * weight, made * weight)
        for target, made, weight in zip(targets, (out.src_rgb, out.dst_rgb), weights, strict=True)
    )
    return Losses((src + dst).mean())


architectures.add(Amp.name)(Amp())
