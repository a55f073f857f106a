"""Weights out of a ``.pt`` file of the kind written before torch 1.6, without torch and without trusting its pickles.

Such a file is a row of pickles (magic number, protocol, system, the state dict, the storages' keys) and then each
storage's raw numbers. The unpickler below knows three names; any other ends the reading.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAGIC = 0x1950A86A20F9469CFC6C


@dataclass(frozen=True)
class _Tensor:
    """A tensor whose numbers come later in the file: where in which storage they lie. Strides count numbers."""

    storage: str
    offset: int
    shape: Sequence[int]
    strides: Sequence[int]

    def read(self, storages: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        numbers = storages[self.storage]
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        if self.offset < 0 or min(self.strides, default=0) < 0 or last >= len(numbers):
            raise ValueError("a tensor lies outside its storage")
        view = np.lib.stride_tricks.as_strided(
            numbers[self.offset :], self.shape, [stride * numbers.itemsize for stride in self.strides]
        )
        return np.array(view)


def _rebuild(storage: str, offset: int, shape: Sequence[int], strides: Sequence[int], *_unused: Any) -> _Tensor:
    return _Tensor(storage, offset, shape, strides)


class _Unpickler(pickle.Unpickler):
    """Knows the names a state dict of float32 tensors consists of, and no others."""

    known = {  # noqa: RUF012 - read only
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
        ("torch", "FloatStorage"): np.float32,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.known:
            raise pickle.UnpicklingError(f"{module}.{name} has no place among weights")
        return self.known[module, name]

    def persistent_load(self, pid: Any) -> str:
        _storage, _kind, key, _device, _size, _view = pid
        return str(key)


def convert_torch(data: bytes) -> dict[str, NDArray[Any]]:
    """The state dict's tensors under their own names. Raises ValueError or UnpicklingError for any other content."""
    file = io.BytesIO(data)
    magic, _protocol, _system, state, keys = (_Unpickler(file).load() for _ in range(5))
    if magic != _MAGIC:
        raise ValueError("not a torch file of the expected kind")
    storages: dict[str, NDArray[np.float32]] = {}
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        storages[key] = np.frombuffer(file.read(count * 4), "<f4")
        if len(storages[key]) != count:
            raise ValueError("the file ends inside a storage")
    return {name: tensor.read(storages) for name, tensor in state.items()}
