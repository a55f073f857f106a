"""Colour tags of video: FFmpeg's names for their numbers (ITU-T H.273, tables 2 to 4), and what to do without them."""

from __future__ import annotations

from dataclasses import replace

from recaster.errors import MediaError
from recaster.types import ColorTag

MATRICES = {
    0: "gbr",
    1: "bt709",
    2: "unknown",
    4: "fcc",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "ycgco",
    9: "bt2020nc",
    10: "bt2020c",
    11: "smpte2085",
    12: "chroma-derived-nc",
    13: "chroma-derived-c",
    14: "ictcp",
}
PRIMARIES = {
    1: "bt709",
    2: "unknown",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "film",
    9: "bt2020",
    10: "smpte428",
    11: "smpte431",
    12: "smpte432",
    22: "ebu3213",
}
TRANSFERS = {
    1: "bt709",
    2: "unknown",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "linear",
    9: "log100",
    10: "log316",
    11: "iec61966-2-4",
    12: "bt1361e",
    13: "iec61966-2-1",
    14: "bt2020-10",
    15: "bt2020-12",
    16: "smpte2084",
    17: "smpte428",
    18: "arib-std-b67",
}
LUMA_WEIGHTS = {
    "bt709": (0.2126, 0.0722),
    "fcc": (0.30, 0.11),
    "bt470bg": (0.299, 0.114),
    "smpte170m": (0.299, 0.114),
    "smpte240m": (0.212, 0.087),
    "bt2020nc": (0.2627, 0.0593),
}
"""Kr and Kb of the matrices that can be converted (ITU-T H.273, table 4)."""

SRGB = ColorTag(matrix="gbr", primaries="bt709", transfer="iec61966-2-1", full_range=True)
"""How still pictures are read."""
BT709 = ColorTag(matrix="bt709", primaries="bt709", transfer="bt709", full_range=False)
"""How video is written when nothing is known of its source."""
HD_HEIGHT = 720
"""From this upright height on, video without a tag is read as bt709, below it as BT.601 (smpte170m)."""


def tag_of(matrix: int, primaries: int, transfer: int, full_range: bool) -> ColorTag:
    """The tag with FFmpeg's names for FFmpeg's numbers; numbers it does not name are "unknown"."""
    return ColorTag(
        matrix=MATRICES.get(matrix, "unknown"),
        primaries=PRIMARIES.get(primaries, "unknown"),
        transfer=TRANSFERS.get(transfer, "unknown"),
        full_range=full_range,
    )


def numbers_of(tag: ColorTag) -> tuple[int, int, int]:
    """FFmpeg's numbers (matrix, primaries, transfer) of a tag; names it does not know are 2, "unspecified"."""
    tables = ((MATRICES, tag.matrix), (PRIMARIES, tag.primaries), (TRANSFERS, tag.transfer))
    matrix, primaries, transfer = (next((k for k, v in table.items() if v == name), 2) for table, name in tables)
    return matrix, primaries, transfer


def reading_tag(tag: ColorTag, height: int, *, rgb: bool) -> ColorTag:
    """The tag with the matrix that the pixels are read with: the stated one, or the usual one for the size.

    ``height`` is in px. What else the file leaves open stays "unknown".
    """
    if rgb:
        return replace(tag, matrix="gbr", full_range=True)
    if tag.matrix in {"unknown", "gbr"}:
        return replace(tag, matrix="bt709" if height >= HD_HEIGHT else "smpte170m")
    return tag


def writing_tag(tag: ColorTag) -> ColorTag:
    """The tag that YUV video is written with: the source's where its matrix can be kept, else bt709, limited range."""
    return tag if tag.matrix in LUMA_WEIGHTS else BT709


def check_convertible(tag: ColorTag, where: object) -> None:
    """Raise MediaError if pixels with this tag cannot be turned into RGB."""
    if tag.matrix != "gbr" and tag.matrix not in LUMA_WEIGHTS:
        raise MediaError(
            f"its colour matrix {tag.matrix} cannot be read", where=str(where), mend="Convert it to bt709 or bt2020nc."
        )
