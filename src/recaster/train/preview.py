"""Pictures that show how far a training is: the same few faces of both people, each time as the network sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch import Tensor

from recaster.train.samples import FaceSamples
from recaster.types import Picture

if TYPE_CHECKING:
    from recaster.nets.autoencoder import FaceNet

ROWS = 4
COLUMNS = ("src", "src -> src", "dst", "dst -> dst", "dst -> src")
"""Two people, each beside its reconstruction, and the swap."""
_SMALLEST_TILE = 128
_HEADER = 44
_INK, _PAPER = (230, 230, 230), 24


def preview_faces(samples: FaceSamples) -> Tensor:
    """``(ROWS, 3, R, R)``: faces spread evenly over those that are trained on, the same at every call."""
    rows = np.flatnonzero(samples.weights.numpy() > 0)
    return samples.plain([int(rows[i]) for i in np.linspace(0, len(rows) - 1, ROWS).round().astype(int)])


@torch.no_grad()
def render_preview(net: FaceNet, src: Tensor, dst: Tensor, iteration: int) -> Picture:
    """The preview as ``(H, W, 3)`` uint8 RGB: a row for each of the N faces ``src`` and ``dst`` ``(N, 3, R, R)``, the
    COLUMNS with their titles, and the iteration.
    """
    training = net.training
    net.eval()
    out = net.reconstruct(src, dst)
    swapped, _, _ = net.swap(dst)
    net.train(training)
    columns = torch.stack([src, out.src_rgb, dst, out.dst_rgb, swapped], 1)
    pixels = columns.clamp(0, 1).mul(255).round().byte().permute(0, 1, 3, 4, 2).cpu().numpy()
    body = np.concatenate([np.concatenate([_tile(face) for face in row], axis=1) for row in pixels], axis=0)
    return np.concatenate([_header(body.shape[1], iteration), body], axis=0)


def _tile(face: Picture) -> Picture:
    if face.shape[0] >= _SMALLEST_TILE:
        return face
    return np.asarray(cv2.resize(face, (_SMALLEST_TILE, _SMALLEST_TILE), interpolation=cv2.INTER_CUBIC))


def _header(width: int, iteration: int) -> Picture:
    header = np.full((_HEADER, width, 3), _PAPER, np.uint8)
    _write(header, f"iteration {iteration}", (6, 17))
    for column, title in enumerate(COLUMNS):
        _write(header, title, (column * width // len(COLUMNS) + 6, 37))
    return header


def _write(picture: Picture, text: str, corner: tuple[int, int]) -> None:
    cv2.putText(picture, text, corner, cv2.FONT_HERSHEY_SIMPLEX, 0.45, _INK, 1, cv2.LINE_AA)
