"""What works on this machine and what does not, each with its mend. Everything is tried, nothing is assumed."""

from __future__ import annotations

import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from recaster.device import working_devices
from recaster.errors import RecasterError


@dataclass(frozen=True)
class Check:
    """One thing that was tried. ``needed`` ones must work for the main job; others are a matter of speed."""

    name: str
    works: bool
    detail: str
    mend: str = ""
    needed: bool = True


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
    yield Check(
        "disk", free > 2, f"{free:.0f} GB free", "Free some space: models and clips need gigabytes.", needed=False
    )


def _try(name: str, attempt: Callable[[], str], mend: str) -> Check:
    try:
        return Check(name, True, attempt())
    except (RecasterError, OSError, RuntimeError, ImportError, ValueError) as error:
        return Check(name, False, " ".join(str(error).split()).rstrip("."), mend)


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
