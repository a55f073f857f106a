from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from recaster.faces.faceset import FaceSet
from recaster.nets.architecture import find_architecture
from recaster.nets.autoencoder import FaceNet, Reconstruction
from recaster.options import Options
from recaster.train.log import History
from recaster.train.lossgraph import HEIGHT as GRAPH
from recaster.train.preview import (
    COLUMNS,
    HEIGHT,
    MORPHS,
    WIDTH,
    PreviewFaces,
    _arrange,
    contrast,
    preview_faces,
    render_preview,
)
from recaster.train.samples import FaceSamples
from recaster.types import Framing, Picture

CPU = torch.device("cpu")
TITLE = 20


class Plain(FaceNet):
    """Gives back what it sees, times a factor; with ``masks``, one that is 1 in the left half."""

    def __init__(self, factor: float = 1.0, masks: bool = False, resolution: int = 128) -> None:
        super().__init__(resolution, Framing.FULL)
        self.factor, self.masks = nn.Parameter(torch.tensor(factor)), masks

    def _mask(self, pictures: Tensor) -> Tensor | None:
        if not self.masks:
            return None
        half = torch.zeros_like(pictures[:, :1])
        half[..., : self.resolution // 2] = 1
        return half

    def reconstruct(self, src: Tensor, dst: Tensor) -> Reconstruction:
        return Reconstruction(src * self.factor, self._mask(src), dst * self.factor, self._mask(dst))

    def swap(self, dst: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        return dst * self.factor * (1 if self.morph is None else self.morph), self._mask(dst), self._mask(dst)


def some_faces(value: float, count: int = 4, resolution: int = 128) -> PreviewFaces:
    mask = torch.zeros(count, 1, resolution, resolution)
    mask[..., 16:-16, 16:-16] = 1
    noise = torch.rand(count, 3, resolution, resolution, generator=torch.Generator().manual_seed(3))
    return PreviewFaces(value + 0.2 * (noise - 0.5), mask)


def tile(body: Picture, row: int, column: int, size: int = 128) -> Picture:
    return body[row * size : (row + 1) * size, column * size : (column + 1) * size]


def test_a_real_network_shows_its_reconstructions(
    facesets: tuple[FaceSet, FaceSet], tiny: str, tiny_options: type[Options]
) -> None:
    net = find_architecture(tiny).build(tiny_options()).train()
    src, dst = (preview_faces(FaceSamples.load(faces, Framing.FULL, 32, CPU)) for faces in facesets)
    picture = render_preview(net, src, dst, 1234)
    assert net.training
    assert picture.dtype == np.uint8 and picture.shape[1] == 2 * 128 * len(COLUMNS), "plain, and inside the masks"
    assert np.array_equal(picture, render_preview(net, src, dst, 1234)), "no dropout, no chance"
    body = picture[GRAPH + TITLE :]
    assert body.shape[0] == 4 * 128
    out = net.eval().swap(dst.rgb)[0]
    for column, expected in ((0, src.rgb), (2, dst.rgb), (4, out)):
        shown = tile(body, 2, column).reshape(32, 4, 32, 4, 3).mean((1, 3)) / 255
        assert np.abs(shown - expected[2].permute(1, 2, 0).detach().numpy()).mean() < 0.02
    assert tile(body, 0, 5)[:8].max() == 0, "outside the mask there is nothing"
    assert not np.array_equal(picture[:GRAPH], render_preview(net, src, dst, 1235)[:GRAPH])


def test_masks_are_applied_where_they_are_learned() -> None:
    src, dst = some_faces(0.5), some_faces(0.7)
    plain = render_preview(Plain(), src, dst, 1)
    assert plain.shape == (GRAPH + TITLE + 4 * 128, 5 * 128, 3)
    masked = render_preview(Plain(masks=True), src, dst, 1)
    assert masked.shape == (GRAPH + TITLE + 4 * 128, 10 * 128, 3)
    body = masked[GRAPH + TITLE :]
    for column in (6, 8, 9):
        assert tile(body, 1, column)[:, :60].min() > 80
        assert tile(body, 1, column)[:, 64:].max() == 0
    assert tile(body, 1, 7)[20:-20, 20:-20].min() > 80 and tile(body, 1, 7)[:16].max() == 0, "the target's own mask"


def test_morphs_have_a_column_each() -> None:
    net = Plain(masks=True)
    net.morph = 0.4
    picture = render_preview(net, some_faces(0.5), some_faces(0.8), 1)
    assert net.morph == 0.4
    assert picture.shape[:2] == (GRAPH + 2 * (TITLE + 4 * 128), 10 * 128)
    morphs = picture[GRAPH + TITLE + 4 * 128 + TITLE :]
    means = [tile(morphs, 0, column).mean() / 255 for column in range(len(MORPHS))]
    assert means == pytest.approx([0.8 * morph for morph in MORPHS], abs=0.02)
    assert len(np.unique(morphs[:, 5 * 128 :])) == 1, "there is no fourth block"


@pytest.mark.parametrize("resolution", [64, 96, 128, 224, 256, 448, 640])
@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_pictures_stay_on_a_screen(resolution: int, blocks: int) -> None:
    rows = max(1, min(4, 800 // resolution))
    across, size = _arrange(blocks, rows, resolution)
    assert across * len(COLUMNS) * size <= WIDTH and -(-blocks // across) * rows * size <= HEIGHT
    assert 128 <= size <= max(128, resolution)
    if resolution <= 128:
        assert size == 128


def test_large_networks_show_fewer_faces() -> None:
    pictures = torch.zeros(9, 16, 16, 4, dtype=torch.uint8)
    values = np.zeros(9, np.float32)
    for resolution, rows in ((128, 4), (256, 3), (320, 2), (640, 1), (1024, 1)):
        samples = FaceSamples(pictures, torch.ones(9), values, values, resolution, CPU)
        assert len(preview_faces(samples).rgb) == rows


def test_faces_are_spread_over_those_in_use() -> None:
    pictures = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1).expand(10, 46, 46, 4).contiguous()
    weights = torch.ones(10)
    weights[9] = 0
    values = np.zeros(10, np.float32)
    samples = FaceSamples(pictures, weights, values, values, 32, CPU)

    def shown(choice: int) -> list[int]:
        return preview_faces(samples, choice).rgb[:, 0, 16, 16].mul(255).round().int().tolist()

    assert shown(0) == [0, 3, 5, 8]
    others = [tuple(shown(choice)) for choice in range(1, 20)]
    assert others == [tuple(shown(choice)) for choice in range(1, 20)]
    assert len(set(others)) > 10 and {9} & set(sum(others, ())) == set()
    assert all(len(set(rows)) == 4 for rows in others)
    for choice in (0, 1):
        one = FaceSamples(pictures[:1], weights[:1], values[:1], values[:1], 32, CPU)
        assert len(preview_faces(one, choice).rgb) == 4


def test_contrast_tells_faces_from_flat_pictures() -> None:
    src, dst = some_faces(0.5), some_faces(0.5)
    assert contrast(Plain(), src, dst) == pytest.approx(1, abs=1e-3)
    assert contrast(Plain(0.5), src, dst) == pytest.approx(0.5, abs=1e-3)
    assert contrast(Plain(0.0), src, dst) == 0
    assert math.isnan(contrast(Plain(math.nan), src, dst))
    inside = PreviewFaces(torch.where(dst.mask > 0, torch.full_like(dst.rgb, 0.5), dst.rgb), dst.mask)
    assert contrast(Plain(), src, inside) < 1e-3, "what lies outside the face does not count"


def test_numbers_that_are_none_are_drawn_all_the_same() -> None:
    net = Plain(math.nan, masks=True).train()
    history = History(np.array([[1.0, 2.0], [math.nan, math.inf], [0.5, 1.0]]))
    picture = render_preview(net, some_faces(0.5), some_faces(0.5), 3, history)
    assert picture[GRAPH + TITLE :, :].max() > 80
    assert tile(picture[GRAPH + TITLE :], 0, 4).max() == 0
    assert net.training
