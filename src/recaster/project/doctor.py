"""What works on this machine and what does not, each with its mend. Everything is tried, nothing is assumed."""

from __future__ import annotations

import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from recaster.device import working_devices
from recaster.errors import RecasterError


@dataclass(frozen=True)
class Check:
    """One thing that was tried. ``needed`` ones must work for the main job; the others are a matter of speed or comfort."""

    name: str
    works: bool
    detail: str
    mend: str = ""
    needed: bool = True


def examine(identity_folder: Path) -> Iterator[Check]:
    """Try one thing after the other. ``identity_folder`` is where the local signing certificate lies or would be made."""
    yield Check("python", sys.version_info >= (3, 11), platform.python_version(), "Install Python 3.11 or newer.")
    for name, attempt, mend in (
        ("networks", _weights, "Install again: pip install --force-reinstall --no-deps recaster."),
        ("detection", _detection, "Install onnxruntime again, then Recaster."),
        ("h264", lambda: _encode("libx264"), "Install av again: its wheel brings the encoder."),
        ("h265", lambda: _encode("libx265"), "Install av again: its wheel brings the encoder."),
        ("signing", lambda: _identity(identity_folder), "Make the folder writable; results are signed from there."),
    ):
        yield _try(name, attempt, mend)
    devices = working_devices()
    accelerated = devices[0] != "cpu"
    yield Check(
        "accelerator",
        accelerated,
        ", ".join(devices) if accelerated else f"none: torch {version('torch')} computes on the CPU",
        "" if accelerated else "With an NVIDIA card, install a CUDA build of torch; small models train on a CPU too.",
        needed=False,
    )
    free = shutil.disk_usage(tempfile.gettempdir()).free / 1e9
    yield Check("disk", free > 2, f"{free:.0f} GB free", "Free some space: models and clips need gigabytes.", needed=False)


def _try(name: str, attempt: Callable[[], str], mend: str) -> Check:
    try:
        return Check(name, True, attempt())
    except (RecasterError, OSError, RuntimeError, ImportError, ValueError) as error:
        return Check(name, False, " ".join(str(error).split()), mend)


def _weights() -> str:
    from recaster.perception.weights import networks, weight_path

    names = [network.name for network in networks()]
    for name in names:
        weight_path(name)
    return f"{len(names)} pretrained networks: {', '.join(names)}"


def _detection() -> str:
    import numpy as np
    import torch

    from recaster.perception.detect.base import make_detector

    make_detector("accurate", torch.device("cpu")).detect([np.zeros((64, 64, 3), np.uint8)])
    return "the accurate detector runs"


def _encode(codec: str) -> str:
    import av

    with tempfile.TemporaryDirectory() as folder, av.open(str(Path(folder) / "probe.mp4"), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        container.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        container.mux(stream.encode())
    return f"{codec} encodes"


def _identity(folder: Path) -> str:
    from recaster.provenance.certificate import describe, local_identity

    return describe(local_identity(folder))
