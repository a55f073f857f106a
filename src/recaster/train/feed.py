"""Training batches out of two facesets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Generator, Tensor

from recaster.nets.architecture import Batch
from recaster.train.augment import Augmentation, augment
from recaster.train.colors import color_map, recolor
from recaster.train.options import TrainOptions
from recaster.train.samples import FaceSamples
from recaster.train.selection import Deck, dump_bytes, load_bytes


class Feed:
    """Deals batches of ``batch_size`` faces of each person; equal seeds and states give equal batches.

    All randomness comes from three generators of its own on the CPU: the order of each set, and the augmentation.
    """

    def __init__(self, src: FaceSamples, dst: FaceSamples, options: TrainOptions, batch_size: int) -> None:
        self.batch_size = batch_size
        self._src, self._dst = src, dst
        self._match_colors = options.match_colors
        self._vary_src, self._vary_dst = augmentation(options, options.src_scale), augmentation(options, 0)
        self._deck_src, self._deck_dst = Deck(src.weights, options.seed), Deck(dst.weights, options.seed + 1)
        self._generator = Generator().manual_seed(options.seed + 2)

    @torch.no_grad()
    def next(self) -> Batch:
        """The next batch."""
        warped_src, target_src, mask_src = self._samples(self._src, self._deck_src, self._vary_src)
        warped_dst, target_dst, mask_dst = self._samples(self._dst, self._deck_dst, self._vary_dst)
        if self._match_colors:
            matrix, offset = color_map(target_src, mask_src, target_dst, mask_dst)
            warped_src, target_src = recolor(warped_src, matrix, offset), recolor(target_src, matrix, offset)
        return Batch(warped_src, target_src, mask_src, warped_dst, target_dst, mask_dst)

    def _samples(self, samples: FaceSamples, deck: Deck, vary: Augmentation) -> tuple[Tensor, Tensor, Tensor]:
        rows = deck.deal(self.batch_size).to(samples.pictures.device)
        return augment(samples.pictures[rows], samples.resolution, samples.span, vary, self._generator)

    def state(self) -> dict[str, Any]:
        """Where the random numbers are, for JSON."""
        return {
            "src": self._deck_src.state(),
            "dst": self._deck_dst.state(),
            "augmentation": dump_bytes(self._generator.get_state()),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a :meth:`state`."""
        self._deck_src.restore(state["src"])
        self._deck_dst.restore(state["dst"])
        self._generator.set_state(load_bytes(state["augmentation"]))


def augmentation(options: TrainOptions, scale: int) -> Augmentation:
    """How far samples vary under these options; ``scale`` is the scale modifier in %."""
    usual = Augmentation()
    low, high = usual.scale
    return Augmentation(
        scale=(low + scale / 100, high + scale / 100),
        flip=usual.flip if options.random_flip else 0.0,
        warp=options.warp if options.random_warp else "off",
    )
