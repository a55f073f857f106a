"""Safetensors files written as a stream: one tensor after the other, hashed on the way.

The library's own writer wants every tensor contiguous and in RAM at the same time, which for a network in channels-last
order, or on a GPU, is a second copy of all of it. It reads what is written here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

_TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


class StoredFile(msgspec.Struct, frozen=True):
    """What a file of a checkpoint must be: bytes and hex SHA-256."""

    size: int
    sha256: str


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> StoredFile:
    """Write ``tensors``, on whatever devices, to ``path``; at most one of them is copied at a time.

    Equal tensors give equal files. Raises OSError from the disk, and ValueError for a kind of number that the format
    does not know.
    """
    # Sorted by the size of their numbers, every tensor begins at a multiple of it, which readers may rely on.
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    hasher, size = hashlib.sha256(), 0
    with path.open("wb", buffering=0) as file:
        for data in _pieces(tensors, order):
            hasher.update(data)
            size += len(data)
            while len(data):  # a raw file may take less than it was given
                data = data[file.write(data) :]
    return StoredFile(size, hasher.hexdigest())


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, on the CPU; the system reads them from the disk when they are used.

    Raises OSError, and ValueError where it is no such file.
    """
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _pieces(tensors: Mapping[str, Tensor], order: list[str]) -> Iterator[memoryview]:
    yield memoryview(_header(tensors, order))
    for name in order:
        # Row order, as this machine holds the numbers: little-endian on all that torch runs on.
        values = tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        yield values.numpy().data


def _header(tensors: Mapping[str, Tensor], order: list[str]) -> bytes:
    entries, start = {}, 0
    for name in order:
        tensor = tensors[name]
        if tensor.dtype not in _TYPES:
            raise ValueError(f"{name}: {tensor.dtype} cannot be stored")
        end = start + tensor.numel() * tensor.element_size()
        entries[name] = {"dtype": _TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
