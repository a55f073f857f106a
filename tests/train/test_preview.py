from __future__ import annotations

import numpy as np
import torch

from recaster.faces.faceset import FaceSet
from recaster.nets.architecture import find_architecture
from recaster.options import Options
from recaster.train.preview import COLUMNS, ROWS, preview_faces, render_preview
from recaster.train.samples import FaceSamples
from recaster.types import Framing


def test_the_preview_shows_five_columns_of_the_same_faces(
    facesets: tuple[FaceSet, FaceSet], tiny: str, tiny_options: type[Options]
) -> None:
    net = find_architecture(tiny).build(tiny_options()).train()
    src, dst = (preview_faces(FaceSamples.load(faces, Framing.FULL, 32, torch.device("cpu"))) for faces in facesets)
    picture = render_preview(net, src, dst, 1234)
    assert net.training
    assert picture.dtype == np.uint8 and picture.shape[1] == 128 * len(COLUMNS)
    body = picture[-128 * ROWS :]
    assert np.array_equal(picture, render_preview(net, src, dst, 1234)), "no dropout, no chance"
    shown = body[:128, :128].reshape(32, 4, 32, 4, 3).mean((1, 3)) / 255
    assert np.abs(shown - src[0].permute(1, 2, 0).numpy()).mean() < 0.02
    out = net.eval().swap(dst)[0][2].permute(1, 2, 0).detach().numpy()
    swapped = body[256:384, -128:].reshape(32, 4, 32, 4, 3).mean((1, 3)) / 255
    assert np.abs(swapped - out).mean() < 0.02
    header = picture[: -128 * ROWS]
    assert header.max() > 150, "titles are drawn"
    assert not np.array_equal(header, render_preview(net, src, dst, 1235)[: -128 * ROWS])


def test_faces_are_spread_over_those_in_use() -> None:
    pictures = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1).expand(10, 4, 46, 46).contiguous()
    weights = torch.ones(10)
    weights[9] = 0
    shown = preview_faces(FaceSamples(pictures, weights, 32))[:, 0, 16, 16].mul(255).round().tolist()
    assert shown == [0, 3, 5, 8]
    assert len(preview_faces(FaceSamples(pictures[:1], weights[:1], 32))) == ROWS


def test_large_crops_are_shown_as_they_are() -> None:
    from recaster.train.preview import _tile

    face = np.zeros((160, 160, 3), np.uint8)
    assert _tile(face) is face
