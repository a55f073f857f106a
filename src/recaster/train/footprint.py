"""How much memory tensors take while a computation runs."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from recaster.device import peak_memory, reset_peak_memory


class Footprint:
    """Inside the block, the memory of tensors on one device is watched. Make it before what is to be counted.

    Accelerators count by themselves, the work space of their kernels included. Elsewhere (CPU, MPS, meta) the results
    of every operation are followed until their storage is freed: the same on every run, and exact but for what a kernel
    takes for itself. Added up with weights, gradients and moments that is within 5 % of what a process takes on a CPU
    beside torch itself: there freed memory stays with the C library and is not used for larger tensors.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.counted = reset_peak_memory(device)
        self._before = peak_memory(device) if self.counted else 0
        self._after = 0
        self._tracker = _Tracker(device.type)

    @contextmanager
    def watch(self, weights: Iterable[nn.Parameter]) -> Iterator[None]:
        """Inside the block, memory is watched; the gradients of ``weights`` are known as such."""
        if self.counted:
            reset_peak_memory(self.device)
            yield
            self._after = peak_memory(self.device)
            return
        self._tracker = _Tracker(self.device.type)
        tell = self._tracker.leave_out
        # Phases let only their own weights have gradients, and hooks can be put on no others.
        learning = [weight.requires_grad_() for weight in weights]
        hooks = [weight.register_post_accumulate_grad_hook(tell) for weight in learning]  # type: ignore[no-untyped-call]
        try:
            with self._tracker:
                yield
        finally:
            for hook in hooks:
                hook.remove()

    def taken(self) -> int:
        """The most bytes taken at one time, by all that was made since this was; for devices that count themselves."""
        return self._after - self._before

    def passing(self) -> int:
        """The most bytes taken at one time by what was made in the block, gradients left out; for all others."""
        return self._tracker.peak()


class _Tracker(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes when operations make storages and when those are freed."""

    def __init__(self, kind: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._kind = kind
        self._alive: dict[int, tuple[int, weakref.ref[Any]]] = {}
        self._changes: list[tuple[int, int]] = []
        self._left_out: set[int] = set()
        self._serial = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {_key(tensor) for tensor in _tensors((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            if tensor.device.type == self._kind and _key(tensor) not in given:
                self._follow(tensor.untyped_storage())
        return result

    def _follow(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._alive:
            return
        self._serial += 1
        serial = self._serial

        def forget(_: object) -> None:
            self._alive.pop(key, None)
            self._changes.append((serial, -size))

        self._alive[key] = serial, weakref.ref(storage, forget)
        self._changes.append((serial, size))

    def leave_out(self, weight: Tensor) -> None:
        """Do not count a weight's gradient."""
        if weight.grad is not None and _key(weight.grad) in self._alive:
            self._left_out.add(self._alive[_key(weight.grad)][0])

    def peak(self) -> int:
        """The most bytes alive at one time."""
        taken = accumulate(size for serial, size in self._changes if serial not in self._left_out)
        return max(taken, default=0)


def _tensors(values: Any) -> list[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]


def _key(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def bytes_of(tensors: Iterable[Tensor], device: torch.device) -> int:
    """Bytes of those ``tensors`` that lie on ``device``; what shares its memory with another counts once."""
    storages = {_key(tensor): tensor.untyped_storage().nbytes() for tensor in tensors if tensor.device == device}
    return sum(storages.values())
