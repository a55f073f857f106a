"""A trained model as a swapper."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from recaster.errors import UsageError
from recaster.nets.autoencoder import FaceNet
from recaster.swap.swapper import Descriptor
from recaster.train.checkpoint import load_net
from recaster.types import Floats, SwapOutput


class TrainedSwapper:
    """The network of a checkpoint on a device; changes nothing about it but its mode and the order of its memory."""

    def __init__(self, net: FaceNet, device: torch.device, name: str, architecture: str, iteration: int) -> None:
        # Convolutions like it, above all for few crops; elsewhere torch's kernels for this order are incomplete.
        order = torch.channels_last if device.type in {"cpu", "cuda"} else torch.contiguous_format
        self._net = net.to(device).to(memory_format=order).eval()  # type: ignore[call-overload]
        self._device, self._order = device, order
        blank = np.zeros((1, 3, net.resolution, net.resolution), np.float32)
        self._descriptor = Descriptor(
            name=name,
            architecture=architecture,
            resolution=net.resolution,
            framing=net.framing,
            learned_mask=self.swap(blank).mask is not None,
            iteration=iteration,
        )

    @property
    def descriptor(self) -> Descriptor:
        """What it works on."""
        return self._descriptor

    @torch.inference_mode()
    def swap(self, crops: Floats) -> SwapOutput:
        """New faces for ``(N, 3, R, R)`` float32 RGB 0..1 crops, in one pass through the network."""
        size = self._net.resolution
        if crops.shape[1:] != (3, size, size):
            raise ValueError(f"crops have shape {crops.shape}, expected (N, 3, {size}, {size})")
        batch = torch.from_numpy(np.ascontiguousarray(crops)).to(self._device, memory_format=self._order)
        rgb, mask, mask_dst = self._net.swap(batch)
        return SwapOutput(
            _floats(rgb), None if mask is None else _floats(mask), None if mask_dst is None else _floats(mask_dst)
        )


def load_swapper(model_folder: Path, device: torch.device, morph: float | None = None) -> TrainedSwapper:
    """The newest sound checkpoint in ``model_folder``, ready on ``device``.

    ``morph`` 0..1 says how far the swap goes, for a network that can stop half-way. Raises MissingError where nothing
    has been trained yet, CheckpointError where no checkpoint can be read, UsageError for ``morph`` where it means
    nothing.
    """
    loaded = load_net(model_folder, device)
    if morph is not None:
        if loaded.net.morph is None:
            raise UsageError(
                f"a {loaded.architecture} cannot stop half-way", where=model_folder, mend="Leave out morph."
            )
        if not 0 <= morph <= 1:
            raise UsageError(f"morph is a number from 0 to 1, got {morph}")
        loaded.net.morph = morph
    return TrainedSwapper(loaded.net, device, model_folder.name, loaded.architecture, loaded.iteration)


def _floats(values: torch.Tensor) -> Floats:
    return np.ascontiguousarray(values.float().clamp(0, 1).cpu().numpy(), np.float32)
