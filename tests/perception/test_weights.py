from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from recaster.errors import MissingError
from recaster.perception.carriers import is_current
from recaster.perception.manifest import read_manifest
from recaster.perception.weights import WEIGHTS, fill, load_tensors, notice_path, notices, weight_path


@pytest.mark.parametrize("name", read_manifest())
def test_the_build_put_weights_and_notice_in_place(name: str) -> None:
    network = read_manifest()[name]
    assert is_current(network, WEIGHTS)
    notice = notices()[name]
    assert network.license in notice and network.carrier in notice and network.training_data in notice
    assert all(digest in notice for digest in network.files.values())
    assert "WITHOUT WARRANT" in notice.upper()
    tensors = load_tensors(name)
    assert sum(tensor.numel() for tensor in tensors.values()) > 100_000
    assert all(bool(tensor.isfinite().all()) for tensor in tensors.values())


@pytest.mark.parametrize("find", [weight_path, notice_path])
def test_missing_weights_are_one_line_with_a_remedy(tmp_path: Path, find: object) -> None:
    with pytest.raises(MissingError) as caught:
        find("centerface", tmp_path)  # type: ignore[operator]
    line = str(caught.value)
    assert "\n" not in line
    assert "centerface" in line and "dev.py" in line and "nstall" in line


def test_fill_copies_in_the_order_of_the_layers() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.PReLU(2))
    values = {
        "a.000": torch.arange(18.0).reshape(2, 1, 3, 3).half(),
        "a.001": torch.tensor([1.0, 2.0]),
        "a.002": torch.tensor([3.0, 4.0]),
        "a.subset": torch.tensor([9]),
        "b.000": torch.zeros(1),
    }
    fill(net, values, "a")
    assert [parameter.flatten()[-1].item() for parameter in net.parameters()] == [17.0, 2.0, 4.0]
    assert all(parameter.dtype == torch.float32 for parameter in net.parameters())


def test_fill_refuses_the_weights_of_another_network() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        fill([nn.Conv2d(1, 2, 3)], {"000": torch.zeros(2, 1, 3, 3)})
    with pytest.raises(ValueError, match="do not fit"):
        fill([nn.PReLU(2)], {"000": torch.zeros(3)})
