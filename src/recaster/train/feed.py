"""Training batches out of two facesets."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor

from recaster.errors import UsageError
from recaster.nets.architecture import Batch, SampleNeeds
from recaster.train import yaw
from recaster.train.augment import Augmentation, Draw, Samples, augment, draw
from recaster.train.colors import color_map, draw_jitter, jitter
from recaster.train.options import TrainOptions
from recaster.train.samples import FaceSamples
from recaster.train.selection import Arrangement, Deck, dump_bytes, load_bytes


class Feed:
    """Deals batches of ``batch_size`` faces of each person; equal seeds and states give equal batches.

    All randomness comes from three generators of its own on the CPU: the order of each set, and the variations. Every
    process draws the numbers of the whole batch and renders only its ``part`` (index, of). Where faces wait in the
    host's memory, a thread collects those of the next batch while the caller computes. ``waited`` are the seconds that
    callers have spent here.

    Raises UsageError where the batch is too small to be shared.
    """

    def __init__(
        self,
        src: FaceSamples,
        dst: FaceSamples,
        options: TrainOptions,
        needs: SampleNeeds,
        batch_size: int,
        device: torch.device,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        if needs.features and not (src.has_features and dst.has_features):
            raise ValueError("the model needs masks of eyes and mouth: load the faces with features")
        index, of = part
        if batch_size < of:
            raise UsageError(
                f"{batch_size} faces cannot be shared by {of} processes", mend=f"Set batch_size to {of} or more."
            )
        self.batch_size = batch_size
        self.waited = 0.0
        self._options, self._needs, self._device = options, needs, device
        self._share = slice(batch_size * index // of, batch_size * (index + 1) // of)
        arrangements = _arrangements(src, dst, options)
        self._src = _Side(src, Deck(src.weights, options.seed, arrangements[0]), src_augmentation(options, needs))
        self._dst = _Side(dst, Deck(dst.weights, options.seed + 1, arrangements[1]), dst_augmentation(options, needs))
        self._generator = Generator().manual_seed(options.seed + 2)
        self._background = ThreadPoolExecutor(1, "samples") if src.on_host or dst.on_host else None
        self._ahead: Future[_Deal] | None = None
        self._before: dict[str, Any] | None = None
        self._after = self._position()
        self._last: Batch | None = None

    @torch.no_grad()
    def next(self, iteration: int) -> Batch:
        """The batch of ``iteration``, counted from 0: a new one or, where the model wants it, the last one unwarped."""
        began = time.perf_counter()
        every = self._needs.replay_every
        if every and iteration % every == 0 and self._last is not None:
            batch = replace(self._last, warped_src=self._last.target_src, warped_dst=self._last.target_dst)
        else:
            batch = self._render(self._take())
            self._last = batch if every else None
        self.waited += time.perf_counter() - began
        return batch

    def state(self) -> dict[str, Any]:
        """Where the random numbers are, for JSON; with replays also where they were before the last batch."""
        if not self._needs.replay_every or self._before is None:
            return self._after
        return {**self._after, "before": self._before}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a :meth:`state`, also of a feed with other options."""
        if self._ahead is not None:
            self._ahead.exception()  # it must not draw any more
        self._ahead, self._before, self._last = None, None, None
        if self._needs.replay_every and "before" in state:
            self._seek(state["before"])
            self._last = self._render(self._take_now())
        self._seek(state)
        self._after = self._position()

    def _take(self) -> _Deal:
        """The next deal; where a thread makes them, the one after it is begun."""
        if self._background is None:
            return self._take_now()
        ahead = self._ahead or self._background.submit(self._deal)
        deal = ahead.result()
        self._ahead = self._background.submit(self._deal)
        self._before, self._after = deal.before, deal.after
        return deal

    def _take_now(self) -> _Deal:
        deal = self._deal()
        self._before, self._after = deal.before, deal.after
        return deal

    def _deal(self) -> _Deal:
        before, count, amount = self._position(), self.batch_size, self._options.random_hsv
        src, dst = self._src.deal(count, self._generator), self._dst.deal(count, self._generator)
        changes = draw_jitter(count, amount, self._generator)[self._share] if amount else None
        hands = self._src.hand(*src, self._share), self._dst.hand(*dst, self._share)
        return _Deal(*hands, changes, before, self._position())

    def _render(self, deal: _Deal) -> Batch:
        src = deal.src.render(self._src.samples, self._device)
        dst = deal.dst.render(self._dst.samples, self._device)
        warped, target = src.warped, src.target
        if self._options.color_transfer != "none":
            change = color_map(self._options.color_transfer, src.target, src.mask, dst.target, dst.mask)
            target = change(src.target)
            warped = target if src.warped is src.target else change(src.warped)
        if deal.jitter is not None:
            warped = jitter(warped, deal.jitter.to(self._device, non_blocking=True))
        features = (src.features, dst.features) if self._needs.features else (None, None)
        return Batch(warped, target, src.mask, dst.warped, dst.target, dst.mask, *features)

    def _position(self) -> dict[str, Any]:
        variations = dump_bytes(self._generator.get_state())
        return {"src": self._src.deck.state(), "dst": self._dst.deck.state(), "augmentation": variations}

    def _seek(self, position: Mapping[str, Any]) -> None:
        self._src.deck.restore(position["src"])
        self._dst.deck.restore(position["dst"])
        self._generator.set_state(load_bytes(position["augmentation"]))


