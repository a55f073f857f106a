"""Ready choices of a model and its options, by the memory of the device and by what one wants.

A preset is a beginning: whatever is chosen beside it counts more. ``recast plan --preset NAME`` measures it here.

Resolutions follow what the device computes in a night or two, batches what a steady training needs; neither fills the
memory. What is left takes the faces (a gigabyte for 2,000 at 224 px), the work space of kernels, the screen, and
measurements of a faster way to compute.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from recaster.errors import UsageError

GIB = 2**30


@dataclass(frozen=True)
class Preset:
    """A model with options of its network and its training, for devices with ``memory`` bytes."""

    goal: str
    memory: int
    model: str
    net: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)


def late(start: int) -> tuple[str, ...]:
    """How a long training ends: steadier, then sharper, then with the detail of skin, as SAEHD asks for."""
    return (
        f"lr_dropout=on at {start}",
        f"random_warp=false at {start + 20_000}",
        f"gan_power=0.1 at {start + 40_000}",
    )


PRESETS: Mapping[str, Preset] = {
    "laptop": Preset(
        goal="a first result within the hour, on any processor",
        memory=4 * GIB,
        model="mini",
        training={"batch_size": 4},
    ),
    "8gb": Preset(
        goal="a face that fills a third of a 1080p picture; liae, which forgives two heads of different shape",
        memory=8 * GIB,
        model="saehd",
        net={"resolution": 192, "architecture": "liae-ud", "eyes_mouth_prio": True},
        training={"batch_size": 8, "schedule": late(80_000)},
    ),
    "24gb": Preset(
        goal="a close-up in 1080p; wider layers and the t letter, for finer expression",
        memory=24 * GIB,
        model="saehd",
        net={
            "resolution": 320,
            "architecture": "liae-udt",
            "ae_dims": 384,
            "e_dims": 80,
            "d_dims": 80,
            "eyes_mouth_prio": True,
        },
        training={"batch_size": 12, "schedule": late(120_000)},
    ),
    "80gb": Preset(
        goal="a close-up in 4K, the whole face with the forehead",
        memory=80 * GIB,
        model="saehd",
        net={
            "resolution": 448,
            "face_type": "whole",
            "architecture": "liae-udt",
            "ae_dims": 512,
            "e_dims": 96,
            "d_dims": 96,
            "eyes_mouth_prio": True,
        },
        training={"batch_size": 16, "schedule": late(160_000)},
    ),
}


def find_preset(name: str) -> Preset:
    """The preset called ``name``. Raises UsageError that lists the names there are."""
    if name in PRESETS:
        return PRESETS[name]
    raise UsageError(f"unknown preset {name!r}", mend=f"Choose one of: {', '.join(PRESETS)}.")
