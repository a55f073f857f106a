"""Recaster: learns two faces and renders one person's face onto another's performance in a finished shot.

What stands in ``__all__`` is public and stays. Each name is imported when it is first used, so ``import recaster`` and
the command's ``--help`` load neither torch nor OpenCV.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recaster.errors import RecasterError as RecasterError
    from recaster.faces.extract import extract_faces as extract_faces
    from recaster.faces.faceset import FaceSet as FaceSet
    from recaster.faces.options import ExtractOptions as ExtractOptions
    from recaster.faces.summary import ExtractSummary as ExtractSummary
    from recaster.geometry.framing import align as align
    from recaster.media.info import probe as probe
    from recaster.media.reader import FrameReader as FrameReader
    from recaster.media.writer import FrameWriter as FrameWriter
    from recaster.merge.composite import Paste as Paste, composite as composite
    from recaster.merge.settings import MergeSettings as MergeSettings, OutputOptions as OutputOptions
    from recaster.merge.stream import MergeSummary as MergeSummary, merge_clip as merge_clip
    from recaster.progress import Progress as Progress
    from recaster.project import steps as steps
    from recaster.project.workspace import Workspace as Workspace, create_workspace as create_workspace
    from recaster.provenance.likeness import LikenessRecord as LikenessRecord
    from recaster.provenance.sign import sign as sign
    from recaster.provenance.verify import Verification as Verification, verify as verify
    from recaster.swap.identity import IdentitySwapper as IdentitySwapper
    from recaster.swap.swapper import Descriptor as Descriptor, Swapper as Swapper
    from recaster.swap.trained import load_swapper as load_swapper
    from recaster.train.options import TrainOptions as TrainOptions
    from recaster.train.summary import TrainSummary as TrainSummary
    from recaster.types import (
        Alignment as Alignment,
        ColorTag as ColorTag,
        Face as Face,
        Faces as Faces,
        Frame as Frame,
        Framing as Framing,
        Landmarks as Landmarks,
        Mask as Mask,
        Pose as Pose,
        SwapOutput as SwapOutput,
    )

__version__ = "0.1.0"

_HOME = {
    "errors": ["RecasterError"],
    "faces.extract": ["extract_faces"],
    "faces.faceset": ["FaceSet"],
    "faces.options": ["ExtractOptions"],
    "faces.summary": ["ExtractSummary"],
    "geometry.framing": ["align"],
    "media.info": ["probe"],
    "media.reader": ["FrameReader"],
    "media.writer": ["FrameWriter"],
    "merge.composite": ["Paste", "composite"],
    "merge.settings": ["MergeSettings", "OutputOptions"],
    "merge.stream": ["MergeSummary", "merge_clip"],
    "progress": ["Progress"],
    "project.workspace": ["Workspace", "create_workspace"],
    "provenance.likeness": ["LikenessRecord"],
    "provenance.sign": ["sign"],
    "provenance.verify": ["Verification", "verify"],
    "swap.identity": ["IdentitySwapper"],
    "swap.swapper": ["Descriptor", "Swapper"],
    "swap.trained": ["load_swapper"],
    "train.summary": ["TrainSummary"],
    "train.options": ["TrainOptions"],
    "types": [
        "Alignment",
        "ColorTag",
        "Face",
        "Faces",
        "Frame",
        "Framing",
        "Landmarks",
        "Mask",
        "Pose",
        "SwapOutput",
    ],
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = ["steps", *sorted(_MODULE_OF)]


def __getattr__(name: str) -> Any:
    if name == "steps":
        return import_module("recaster.project.steps")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'recaster' has no attribute {name!r}")
    return getattr(import_module(f"recaster.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
