from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from recaster.nets.architecture import Batch
from recaster.nets.autoencoder import FaceNet, Reconstruction, TwoDecoderNet, parameter_count
from recaster.nets.h64 import H64, H64Options
from recaster.types import Framing

ENCODER = [9_728, 819_456, 3_277_312, 13_108_224, 16_778_240, 16_793_600, 18_876_416]
DECODER = [9_439_232, 4_719_616, 1_180_160, 9_603, 4_719_616, 1_180_160, 295_168, 1_601]
LIGHT_ENCODER = [9_728, 819_456, 3_277_312, 9_831_168, 6_291_968, 4_202_496, 4_719_616]
LIGHT_DECODER = [2_360_320, 1_180_160, 295_168, 4_803, 2_360_320, 1_180_160, 295_168, 1_601]


def build_without_memory(options: H64Options) -> TwoDecoderNet:
    with torch.device("meta"):
        net = H64().build(options)
    assert isinstance(net, TwoDecoderNet)
    return net


def layers(module: nn.Module) -> list[int]:
    """Parameters of each convolution or dense layer, in the order of the data's way."""
    return [parameter_count(layer) for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]


@pytest.mark.parametrize(
    ("light", "total", "encoder", "decoder"),
    [(False, 112_753_288, ENCODER, DECODER), (True, 44_507_144, LIGHT_ENCODER, LIGHT_DECODER)],
)
def test_layers(light: bool, total: int, encoder: list[int], decoder: list[int]) -> None:
    net = build_without_memory(H64Options(light=light))
    assert layers(net.encoder) == encoder
    assert layers(net.decoder_src) == layers(net.decoder_dst) == decoder
    assert parameter_count(net) == total == sum(encoder) + 2 * sum(decoder)


def test_the_full_forms_of_the_parts_add_up() -> None:
    net = build_without_memory(H64Options())
    assert parameter_count(net.encoder) == 69_662_976
    assert parameter_count(net.decoder_dst) == 21_545_156
    assert (net.resolution, net.framing) == (64, Framing.HALF)


@pytest.mark.parametrize(("light", "channels"), [(False, 512), (True, 256)])
def test_the_code_is_eight_by_eight(light: bool, channels: int) -> None:
    net = build_without_memory(H64Options(light=light))
    assert net.encoder(torch.empty(2, 3, 64, 64, device="meta")).shape == (2, channels, 8, 8)


def test_initial_weights_are_glorot_uniform_with_zero_biases() -> None:
    torch.manual_seed(0)
    net = H64().build(H64Options(light=True))
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            field = layer.weight[0, 0].numel()
            bound = np.sqrt(6 / (field * (layer.weight.shape[0] + layer.weight.shape[1])))
            assert 0.9 * bound < layer.weight.abs().max() <= bound * 1.0001
            assert layer.bias is not None and not layer.bias.any()


class Painted(FaceNet):
    """Gives fixed pictures, so that the losses are known."""

    def __init__(self, out: Reconstruction) -> None:
        super().__init__(64, Framing.HALF)
        self.out = out

    def reconstruct(self, src: torch.Tensor, dst: torch.Tensor) -> Reconstruction:
        return self.out

    def swap(self, dst: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        raise NotImplementedError


@pytest.fixture
def painted() -> Painted:
    generator = torch.Generator().manual_seed(7)
    return Painted(Reconstruction(*(torch.rand(2, c, 64, 64, generator=generator) for c in (3, 1, 3, 1))))


def window(size: int, sigma: float) -> np.ndarray:
    x = np.arange(size) - (size - 1) / 2
    kernel = np.exp(-(x[:, None] ** 2 + x[None, :] ** 2) / (2 * sigma**2))
    return kernel / kernel.sum()


def filtered(images: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Weighted sums over all windows inside the pictures ``(N, C, H, W)``."""
    view = np.lib.stride_tricks.sliding_window_view(images, kernel.shape, axis=(2, 3))
    return np.einsum("ncyxij,ij->ncyx", view, kernel)


def structure_loss(y: np.ndarray, p: np.ndarray, mask: np.ndarray) -> float:
    y, p, g = y * mask, p * mask, window(11, 1.5)
    my, mp = filtered(y, g), filtered(p, g)
    vy, vp, cov = filtered(y * y, g) - my**2, filtered(p * p, g) - mp**2, filtered(y * p, g) - my * mp
    ssim = (2 * my * mp + 0.01**2) * (2 * cov + 0.03**2) / ((my**2 + mp**2 + 0.01**2) * (vy + vp + 0.03**2))
    return float(10 * (1 - ssim.mean()) / 2)


def pixel_loss(y: np.ndarray, p: np.ndarray, mask: np.ndarray) -> float:
    soft = filtered(np.pad(mask, ((0, 0), (0, 0), (2, 2), (2, 2))), window(5, 1.0))
    return float(np.mean(50 * (y * soft - p * soft) ** 2))


@pytest.mark.parametrize(("by_pixel", "expected"), [(False, structure_loss), (True, pixel_loss)])
def test_loss_values(
    painted: Painted,
    make_batch: Callable[..., Batch],
    by_pixel: bool,
    expected: Callable[[np.ndarray, np.ndarray, np.ndarray], float],
) -> None:
    batch, out = make_batch(64), painted.out
    losses = H64().losses(painted, batch, H64Options(pixel_loss=by_pixel), progress=0.0)

    def exact(*tensors: torch.Tensor) -> list[np.ndarray]:
        return [tensor.double().numpy() for tensor in tensors]

    src = expected(*exact(batch.target_src, out.src_rgb, batch.mask_src))
    dst = expected(*exact(batch.target_dst, out.dst_rgb, batch.mask_dst))
    masks = sum(
        float(np.abs(a - b).mean())
        for a, b in (exact(out.src_mask, batch.mask_src), exact(out.dst_mask, batch.mask_dst))
    )
    assert float(losses.src) == pytest.approx(src, rel=1e-5)
    assert float(losses.dst) == pytest.approx(dst, rel=1e-5)
    assert float(losses.total) == pytest.approx(src + dst + masks, rel=1e-5)


def test_what_lies_outside_the_mask_is_free(painted: Painted, make_batch: Callable[..., Batch]) -> None:
    batch = make_batch(64)
    before = H64().losses(painted, batch, H64Options(), progress=0.0)
    painted.out.src_rgb.mul_(batch.mask_src)
    after = H64().losses(painted, batch, H64Options(), progress=0.0)
    assert torch.equal(before.src, after.src)


def test_optimizer_is_adam_as_in_the_literature() -> None:
    net = build_without_memory(H64Options(light=True))
    optimizer = H64().optimizer(net, H64Options(light=True))
    assert isinstance(optimizer, torch.optim.Adam)
    assert {key: optimizer.defaults[key] for key in ("lr", "betas", "eps", "weight_decay")} == {
        "lr": 5e-5,
        "betas": (0.5, 0.999),
        "eps": 1e-7,
        "weight_decay": 0,
    }
