"""Dealing faces by the direction in which they look."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from recaster.train.selection import Arrangement

SORTED_BINS, SORTED_REACH = 64, 0.8
"""Bins of :func:`as_target` and the yaw of their outer edges, radians: the old measure 1.25 × yaw from -1 to 1."""
UNIFORM_BINS, UNIFORM_REACH = 128, 1.2
"""Bins of :func:`uniform` and the yaw of their outer edges, radians."""


def uniform(yaw: NDArray[np.float32]) -> Arrangement:
    """Deals every direction that is there equally often; ``yaw`` ``(N,)`` degrees."""
    bins = yaw_bins(yaw, UNIFORM_BINS, UNIFORM_REACH)

    def arrange(rows: Tensor, generator: Generator) -> Tensor:
        cards, _ = _in_turns(rows, bins[rows], torch.unique(bins[rows]), generator)
        return cards

    return arrange


def as_target(yaw: NDArray[np.float32], target_yaw: NDArray[np.float32]) -> Arrangement:
    """Deals equally often every direction that the target takes, each by the faces that come nearest to it.

    Faces that look to the other side are mirrored where they come nearer. ``yaw`` ``(N,)`` and ``target_yaw`` ``(M,)``
    are in degrees; a left face counts as positive here, which matters only between bins equally near.
    """
    bins = yaw_bins(-yaw, SORTED_BINS, SORTED_REACH)
    wanted = torch.unique(yaw_bins(-target_yaw, SORTED_BINS, SORTED_REACH))

    def arrange(rows: Tensor, generator: Generator) -> Tensor:
        present = torch.unique(bins[rows])
        given = present[_nearest(wanted, present)]
        mirrored = (given < SORTED_BINS // 2) != (wanted < SORTED_BINS // 2)
        cards, turns = _in_turns(rows, bins[rows], given, generator)
        return cards.add(mirrored[turns], alpha=len(bins))

    return arrange


def yaw_bins(yaw: NDArray[np.float32], count: int, reach: float) -> Tensor:
    """Which of ``count`` bins of equal width over ± ``reach`` radians each yaw, in degrees, lies in; the outermost
    ones take all beyond.
    """
    place = (np.radians(yaw.astype(np.float64)) / reach + 1) / 2 * count
    return torch.from_numpy(np.clip(np.floor(place), 0, count - 1).astype(np.int64))


def _nearest(wanted: Tensor, present: Tensor) -> Tensor:
    """For each wanted bin the index of the one in ``present`` that is found first: 0, 1, 2 ... steps away, each time
    below the bin itself, below its mirror image, above it, above its mirror image.
    """
    place, mirror = wanted[:, None], SORTED_BINS - 1 - wanted[:, None]
    found = [
        torch.where(present <= center, 4 * (center - present) + turn, 4 * (present - center) + turn + 2)
        for turn, center in enumerate((place, mirror))
    ]
    return torch.minimum(*found).argmin(1)


def _in_turns(rows: Tensor, bins: Tensor, slots: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """About ``len(rows)`` rows, dealt in rounds in which each slot has one turn, in random order.

    A slot is a bin to take from, the same one perhaps for several; ``bins`` are those of the rows. A bin deals its rows
    one after the other, and begins anew when it is through. Gives rows and the index of the slot of each.
    """
    rounds = math.ceil(len(rows) / len(slots))
    turns = torch.rand(rounds, len(slots), generator=generator).argsort(dim=1, stable=True).flatten()
    by_bin = bins.argsort(stable=True)
    wanted, there = slots[turns], bins[by_bin]
    first = torch.searchsorted(there, wanted)
    count = torch.searchsorted(there, wanted, right=True) - first
    return rows[by_bin[first + _earlier(wanted) % count]], turns


def _earlier(values: Tensor) -> Tensor:
    """How often each of ``values`` has come before its place."""
    order = values.argsort(stable=True)
    ordered = values[order]
    times = torch.empty_like(values)
    times[order] = torch.arange(len(values)) - torch.searchsorted(ordered, ordered)
    return times
