"""What works on this machine and what does not, each with its mend. Everything is tried, nothing is assumed."""

from __future__ import annotations

import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from recaster.device import found_devices, free_memory, synchronize, total_memory
from recaster.errors import RecasterError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Attempt:
    """One computation that was tried on a device."""

    name: str
    works: bool
    detail: str = ""


@dataclass(frozen=True)
class Check:
    """One thing that was tried. ``needed`` ones must work for the main job; others are a matter of speed.

    A device has a list of what was ``tried`` on it, and works if all that a training needs does.
    """

    name: str
    works: bool
    detail: str
    mend: str = ""
    needed: bool = True
    tried: tuple[Attempt, ...] = ()


def examine(identity_folder: Path) -> Iterator[Check]:
    """Try one thing after the other; ``identity_folder`` is where the local signing certificate lies."""
    yield Check("python", sys.version_info >= (3, 11), platform.python_version(), "Install Python 3.11 or newer.")
    with tempfile.TemporaryDirectory() as folder:
        for name, attempt, mend in (
            ("networks", _weights, "Install again: pip install --force-reinstall --no-deps recaster."),
            ("detection", _detection, "Install Recaster again."),
            ("h264", lambda: _encode("h264", folder), "Install av again: its wheel brings the encoder."),
            ("h265", lambda: _encode("h265", folder), "Install av again: its wheel brings the encoder."),
            ("signing", lambda: _identity(identity_folder), "Make the folder writable; results are signed from there."),
        ):
            yield _try(name, attempt, mend)
    devices = [_device(name) for name in found_devices()]
    working = [device.name for device in devices if device.works and device.name != "device cpu"]
    yield Check(
        "accelerator",
        bool(working),
        ", ".join(name.removeprefix("device ") for name in working)
        or f"none: torch {version('torch')} computes on the CPU",
        "" if working else "With an NVIDIA card, install a CUDA build of torch; small models train on a CPU too.",
        needed=False,
    )
    yield from devices
    free = shutil.disk_usage(tempfile.gettempdir()).free / 1e9
    yield Check(
        "disk", free > 2, f"{free:.0f} GB free", "Free some space: models and clips need gigabytes.", needed=False
    )


def _try(name: str, attempt: Callable[[], str], mend: str) -> Check:
    try:
        return Check(name, True, attempt())
    except (RecasterError, OSError, RuntimeError, ImportError, ValueError) as error:
        return Check(name, False, " ".join(str(error).split()).rstrip("."), mend)


def _device(name: str) -> Check:
    """Try on one device what a training does there."""
    import torch

    device = torch.device(name)
    tried = tuple(_attempt(what, attempt, device) for what, attempt in ATTEMPTS)
    works = all(attempt.works for attempt in tried if attempt.name in NEEDED_OF_DEVICE)
    said = _attempt("name", _name, device).detail
    memory = f"{free_memory(device) / 1e9:.1f} of {total_memory(device) / 1e9:.1f} GB free"
    mend = f"Update its driver, or install the build of torch {version('torch')} that is made for it."
    return Check(f"device {name}", works, f"{said}, {memory}", "" if works else mend, name == "cpu", tried)


def _attempt(what: str, attempt: Callable[[torch.device], str], device: torch.device) -> Attempt:
    try:
        return Attempt(what, True, attempt(device))
    except (RuntimeError, ImportError, NotImplementedError, AssertionError, OSError) as error:
        return Attempt(what, False, " ".join(str(error).split())[:200])


def _name(device: torch.device) -> str:
    import torch

    if device.type == "cpu":
        return f"{platform.machine()}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
    module = torch.get_device_module(device)
    return str(module.get_device_name(device)) if hasattr(module, "get_device_name") else device.type


def _product(dtype: str, device: torch.device) -> str:
    """The rate of a matrix product, checked against one on the CPU."""
    import torch

    kind = getattr(torch, dtype)
    a = torch.randn(1024, 1024, generator=torch.Generator().manual_seed(0))
    there = a.to(device, kind)
    result = there @ there
    synchronize(device)
    began = time.perf_counter()
    result = there @ there
    synchronize(device)
    took = time.perf_counter() - began
    if (result.cpu().float()[:8] - a[:8] @ a).abs().max() > (0.5 if kind == torch.float32 else 4.0):
        raise RuntimeError("the product is wrong")
    return f"{2 * 1024**3 / took / 1e9:,.0f} GFLOP/s"


def _convolution(device: torch.device) -> str:
    """A convolution and its gradients."""
    import torch

    layer = torch.nn.Conv2d(16, 64, 3, padding=1).to(device)
    began = time.perf_counter()
    layer(torch.ones(2, 16, 64, 64, device=device)).square().mean().backward()
    synchronize(device)
    if layer.weight.grad is None or not bool(layer.weight.grad.isfinite().all()):
        raise RuntimeError("the gradients are no numbers")
    return f"{1e3 * (time.perf_counter() - began):.1f} ms, the first time"


def _pinned_copy(device: torch.device) -> str:
    """A copy from memory that the device reads by itself."""
    import torch

    if device.type == "cpu":
        return "not needed on the CPU"
    values = torch.ones(2**24, dtype=torch.uint8, pin_memory=device.type != "mps")
    began = time.perf_counter()
    copy = values.to(device, non_blocking=True)
    synchronize(device)
    took = time.perf_counter() - began
    if int(copy[-1]) != 1:
        raise RuntimeError("the copy is wrong")
    return f"{2**24 / took / 1e9:.1f} GB/s"


def _compiler(device: torch.device) -> str:
    """What torch.compile needs; it is not run, since that takes half a minute."""
    if device.type == "cpu":
        found = next((name for name in ("g++", "clang++", "cl") if shutil.which(name)), None)
        if found is None:
            raise RuntimeError("no C++ compiler; training compiles on a CPU only when asked to")
        return found
    if find_spec("triton") is None:
        raise RuntimeError("triton is not installed; training works without, somewhat slower")
    return f"triton {version('triton')}"


ATTEMPTS: tuple[tuple[str, Callable[[torch.device], str]], ...] = (
    ("matrix product, float32", partial(_product, "float32")),
    ("matrix product, bfloat16", partial(_product, "bfloat16")),
    ("convolution and gradients", _convolution),
    ("pinned copy", _pinned_copy),
    ("compiler", _compiler),
)
NEEDED_OF_DEVICE = frozenset({"matrix product, float32", "convolution and gradients"})


def _weights() -> str:
    from recaster.perception.manifest import read_manifest
    from recaster.perception.weights import weight_path

    names = list(read_manifest())
    for name in names:
        weight_path(name)
    return f"{len(names)} pretrained networks: {', '.join(names)}"


def _detection() -> str:
    import numpy as np
    import torch

    from recaster.perception.detect.base import make_detector

    make_detector("accurate", torch.device("cpu")).detect([np.zeros((64, 64, 3), np.uint8)])
    return "the accurate detector runs"


def _encode(codec: Literal["h264", "h265"], folder: str) -> str:
    import numpy as np

    from recaster.media.writer import FrameWriter

    path = Path(folder) / "probe.mp4"
    with FrameWriter(path, width=64, height=64, rate=Fraction(25), codec=codec) as writer:
        writer.write(np.zeros((64, 64, 3), np.uint8))
    return f"{path.stat().st_size} bytes encoded"


def _identity(folder: Path) -> str:
    from recaster.provenance.certificate import local_identity

    return " ".join(local_identity(folder).describe())
