"""Our networks give what the original files give in their own runtimes (stored in golden_networks.npz)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from recaster.perception.detect import blazeface, centerface, mtcnn

Pattern = Callable[[int, int], NDArray[np.uint8]]
Golden = Mapping[str, NDArray[np.float32]]


def tensor(picture: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float()


@torch.inference_mode()
def test_centerface_equals_onnx_runtime(pattern: Pattern, golden_networks: Golden) -> None:
    maps = torch.cat(centerface.load_net()(tensor(pattern(64, 96)) / 255), 1)
    np.testing.assert_allclose(maps[0].numpy(), golden_networks["centerface"], atol=1e-4)


@torch.inference_mode()
def test_blazeface_equals_litert(pattern: Pattern, golden_networks: Golden) -> None:
    numbers, score = blazeface.load_net()(tensor(pattern(192, 192)) / 255)
    expected = torch.from_numpy(golden_networks["blazeface"])
    cells = numbers[0].flatten(1).T[::16]
    torch.testing.assert_close(cells, expected[:, :16], atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(score[0, 0].flatten()[::16], expected[:, 16].sigmoid(), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(("index", "prefix", "side"), [(0, "pnet", 24), (1, "rnet", 24), (2, "onet", 48)])
@torch.inference_mode()
def test_mtcnn_equals_the_original_weights(
    pattern: Pattern, golden_networks: Golden, index: int, prefix: str, side: int
) -> None:
    correction, score, *points = mtcnn.load_nets()[index]((tensor(pattern(side, side)) - 127.5) / 128)
    last = 1 + len(points)
    np.testing.assert_allclose(correction[0].numpy(), golden_networks[f"{prefix}.0"], atol=1e-5)
    np.testing.assert_allclose(score[0].numpy(), golden_networks[f"{prefix}.{last}"][1], atol=1e-5)
    for value in points:
        np.testing.assert_allclose(value[0].numpy(), golden_networks[f"{prefix}.1"], atol=1e-5)


@pytest.mark.parametrize("load", [centerface.load_net, blazeface.load_net])
@torch.inference_mode()
def test_a_batch_gives_what_its_pictures_give_alone(pattern: Pattern, load: Callable[[], torch.nn.Module]) -> None:
    net = load()
    pictures = torch.cat([tensor(pattern(64, 96)), tensor(pattern(64, 96)[::-1].copy())]) / 255
    together = net(pictures)
    for index in range(2):
        for whole, alone in zip(together, net(pictures[index : index + 1]), strict=True):
            torch.testing.assert_close(whole[index : index + 1], alone, atol=1e-3, rtol=1e-3)
