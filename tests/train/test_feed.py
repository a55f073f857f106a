from __future__ import annotations

from dataclasses import astuple

import pytest
import torch

from recaster.faces.faceset import FaceSet
from recaster.train.feed import Feed, augmentation
from recaster.train.options import TrainOptions
from recaster.train.samples import FaceSamples
from recaster.types import Framing


@pytest.fixture(scope="module")
def samples(facesets: tuple[FaceSet, FaceSet]) -> tuple[FaceSamples, FaceSamples]:
    src, dst = (FaceSamples.load(faces, Framing.FULL, 32, torch.device("cpu")) for faces in facesets)
    return src, dst


def test_a_batch_has_the_shapes_that_architectures_expect(samples: tuple[FaceSamples, FaceSamples]) -> None:
    batch = Feed(*samples, TrainOptions(), 3).next()
    for picture in (batch.warped_src, batch.target_src, batch.warped_dst, batch.target_dst):
        assert picture.shape == (3, 3, 32, 32) and picture.dtype == torch.float32
        assert float(picture.min()) >= 0 and float(picture.max()) <= 1
    assert batch.mask_src.shape == batch.mask_dst.shape == (3, 1, 32, 32)


def test_a_restored_feed_goes_on(samples: tuple[FaceSamples, FaceSamples]) -> None:
    feed = Feed(*samples, TrainOptions(seed=3), 4)
    for _ in range(5):
        feed.next()
    state = feed.state()
    expected = feed.next()
    other = Feed(*samples, TrainOptions(seed=8), 4)
    other.restore(state)
    assert all(torch.equal(a, b) for a, b in zip(astuple(other.next()), astuple(expected), strict=True))


def test_matched_colors_bring_the_source_to_the_target(samples: tuple[FaceSamples, FaceSamples]) -> None:
    def difference(match: bool) -> float:
        batch = Feed(*samples, TrainOptions(match_colors=match), 6).next()
        means = [
            (picture * mask).sum((2, 3)) / mask.sum((2, 3))
            for picture, mask in ((batch.target_src, batch.mask_src), (batch.target_dst, batch.mask_dst))
        ]
        return float((means[0] - means[1]).abs().mean())

    assert difference(False) > 0.1
    assert difference(True) < 0.02


def test_options_reach_the_augmentation() -> None:
    usual = augmentation(TrainOptions(), 0)
    assert (usual.flip, usual.scale, usual.warp) == (0.4, (0.95, 1.05), "independent")
    assert augmentation(TrainOptions(), -30).scale == pytest.approx((0.65, 0.75))
    assert augmentation(TrainOptions(random_flip=False), 0).flip == 0
    assert augmentation(TrainOptions(random_warp=False), 0).warp == "off"
    assert augmentation(TrainOptions(warp="transposed"), 0).warp == "transposed"
