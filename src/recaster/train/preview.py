"""Pictures that show how far a training is: the same few faces of both people, each time as the network sees them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch import Tensor

from recaster.train.augment import augment, unchanged
from recaster.train.log import History
from recaster.train.lossgraph import INK, PAPER, loss_graph, write_text
from recaster.train.samples import FaceSamples
from recaster.types import Picture

if TYPE_CHECKING:
    from recaster.nets.autoencoder import FaceNet

COLUMNS = ("src", "src -> src", "dst", "dst -> dst", "dst -> src")
"""Two people, each beside its reconstruction, and the swap."""
MORPHS = (0.25, 0.5, 0.65, 0.75, 1.0)
"""How far the swap goes in the columns of a network that can stop half-way."""
WIDTH, HEIGHT = 1800, 1400
"""The tiles together are no larger than this, px."""
PREVIEWS = "preview"
"""Folder in the model's own that keeps all previews, on request."""
_ROWS = 4
_SMALLEST_TILE = 128
_TITLE = 20


@dataclass(frozen=True)
class PreviewFaces:
    """A few faces of one person as they are: ``rgb`` ``(N, 3, R, R)`` and ``mask`` ``(N, 1, R, R)``, float32 0..1."""

    rgb: Tensor
    mask: Tensor


@dataclass(frozen=True)
class _Block:
    """Columns that belong together, with their titles; ``pictures`` ``(N, 5, R, R, 3)`` uint8."""

    titles: Sequence[str]
    pictures: Picture


def preview_faces(samples: FaceSamples, choice: int = 0) -> PreviewFaces:
    """Some of the faces that are trained on: spread evenly over them, or from 1 on another random ``choice``.

    The same number gives the same faces; four, or fewer for a network with large pictures.
    """
    usable = np.flatnonzero(samples.weights.numpy() > 0)
    count = max(1, min(_ROWS, 800 // samples.resolution))
    if choice:
        places = np.sort(np.random.default_rng(choice).choice(len(usable), count, replace=len(usable) < count))
    else:
        places = np.linspace(0, len(usable) - 1, count).round().astype(int)
    rows = torch.from_numpy(usable[places])
    pictures = samples.take(rows).to(samples.device)
    shown = augment(pictures, unchanged(count).to(samples.device), samples.resolution, samples.span)
    return PreviewFaces(shown.target, shown.mask)


def render_preview(
    net: FaceNet, src: PreviewFaces, dst: PreviewFaces, iteration: int, history: History | None = None
) -> Picture:
    """The preview as ``(H, W, 3)`` uint8 RGB, about 1800 x 1600 px at most.

    The losses of ``history`` are on top. Below, a row for each face, the COLUMNS; the same inside the masks, where the
    network learns any: the reconstructions inside the learned ones, and the swap where its mask and that of the
    target's face agree; and the swap at MORPHS, where the network can stop half-way.
    """
    with _judging(net):
        blocks = [*_columns(net, src, dst), *_morphs(net, dst)]
    across, tile = _arrange(len(blocks), len(src.rgb), net.resolution)
    drawn = [_draw(block, tile) for block in blocks]
    drawn += [np.full_like(drawn[0], PAPER)] * (-len(drawn) % across)
    body = np.vstack([np.hstack(drawn[place : place + across]) for place in range(0, len(drawn), across)])
    return np.vstack([loss_graph(history or History(), iteration, body.shape[1]), body])


def contrast(net: FaceNet, src: PreviewFaces, dst: PreviewFaces) -> float:
    """How much structure the swaps of ``dst`` show inside the face: 1 as much as the two people's faces, 0 none.

    The standard deviation over the pixels of each face, the mean over faces and colors. NaN where the network gives no
    numbers.
    """
    with _judging(net):
        swapped, _, _ = net.swap(dst.rgb)
    real = (_deviation(src.rgb, src.mask) + _deviation(dst.rgb, dst.mask)) / 2
    return float(_deviation(swapped.float(), dst.mask) / real.clamp_min(1e-6))


@contextmanager
def _judging(net: FaceNet) -> Iterator[None]:
    """No dropout, no gradients; afterwards ``net`` is as it was."""
    training, morph = net.training, net.morph
    net.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        net.train(training)
        if morph is not None:
            net.morph = morph


def _columns(net: FaceNet, src: PreviewFaces, dst: PreviewFaces) -> list[_Block]:
    out = net.reconstruct(src.rgb, dst.rgb)
    swapped, mask, mask_dst = net.swap(dst.rgb)
    blocks = [_block(COLUMNS, (src.rgb, out.src_rgb, dst.rgb, out.dst_rgb, swapped))]
    learned = [each for each in (mask, mask_dst) if each is not None]
    if learned:
        inside = (
            src.rgb * src.mask,
            out.src_rgb if out.src_mask is None else out.src_rgb * out.src_mask,
            dst.rgb * dst.mask,
            out.dst_rgb if out.dst_mask is None else out.dst_rgb * out.dst_mask,
            swapped * torch.stack(learned).prod(0),
        )
        blocks.append(_block([f"{title}, mask" for title in COLUMNS], inside))
    return blocks


def _morphs(net: FaceNet, dst: PreviewFaces) -> list[_Block]:
    if net.morph is None:
        return []
    pictures = []
    for morph in MORPHS:
        net.morph = morph
        pictures.append(net.swap(dst.rgb)[0])
    return [_block([f"morph {morph:g}" for morph in MORPHS], pictures)]


def _block(titles: Sequence[str], columns: Sequence[Tensor]) -> _Block:
    pictures = torch.stack([column.float() for column in columns], 1).nan_to_num(0).clamp(0, 1)
    return _Block(titles, pictures.mul(255).round().byte().permute(0, 1, 3, 4, 2).cpu().numpy())


def _arrange(blocks: int, rows: int, resolution: int) -> tuple[int, int]:
    """How many blocks stand side by side, and the side of a tile: the largest that fits, at best the network's own."""

    def largest(across: int) -> int:
        down = -(-blocks // across)
        return min(max(resolution, _SMALLEST_TILE), WIDTH // (across * len(COLUMNS)), HEIGHT // (rows * down))

    across = max(range(1, blocks + 1), key=lambda count: (largest(count), count))
    return across, largest(across)


def _draw(block: _Block, tile: int) -> Picture:
    titles = np.full((_TITLE, tile * len(block.titles), 3), PAPER, np.uint8)
    for column, title in enumerate(block.titles):
        write_text(titles, title, (column * tile + 4, 14), INK, 0.4)
    rows = [np.hstack([_scaled(face, tile) for face in row]) for row in block.pictures]
    return np.vstack([titles, *rows])


def _scaled(face: Picture, size: int) -> Picture:
    if face.shape[0] == size:
        return face
    how = cv2.INTER_AREA if face.shape[0] > size else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(face, (size, size), interpolation=how))


def _deviation(faces: Tensor, masks: Tensor) -> Tensor:
    """Deviation inside ``masks`` ``(N, 1, R, R)`` of ``faces`` ``(N, 3, R, R)``, mean over faces and colors."""
    size = masks.sum((2, 3)).clamp_min(1e-6)
    mean = (faces * masks).sum((2, 3)) / size
    variance = ((faces - mean[..., None, None]).square() * masks).sum((2, 3)) / size
    return variance.sqrt().mean()
