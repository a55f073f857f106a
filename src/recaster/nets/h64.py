"""H64: the classic half-face autoencoder at 64 px, the lightest of its family, and its light form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recaster.nets.architecture import Batch, Losses, architectures
from recaster.options import Options, option
from recaster.types import Framing

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

    from recaster.nets.autoencoder import FaceNet

RESOLUTION = 64
LEARNING_RATE = 5e-5


class H64Options(Options):
    """What can be chosen for H64."""

    light: bool = option(
        False,
        "Use the lightweight autoencoder: faster and much smaller in memory, for cards of 4 GB or less, at some cost in"
        " quality.",
    )
    pixel_loss: bool = option(
        False,
        "Use pixel loss: plain differences between pixels instead of structural similarity. It brings fine detail and"
        " fewer flickers late in the training, but may make the model collapse; save a backup before switching it on.",
    )


class H64:
    """Half framing, 64 px; 113 million parameters, 45 million in the light form."""

    name = "h64"
    options = H64Options
    default_batch_size = 4
    usual_iterations = 100_000

    def build(self, options: H64Options) -> FaceNet:
        """Encoder, bottleneck and two decoders with mask branches of their own; Glorot uniform weights."""
        from recaster.nets.autoencoder import TwoDecoderNet
        from recaster.nets.blocks import Decoder, encoder, glorot_

        if options.light:
            shared = encoder(RESOLUTION, (128, 256, 512, 768), code=512, channels=512, up=256)
            decoders = [Decoder(256, (256, 128, 64), (256, 128, 64), kernel=5) for _ in range(2)]
        else:
            shared = encoder(RESOLUTION, (128, 256, 512, 1024), code=1024, channels=1024, up=512)
            decoders = [Decoder(512, (512, 256, 128), (256, 128, 64), kernel=5) for _ in range(2)]
        net = TwoDecoderNet(RESOLUTION, Framing.HALF, shared, *decoders)
        glorot_(net)
        return net

    def losses(self, net: FaceNet, batch: Batch, options: H64Options, progress: float) -> Losses:
        """The picture inside the mask (structure, or pixels on request) and the mask, both people summed."""
        from recaster.nets.losses import absolute_error

        out = net.reconstruct(batch.warped_src, batch.warped_dst)
        src = _picture_loss(out.src_rgb, batch.target_src, batch.mask_src, options)
        dst = _picture_loss(out.dst_rgb, batch.target_dst, batch.mask_dst, options)
        masks = (
            absolute_error(out.src_mask, batch.mask_src).mean() + absolute_error(out.dst_mask, batch.mask_dst).mean()
        )
        return Losses(src + dst + masks, src.detach(), dst.detach())

    def optimizer(self, net: FaceNet, options: H64Options) -> Optimizer:
        """Adam over all weights."""
        from torch.optim import Adam

        return Adam(net.parameters(), lr=LEARNING_RATE, betas=(0.5, 0.999), eps=1e-7, fused=True)

    def learning_rate(self, options: H64Options, progress: float | None) -> float:
        """The same all along."""
        return LEARNING_RATE


def _picture_loss(prediction: Tensor, target: Tensor, mask: Tensor, options: H64Options) -> Tensor:
    from recaster.nets.losses import blur, dssim, squared_error

    if options.pixel_loss:
        soft = blur(mask, max(1, RESOLUTION // 64))
        return 50 * squared_error(target * soft, prediction * soft).mean()
    return 10 * dssim(target * mask, prediction * mask).mean()


architectures.add(H64.name)(H64())
