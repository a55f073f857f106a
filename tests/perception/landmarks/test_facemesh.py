from __future__ import annotations

import numpy as np
import pytest
import torch

from recaster.perception.landmarks.facemesh import DENSE_POINTS, INPUT_SIZE, FaceMeshNet, Region, load_net


@pytest.fixture(scope="module")
def net() -> FaceMeshNet:
    return load_net()


@torch.inference_mode()
def test_shapes_and_batches(net: FaceMeshNet) -> None:
    pictures = torch.rand(3, 3, INPUT_SIZE, INPUT_SIZE, generator=torch.Generator().manual_seed(1))
    dense, presence = net(pictures)
    assert dense.shape == (3, DENSE_POINTS, 3) and presence.shape == (3,)
    assert bool(dense.isfinite().all()) and bool(((presence >= 0) & (presence <= 1)).all())
    alone, _ = net(pictures[1:2])
    torch.testing.assert_close(alone, dense[1:2], atol=0.02, rtol=1e-3)


def test_the_regions_cover_lips_and_eyes(net: FaceMeshNet) -> None:
    assert net.left_eye.axis.tolist() == [33, 133] and net.right_eye.axis.tolist() == [362, 263]
    assert {0, 13, 14, 17, 61, 291} <= set(net.lips.subset.tolist())
    assert {33, 133, 159, 145} <= set(net.left_eye.subset.tolist())


@pytest.mark.parametrize("angle", [0.0, 0.4, -1.2, 3.0])
def test_a_regions_crop_is_level_and_holds_its_points(angle: float) -> None:
    region = Region(4, iris=False)
    region.subset.copy_(torch.tensor([0, 1, 2, 3]))
    region.axis.copy_(torch.tensor([0, 1]))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = np.array([[-4.0, 0.0], [4.0, 0.0], [0.0, -2.0], [0.0, 2.0]]) @ turn.T + [20.0, 25.0]
    linear, shift = region.place(torch.from_numpy(points)[None])
    inside = (points - shift[0].numpy()) @ np.linalg.inv(linear[0].numpy()).T
    # 16 px of crop hold the box with half of its size around it, so the box is 16 / 1.5 px wide, and centred.
    edge = (16 - 16 / 1.5) / 2
    expected = [[edge, 8.0], [16 - edge, 8.0], [8.0, edge], [8.0, 16 - edge]]
    np.testing.assert_allclose(inside, expected, atol=1e-9)
