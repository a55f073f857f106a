"""What the tests of the high-definition models share: layers row by row, losses in float64, a short training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from recaster.nets.architecture import Batch, Phase
from recaster.nets.autoencoder import FaceNet
from recaster.nets.blocks import Down, Residual, Up
from recaster.nets.hd_blocks import FourPixels
from recaster.nets.losses import dssim
from recaster.train.optimizers import Optimizer

Array = NDArray[np.float64]
Row = tuple[tuple[int, ...], int]


@pytest.fixture(scope="session")
def layer_rows() -> Callable[..., list[Row]]:
    """layer_rows(module, *shape): (height, width, channels) or (features,) and the parameters of each layer or block,
    in the order in which an input of ``shape`` passes them; everything is on the meta device.
    """
    blocks = (Down, Residual, Up, FourPixels)

    def parts(module: nn.Module) -> list[nn.Module]:
        if isinstance(module, (*blocks, nn.Conv2d, nn.Linear)):
            return [module]
        return [part for child in module.children() for part in parts(child)]

    def rows(module: nn.Module, *shape: int) -> list[Row]:
        found: list[Row] = []

        def note(part: nn.Module, _: object, out: torch.Tensor) -> None:
            numbers = sum(weight.numel() for weight in part.parameters())
            found.append(((*out.shape[2:], out.shape[1]), numbers))

        hooks = [part.register_forward_hook(note) for part in parts(module)]
        module(torch.empty(1, *shape, device="meta"))
        for hook in hooks:
            hook.remove()
        return found

    return rows


class Reference:
    """Losses of the high-definition models, one number a sample, from their definitions; ``(N, C, H, W)`` float64."""

    @staticmethod
    def window(size: int, sigma: float) -> Array:
        place = np.arange(size) - (size - 1) / 2
        bell = np.exp(-(place**2) / (2 * sigma**2))
        return bell / bell.sum()

    @staticmethod
    def filtered(image: Array, bell: Array) -> Array:
        for axis in (2, 3):
            image = np.lib.stride_tricks.sliding_window_view(image, len(bell), axis=axis) @ bell
        return image

    def blur(self, image: Array, sigma: float) -> Array:
        size = max(3, int(4 * sigma))
        size += 1 - size % 2
        padded = np.pad(image, ((0, 0), (0, 0), (size // 2, size // 2), (size // 2, size // 2)))
        return self.filtered(padded, self.window(size, sigma))

    def dssim(self, a: Array, b: Array, size: int) -> Array:
        """Wang et al. 2004, eq. 13."""
        bell = self.window(size, 1.5)
        ma, mb = self.filtered(a, bell), self.filtered(b, bell)
        va, vb = self.filtered(a * a, bell) - ma**2, self.filtered(b * b, bell) - mb**2
        covariance = self.filtered(a * b, bell) - ma * mb
        ssim = (2 * ma * mb + 1e-4) * (2 * covariance + 9e-4) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4))
        return (1 - ssim.mean((1, 2, 3))) / 2

    def structure(self, a: Array, b: Array, *, two_scales: bool) -> Array:
        side = a.shape[-1]
        if two_scales:
            return 5 * self.dssim(a, b, int(side / 11.6)) + 5 * self.dssim(a, b, int(side / 23.2))
        return 10 * self.dssim(a, b, int(side / 11.6))

    @staticmethod
    def squares(a: Array, b: Array) -> Array:
        return ((a - b) ** 2).mean((1, 2, 3))

    def soft(self, mask: Array) -> Array:
        return 2 * np.clip(self.blur(mask, max(1, mask.shape[-1] // 32)), 0, 0.5)

    def face(
        self,
        rgb: Array,
        learned: Array,
        target: Array,
        mask: Array,
        weight: Array | float,
        features: Array | None = None,
        *,
        two_scales: bool = False,
    ) -> Array:
        a, b = target * weight, rgb * weight
        loss = self.structure(a, b, two_scales=two_scales) + 10 * self.squares(a, b) + 10 * self.squares(learned, mask)
        if features is not None:
            loss = loss + 300 * np.abs(target * features - rgb * features).mean((1, 2, 3))
        return loss

    def blur_out(self, target: Array, mask: Array) -> Array:
        sigma = target.shape[-1] / 128
        share = 1 - self.blur(mask, sigma)
        share[share == 0] = 1
        return target * mask + self.blur(target * (1 - mask), sigma) / share * (1 - mask)

    def face_style(self, swap: Array, dst: Array) -> Array:
        a, b = (self.blur(image, image.shape[-1] // 8).reshape(*image.shape[:2], -1) for image in (swap, dst))
        means = (a.mean(2) - b.mean(2)) ** 2
        deviations = (np.sqrt(a.var(2) + 1e-5) - np.sqrt(b.var(2) + 1e-5)) ** 2
        return (means + deviations).mean(1)

    @staticmethod
    def variation(image: Array) -> Array:
        down, across = image[:, :, 1:] - image[:, :, :-1], image[..., 1:] - image[..., :-1]
        return (down**2).sum((1, 2, 3)) + (across**2).sum((1, 2, 3))

    @staticmethod
    def cross_entropy(logits: Array, *, real: bool) -> Array:
        probability = 1 / (1 + np.exp(-logits))
        return -np.log(probability if real else 1 - probability).mean((1, 2, 3))


@pytest.fixture(scope="session")
def reference() -> Reference:
    """The losses in float64."""
    return Reference()


@pytest.fixture(scope="session")
def overfit() -> Callable[..., tuple[float, float]]:
    """overfit(net, phase, batch, rate): the phase's weights learn a quarter of the batch at a time, until both people's
    masked DSSIM is below 0.05 or patience ends; gives the DSSIM of source and destination.
    """

    def learn(net: FaceNet, phase: Phase, batch: Batch, rate: float) -> tuple[float, float]:
        optimizer = Optimizer(phase.weights, phase.rule)
        generator = torch.Generator().manual_seed(1)
        for step in range(1, 601):
            some = torch.randperm(len(batch.target_src), generator=generator)[: len(batch.target_src) // 4]
            optimizer.zero_grad()
            part = Batch(**{name: value[some] for name, value in vars(batch).items()})
            phase.losses(part, 0.0).total.backward()  # type: ignore[no-untyped-call]
            optimizer.step(rate)
            if step % 25 == 0 and max(differences(net, batch)) < 0.05:
                break
        return differences(net, batch)

    def differences(net: FaceNet, batch: Batch) -> tuple[float, float]:
        with torch.no_grad():
            out = net.reconstruct(batch.warped_src, batch.warped_dst)
        return (
            dssim(out.src_rgb * batch.mask_src, batch.target_src * batch.mask_src).mean().item(),
            dssim(out.dst_rgb * batch.mask_dst, batch.target_dst * batch.mask_dst).mean().item(),
        )

    return learn
