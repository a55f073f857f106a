"""Every knob of the merge. Light to import: the command line builds its help from it."""

from __future__ import annotations

from typing import Literal

from recaster.options import Options, option

MaskChoice = Literal["auto", "learned", "learned-src", "learned-dst", "hull"]


class MergeSettings(Options):
    """How a new face is put into a frame."""

    mode: Literal["overlay", "seamless"] = option(
        "overlay",
        "overlay lays the face over the frame; seamless keeps the face's detail but takes colour and light from the "
        "frame around it (Poisson blending).",
    )
    mask: MaskChoice = option(
        "auto",
        "Which part of the prediction is used: learned-src is the model's mask of the new face, learned-dst its mask "
        "of the target's face, learned the product of both, hull the outline of the landmarks. auto: learned where the "
        "model has learned masks, else hull.",
    )
    erode: int = option(
        0,
        "Shrinks the mask (negative: grows it), in per cent of an amount that follows the face's size.",
        ge=-200,
        le=200,
        unit="%",
    )
    blur: int = option(
        100,
        "Softens the mask's edge, in per cent of a width that follows the face's size. More hides the seam, less keeps "
        "more of the new face.",
        ge=-200,
        le=200,
        unit="%",
    )
    face_scale: int = option(
        0, "Makes the new face larger, or smaller where negative, around its centre.", ge=-50, le=50, unit="%"
    )
    color_transfer: Literal["none", "rct"] = option(
        "rct", "Matches the new face's colours to the target's: rct takes over mean and spread in Lab (Reinhard 2001)."
    )


class OutputOptions(Options):
    """How the merged clip is written; colour tags, timestamps and sound are the target's own."""

    codec: Literal["h264", "h265"] = option("h264", "Video codec of the result.")
    crf: int = option(16, "Constant quality of the encoder; lower is better and larger.", ge=0, le=51)
    preset: Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"] = (
        option("medium", "Effort of the encoder: slower gives smaller files of the same quality.")
    )
    rate: float = option(
        25.0, "Frame rate of the result where the target is a folder of pictures.", ge=1, le=240, unit="frames/s"
    )
