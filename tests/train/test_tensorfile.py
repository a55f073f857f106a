from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from recaster.train.tensorfile import read_tensors, write_tensors

KINDS = {
    "half": torch.tensor([1.5, -2.0, 7.0], dtype=torch.float16),
    "brain half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "single": torch.randn(3, 4, 5),
    "double": torch.tensor([1e300], dtype=torch.float64),
    "count": torch.tensor(7, dtype=torch.int64),
    "bytes": torch.arange(5, dtype=torch.uint8),
    "yes or no": torch.tensor([True, False, True]),
    "nothing": torch.empty(0, 3),
    "名前.weight": torch.ones(2, dtype=torch.int32),
}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(a[name].dtype == b[name].dtype and torch.equal(a[name], b[name]) for name in a)


def test_every_kind_of_number_comes_back(tmp_path: Path) -> None:
    stored = write_tensors(tmp_path / "файл", KINDS)
    assert same(read_tensors(tmp_path / "файл"), KINDS)
    data = (tmp_path / "файл").read_bytes()
    assert (stored.size, stored.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_the_order_in_memory_does_not_matter(tmp_path: Path) -> None:
    plain = torch.randn(2, 3, 4, 5)
    orders = [plain, plain.to(memory_format=torch.channels_last), plain.transpose(0, 3).contiguous().transpose(0, 3)]
    written = [write_tensors(tmp_path / f"{i}", {"x": tensor}) for i, tensor in enumerate(orders)]
    assert len(set(written)) == 1
    assert torch.equal(read_tensors(tmp_path / "1")["x"], plain)


def test_the_library_reads_it_and_its_files_are_read(tmp_path: Path) -> None:
    write_tensors(tmp_path / "ours", KINDS)
    with safe_open(tmp_path / "ours", framework="pt") as file:
        assert set(file.keys()) == set(KINDS)
    save_file(KINDS, tmp_path / "theirs")
    assert same(read_tensors(tmp_path / "theirs"), KINDS)


def test_numbers_lie_where_their_size_wants_them(tmp_path: Path) -> None:
    write_tensors(tmp_path / "file", KINDS)
    data = (tmp_path / "file").read_bytes()
    assert int.from_bytes(data[:8], "little") % 8 == 0
    double = data.index(KINDS["double"].numpy().tobytes())
    assert double % 8 == 0


def test_shared_memory_is_written_for_each_name(tmp_path: Path) -> None:
    tensor = torch.randn(4)
    write_tensors(tmp_path / "file", {"a": tensor, "b": tensor, "c": tensor[1:3]})
    found = read_tensors(tmp_path / "file")
    assert torch.equal(found["a"], found["b"]) and torch.equal(found["c"], tensor[1:3])


def test_gradients_are_no_hindrance(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.randn(3))
    write_tensors(tmp_path / "file", {"weight": weight})
    assert torch.equal(read_tensors(tmp_path / "file")["weight"], weight.detach())


def test_what_cannot_be_stored_or_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"wave: torch\.complex64"):
        write_tensors(tmp_path / "file", {"wave": torch.zeros(2, dtype=torch.complex64)})
    (tmp_path / "torn").write_bytes(b"\x08\0\0\0\0\0\0\0{")
    with pytest.raises(ValueError):
        read_tensors(tmp_path / "torn")
    with pytest.raises(FileNotFoundError):
        read_tensors(tmp_path / "nowhere")
