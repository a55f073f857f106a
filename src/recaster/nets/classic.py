"""What the classic models (H64, H128, DF, LIAEF128) share: options, losses, the shape of an iteration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from recaster.nets.architecture import Batch, Losses, Phase, Rule, SampleNeeds, weights_of
from recaster.options import Options, option
from recaster.types import Framing

if TYPE_CHECKING:
    from torch import Tensor, nn

    from recaster.nets.autoencoder import FaceNet

Person = Literal["src", "dst"]
PEOPLE: tuple[Person, ...] = ("src", "dst")


class ClassicOptions(Options):
    """What can be chosen for every classic model."""

    pixel_loss: bool = option(
        False,
        "Use pixel loss: plain differences between pixels instead of structural similarity. It brings fine detail and"
        " less flicker after 20,000 iterations; earlier the model may collapse, so save a backup before switching it"
        " on.",
    )


class LightOptions(ClassicOptions):
    """What can be chosen for a classic model that has a light form."""

    light: bool = option(
        False,
        "Use the lightweight autoencoder: faster and much smaller in memory, for cards of 4 GB or less, at some cost in"
        " quality.",
        fixed=True,
    )


class Classic:
    """What all of them answer alike."""

    default_batch_size = 4
    usual_iterations = 100_000

    def needs(self, options: Any) -> SampleNeeds:
        """The usual samples."""
        return SampleNeeds()

    def pretraining(self, options: Any) -> Any:
        """The same."""
        return options

    def critics(self, options: Any, net: FaceNet) -> nn.ModuleDict:
        """None."""
        from torch import nn

        return nn.ModuleDict()


def net_of_128(framing: Framing, *, light: bool = False) -> FaceNet:
    """The two-decoder autoencoder of 128 px that H128 and DF have in common."""
    from recaster.nets.autoencoder import TwoDecoderNet
    from recaster.nets.blocks import Decoder, encoder, glorot_

    code, widths = (256, (256, 128, 64)) if light else (512, (512, 256, 128))
    shared = encoder(128, (128, 256, 512, 1024), code=code, channels=code, up=code)
    net = TwoDecoderNet(128, framing, shared, *(Decoder(code, widths, widths, kernel=5) for _ in PEOPLE))
    glorot_(net)
    return net


def joint_phase(net: FaceNet, options: ClassicOptions) -> tuple[Phase, ...]:
    """One update of everything: the pictures of both people inside their masks, and the masks' absolute errors."""
    from recaster.nets.losses import absolute_error

    def losses(batch: Batch, progress: float) -> Losses:
        out = net.reconstruct(batch.warped_src, batch.warped_dst)
        assert out.src_mask is not None and out.dst_mask is not None
        src = _picture_loss(out.src_rgb, batch.target_src, batch.mask_src, options)
        dst = _picture_loss(out.dst_rgb, batch.target_dst, batch.mask_dst, options)
        masks = absolute_error(out.src_mask, batch.mask_src) + absolute_error(out.dst_mask, batch.mask_dst)
        return Losses(src + dst + masks.mean(), src.detach(), dst.detach())

    return (Phase("all", weights_of(net), Rule(), losses),)


def alternating_phases(net: FaceNet, options: ClassicOptions, parts: Mapping[str, Sequence[str]]) -> tuple[Phase, ...]:
    """An update for the source, then one for the destination, which sees the encoder already changed.

    ``parts`` are the parts of ``net`` that each person's update moves; each has moments of its own for all of them. The
    loss is that of the picture inside the mask plus the mask's squared error.
    """
    from recaster.nets.autoencoder import SharedDecoderNet, TwoDecoderNet
    from recaster.nets.losses import squared_error

    assert isinstance(net, TwoDecoderNet | SharedDecoderNet)

    def losses_of(person: Person, batch: Batch) -> Losses:
        reconstruct = net.reconstruct_src if person == "src" else net.reconstruct_dst
        warped, target, truth = (getattr(batch, f"{kind}_{person}") for kind in ("warped", "target", "mask"))
        rgb, mask = reconstruct(warped)
        assert mask is not None
        total = _picture_loss(rgb, target, truth, options) + squared_error(mask, truth).mean()
        return Losses(total, **{person: total.detach()})

    def phase(person: Person) -> Phase:
        return Phase(person, weights_of(net, *parts[person]), Rule(), lambda batch, _: losses_of(person, batch))

    return tuple(phase(person) for person in PEOPLE)


def _picture_loss(prediction: Tensor, target: Tensor, mask: Tensor, options: ClassicOptions) -> Tensor:
    """What lies outside the mask is free."""
    from recaster.nets.losses import blur, dssim, squared_error

    if options.pixel_loss:
        soft = blur(mask, max(1, mask.shape[-1] // 64))
        return 50 * squared_error(target * soft, prediction * soft).mean()
    return 10 * dssim(target * mask, prediction * mask).mean()
