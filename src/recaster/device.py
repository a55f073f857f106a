"""Which processor does the work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recaster.errors import UsageError

if TYPE_CHECKING:
    import torch


def choose_device(name: str = "auto") -> torch.device:
    """The torch device for ``name``: ``auto`` (the best there is), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

    A device is probed by using it, never assumed. Raises UsageError that lists the devices that work.
    """
    import torch

    working = working_devices()
    if name in {"auto", "best"}:
        return torch.device(working[0])
    if name in {"cuda", "mps"}:
        name = next((device for device in working if device.startswith(name)), name)
    if name in working:
        return torch.device(name)
    raise UsageError(f"device {name!r} does not work here", mend=f"Choose one of: auto, {', '.join(working)}.")


def working_devices() -> list[str]:
    """Names of the devices on which a small computation succeeds, best first; ``cpu`` is always the last."""
    import torch

    names: list[str] = []
    if torch.cuda.is_available():
        memory = {
            f"cuda:{i}": torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count())
        }
        names += sorted(memory, key=lambda name: -memory[name])
    if torch.backends.mps.is_available():
        names.append("mps")
    return [name for name in names if _computes(name)] + ["cpu"]


def _computes(name: str) -> bool:
    import torch

    try:
        return float(torch.ones(2, device=name).sum()) == 2.0
    except RuntimeError:
        return False