@dataclass(frozen=True)
class _Hand:
    """Pictures and variations of one person in one batch, before they are rendered."""

    pictures: Tensor
    draw: Draw

    def render(self, samples: FaceSamples, device: torch.device) -> Samples:
        pictures = self.pictures.to(device, non_blocking=True)
        return augment(pictures, self.draw.to(device), samples.resolution, samples.span)


@dataclass(frozen=True)
class _Deal:
    """What one batch is rendered from, and where the random numbers were before and after it."""

    src: _Hand
    dst: _Hand
    jitter: Tensor | None
    before: dict[str, Any]
    after: dict[str, Any]


@dataclass(frozen=True)
class _Side:
    """One person's faces, their order, and how far they vary."""

    samples: FaceSamples
    deck: Deck
    vary: Augmentation

    def deal(self, count: int, generator: Generator) -> tuple[Tensor, Draw]:
        """Rows and variations of ``count`` samples."""
        cards = self.deck.deal(count)
        mirrored = cards >= len(self.samples)
        return cards % len(self.samples), draw(count, self.vary, generator).mirrored(mirrored)

    def hand(self, rows: Tensor, variations: Draw, share: slice) -> _Hand:
        """The share of them, with pictures."""
        return _Hand(self.samples.take(rows[share]), variations[share])


def pretraining_options(options: TrainOptions) -> TrainOptions:
    """``options`` for learning faces in general: calm, mirrored, from all directions, in their own colors."""
    return options.with_values(
        random_warp=False,
        random_flip=True,
        random_flip_src=True,
        uniform_yaw=True,
        sort_by_yaw=False,
        random_hsv=0.0,
        color_transfer="none",
        src_scale=0,
    )


def src_augmentation(options: TrainOptions, needs: SampleNeeds) -> Augmentation:
    """How far the source's samples vary."""
    usual = dst_augmentation(options, needs)
    low, high = usual.scale
    scale = options.src_scale / 100
    return replace(usual, scale=(low + scale, high + scale), flip=usual.flip if options.random_flip_src else 0.0)


def dst_augmentation(options: TrainOptions, needs: SampleNeeds) -> Augmentation:
    """How far the target's samples vary."""
    return Augmentation(
        scale=needs.scale,
        flip=Augmentation.flip if options.random_flip else 0.0,
        warp=options.warp if options.random_warp else "off",
    )


def _arrangements(
    src: FaceSamples, dst: FaceSamples, options: TrainOptions
) -> tuple[Arrangement | None, Arrangement | None]:
    if options.sort_by_yaw:
        used = (dst.weights > 0).numpy()
        return yaw.as_target(src.yaw, dst.yaw[used]), None
    if options.uniform_yaw:
        return yaw.uniform(src.yaw), yaw.uniform(dst.yaw)
    return None, None
