"""Which processors do the work, and what memory they have.

Everything goes through torch's own device layer: whichever kind of accelerator this torch was built for (CUDA, ROCm
under the name cuda, XPU, MPS ...), or the CPU.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recaster.errors import UsageError

if TYPE_CHECKING:
    import torch

CONTROL_GROUP = Path("/sys/fs/cgroup")
"""Where Linux tells a container's limits."""


def choose_device(name: str = "auto") -> torch.device:
    """The torch device for ``name``: ``auto`` (the best there is), ``cpu``, ``cuda``, ``cuda:1``, ``xpu``, ``mps``.

    A device is probed by using it, never assumed. Raises UsageError that lists the devices that work.
    """
    import torch

    wanted = name.strip().lower()
    for device in found_devices():
        meant = wanted in {"auto", "best", device, device.split(":")[0], f"{device}:0"}
        # A probe takes memory on an accelerator, so only what is meant is probed.
        if meant and (device == "cpu" or _computes(device)):
            return torch.device(device)
    working = working_devices()
    raise UsageError(f"device {name!r} does not work here", mend=f"Choose one of: auto, {', '.join(working)}.")


def choose_devices(names: str) -> list[torch.device]:
    """The devices of a list with commas, one a process: ``cuda:0,cuda:1``; ``cpu,cpu`` is two processes on the CPU.

    Raises UsageError for a device that does not work, for different kinds together, and for one accelerator twice.
    """
    devices = [choose_device(name) for name in names.split(",")]
    if len({device.type for device in devices}) > 1:
        raise UsageError(f"devices {names!r} are of different kinds", mend="Name devices of one kind: cuda:0,cuda:1.")
    if devices[0].type != "cpu" and len(set(devices)) < len(devices):
        raise UsageError(f"devices {names!r} name one twice", mend="Name each accelerator once.")
    return devices


def working_devices() -> list[str]:
    """Names of the devices on which a small computation succeeds, best first; ``cpu`` is always the last."""
    return [name for name in found_devices() if name == "cpu" or _computes(name)]


def found_devices() -> list[str]:
    """Names of the devices that torch finds, whether they work or not: most memory first, ``cpu`` last."""
    import torch

    kind = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if kind is None:
        return ["cpu"]
    count = torch.accelerator.device_count()
    names = [f"{kind.type}:{index}" for index in range(count)] if kind.type != "mps" else ["mps"]
    return [*sorted(names, key=lambda name: -total_memory(torch.device(name))), "cpu"]


def _computes(name: str) -> bool:
    import torch

    try:
        return float(torch.ones(2, device=name).sum()) == 2.0
    except (RuntimeError, AssertionError):
        return False


def total_memory(device: torch.device) -> int:
    """Bytes of memory that ``device`` has; 0 where it does not tell."""
    import psutil

    if device.type == "cpu":
        return min([int(psutil.virtual_memory().total), *_container_limit()])
    module = _module(device)
    with suppress(RuntimeError, AttributeError, AssertionError):
        if device.type == "mps":
            return int(module.recommended_max_memory())
        return int(module.get_device_properties(device).total_memory)
    return 0


def free_memory(device: torch.device) -> int:
    """Bytes that new tensors can take on ``device`` now; 0 where it does not tell.

    On the CPU: what the system can give without swapping, within the limit of the container. On an accelerator: what
    the driver has left, and what this process holds without using it.
    """
    import psutil

    if device.type == "cpu":
        limits = [limit - used for limit, used in zip(_container_limit(), _container_use(), strict=False)]
        return max(0, min([int(psutil.virtual_memory().available), *limits]))
    module = _module(device)
    with suppress(RuntimeError, AttributeError, AssertionError):
        if device.type == "mps":
            return int(module.recommended_max_memory() - module.current_allocated_memory())
        unused = module.memory_reserved(device) - module.memory_allocated(device)
        return int(module.mem_get_info(device)[0] + unused)
    return 0


def synchronize(device: torch.device) -> None:
    """Wait until ``device`` has done all it was given."""
    import torch

    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def reset_peak_memory(device: torch.device) -> bool:
    """Count :func:`peak_memory` from now; False where the device does not count."""
    try:
        _module(device).reset_peak_memory_stats(device)
    except (AttributeError, RuntimeError):
        return False
    return True


def peak_memory(device: torch.device) -> int:
    """The most bytes that tensors took on ``device`` at one time since :func:`reset_peak_memory` was True."""
    return int(_module(device).max_memory_allocated(device))


def forget_unused_memory(device: torch.device) -> None:
    """Give memory back to the driver that this process holds without using it."""
    with suppress(AttributeError):
        _module(device).empty_cache()


def computes_bf16(device: torch.device) -> bool:
    """Whether ``device`` has instructions for bfloat16, as far as is known without trying."""
    import torch

    if device.type != "cpu":
        return device.type != "mps"
    known: Any = getattr(torch.cpu, "get_capabilities", dict)()
    return any(known.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def _module(device: torch.device) -> Any:
    """The part of torch that drives a kind of device: ``torch.cuda``, ``torch.xpu``, ``torch.mps``, ``torch.cpu``."""
    import torch

    return torch.get_device_module(device)


def _container_limit() -> list[int]:
    """The most bytes that the processes of this control group may take: none or one number."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            return [int((CONTROL_GROUP / name).read_text())]
    return []


def _container_use() -> list[int]:
    """The bytes that they take: one number. The system's file cache is not theirs."""
    for name, key in (("memory.stat", "anon"), ("memory/memory.stat", "total_rss")):
        with suppress(OSError, ValueError, KeyError):
            lines = (CONTROL_GROUP / name).read_text().splitlines()
            return [int(dict(line.split() for line in lines)[key])]
    return [0]
