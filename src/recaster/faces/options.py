"""What a user can choose about the extraction of faces."""

from __future__ import annotations

from typing import Literal

from recaster.options import Options, option
from recaster.types import Framing


class ExtractOptions(Options):
    """Options of the step that finds faces, aligns them and stores them."""

    detector: Literal["accurate", "mtcnn", "fast"] = option(
        "accurate",
        "Which network looks for faces. accurate finds small, turned and cut-off faces; mtcnn is the classic one, for "
        "comparison; fast is for large upright faces on a slow computer.",
    )
    framing: Framing = option(
        Framing.WHOLE,
        "How much of the head a crop shows. A model can be trained at this framing or a smaller one: whole reaches "
        "over the forehead, head shows all the hair, full and half give the face more of the model's pixels.",
    )
    # Networks of up to 256 px then still get half as much again as they use, at 0.6 of the disk space that 512 needs.
    size: int = option(
        384,
        "Side of a stored crop. More than twice the resolution of the model, or than the face has in the frame, only "
        "costs disk space.",
        ge=256,
        le=2048,
        unit="px",
    )
    max_faces: int = option(
        0, "How many faces of a frame are kept, largest first; 0 keeps all. 3 helps with crowds.", ge=0, le=100
    )
    min_size: int = option(
        16, "Faces whose box is narrower or lower than this are left out.", ge=1, le=2048, unit="px", advanced=True
    )
    # Measured: turned and half-covered faces stay above 0.45, what only looks like a face below 0.1.
    min_confidence: float = option(
        0.3,
        "Faces that the detector, or the network that places the landmarks, trusts less than this are left out.",
        ge=0.0,
        le=1.0,
        advanced=True,
    )
    jpeg_quality: int = option(
        95, "JPEG quality of the stored crops; below 90 the model learns the blocks too.", ge=1, le=100
    )
    debug: bool = option(
        False,
        "Also write every frame with its landmarks, box and crop drawn in, into a folder beside the faces: the "
        "quickest way to see wrong ones.",
    )
    device: str = option("auto", "Where the networks run: auto, cpu, cuda, cuda:1, mps.", advanced=True)
    batch: int = option(
        8,
        "How many frames go through the networks together. Less saves memory.",
        ge=1,
        le=64,
        unit="frames",
        advanced=True,
    )

    def result_key(self) -> str:
        """As ``key``, without the options that change how the work is done and not what comes out."""
        return self.with_values(device="auto", batch=8).key()
