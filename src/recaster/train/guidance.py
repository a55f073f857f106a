"""What the faces say about a training before it begins: what the source lacks that the target needs.

A model learns each person's face from the pictures there are. A direction, a closed eye or an open mouth that the
source never shows cannot be rendered well, however long it is trained.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from recaster.geometry.framing import align
from recaster.geometry.similarity import scale_of
from recaster.train.selection import CLOSED
from recaster.types import Faces, Floats, Framing

FEW_FACES = 200
"""Fewer source faces than this rarely show a person from all sides; usual are 500 to 3000."""
BIN = 10
"""Width of the ranges of yaw and pitch that are compared, degrees."""
LEAST_IN_BIN = 5
"""Source faces that cover such a range."""
NEAR_YAW, NEAR_PITCH = 5, 10
"""How far beyond a range they may be, degrees; a pitch is known less well, as it depends on the shape of the head."""
LEAST_SHARE, LEAST_COUNT = 0.005, 3
"""What the target shows more rarely than in this share of its faces, and this often, is not missed."""
LEAST_SEEN = 10
"""Source faces with closed eyes, or with an open mouth, from which they are learned."""
OPEN_MOUTH, WIDE_MOUTH = 0.15, 0.4
"""Height over width of the opening between the lips: 0.2 is a smile that shows teeth, 0.5 a surprised mouth."""
BLURRED = 0.012
"""Sharpness below which a face is blurred: that of a crisp one after a Gaussian blur of a hundredth of its width."""
SMALL = 0.8
"""Width of the source's faces in sides of the model's pictures below which detail is missed."""
LARGE = 4.0
"""Width of the target's faces in sides of the model's pictures above which the result looks soft."""

_SIZED = 200


def advise(src: Faces, dst: Faces, *, framing: Framing, resolution: int, mirrored: bool) -> list[str]:
    """Sentences about what will be hard for a model of ``resolution`` px framed ``framing``; none if all is well.

    ``mirrored`` tells whether the source's faces are trained on mirrored, too.
    """
    if not len(src) or not len(dst):
        return []
    return [
        *_numbers(src),
        *_directions(src, dst, mirrored),
        *_expressions(src, dst),
        *_sharpness(src),
        *_sizes(src, dst, framing, resolution),
    ]


def _numbers(src: Faces) -> Iterator[str]:
    if len(src) < FEW_FACES:
        yield (
            f"The source has {len(src)} faces, usual are 500 to 3000: add material that shows other directions,"
            " expressions and light."
        )


def _directions(src: Faces, dst: Faces, mirrored: bool) -> Iterator[str]:
    for column, name, near, negative, positive in (
        (0, "yaw", NEAR_YAW, "to the left", "to the right"),
        (1, "pitch", NEAR_PITCH, "down", "up"),
    ):
        source, target = src.pose[:, column], dst.pose[:, column]
        both_ways = np.concatenate([source, -source]) if column == 0 else source
        for low, high in _uncovered(both_ways if mirrored else source, target, near):
            count, there = _within(target, low, high), _within(source, low, high)
            side = positive if low >= 0 else negative
            # Mirrored faces help where they are not used yet.
            helps = column == 0 and not mirrored and _within(-source, low, high) >= LEAST_IN_BIN
            mend = "add source material that looks there" + (", or mirror it with random_flip" if helps else "")
            yield (
                f"{count} of {len(dst)} target faces look {min(abs(low), abs(high))} to {max(abs(low), abs(high))}"
                f" degrees {side} ({name}), but {there} of {len(src)} source faces do: {mend}."
            )


def _uncovered(source: Floats, target: Floats, near: int) -> list[tuple[int, int]]:
    """Ranges of degrees that the target takes and the source does not, neighbours on one side of 0 joined."""
    ranges: list[tuple[int, int]] = []
    wanted = max(LEAST_COUNT, LEAST_SHARE * len(target))
    for low in range(-180, 180, BIN):
        seen = _within(source, low - near, low + BIN + near)
        if _within(target, low, low + BIN) < wanted or seen >= LEAST_IN_BIN:
            continue
        if ranges and ranges[-1][1] == low != 0:
            ranges[-1] = ranges[-1][0], low + BIN
        else:
            ranges.append((low, low + BIN))
    return ranges


def _within(values: Floats, low: float, high: float) -> int:
    return int(np.count_nonzero((values >= low) & (values < high)))


def _expressions(src: Faces, dst: Faces) -> Iterator[str]:
    closed = [_closed_eyes(faces) for faces in (src, dst)]
    mouths = [_mouth_openness(faces) for faces in (src, dst)]
    for what, (source, target) in (
        ("closed eyes", closed),
        ("wide open mouths", [mouth > WIDE_MOUTH for mouth in mouths]),
        ("open mouths", [(mouth > OPEN_MOUTH) & (mouth <= WIDE_MOUTH) for mouth in mouths]),
    ):
        wanted, there = np.count_nonzero(target), np.count_nonzero(source)
        if wanted >= max(LEAST_COUNT, LEAST_SHARE * len(dst)) and there < LEAST_SEEN:
            yield (
                f"{wanted} of {len(dst)} target faces have {what}, but {there} of {len(src)} source faces: the swap"
                " will show others; add source material with them."
            )


def _closed_eyes(faces: Faces) -> NDArray[np.bool_]:
    """Each person is judged against the own wide open eyes, so that narrow eyes are not taken for closed ones."""
    openness = (
        _openness(faces.points, (36, 39), ((37, 41), (38, 40)))
        + _openness(faces.points, (42, 45), ((43, 47), (44, 46)))
    ) / 2
    return np.asarray(openness < CLOSED * np.percentile(openness, 90))


def _mouth_openness(faces: Faces) -> Floats:
    return _openness(faces.points, (60, 64), ((61, 67), (62, 66), (63, 65)))


def _openness(points: Floats, corners: tuple[int, int], pairs: tuple[tuple[int, int], ...]) -> Floats:
    """``(N,)`` mean height over width of an opening, from landmarks ``(N, 68, 2)`` of its corners and its edges."""

    def distance(one: int, other: int) -> Floats:
        return np.asarray(np.linalg.norm(points[:, one] - points[:, other], axis=1))

    height = np.mean([distance(*pair) for pair in pairs], axis=0)
    return np.asarray(height / np.maximum(distance(*corners), 1e-6))


def _sharpness(src: Faces) -> Iterator[str]:
    known = src.quality[src.quality > 0]
    blurred = int(np.count_nonzero(known < BLURRED))
    if 2 * blurred > len(known):
        yield (
            f"{blurred} of {len(src)} source faces are blurred, so the swap will be: take sharper material, or remove"
            " the worst faces if enough remain."
        )


def _sizes(src: Faces, dst: Faces, framing: Framing, resolution: int) -> Iterator[str]:
    in_clip, stored = _widths(src, framing)
    if min(in_clip, stored) < SMALL * resolution:
        cut_down = stored < in_clip and stored < SMALL * resolution
        mend = "extract the source with a larger size" if cut_down else "take a source that is nearer or larger"
        width = f"{min(in_clip, stored):.0f} px wide" + (" as they are stored" if cut_down else "")
        yield f"The source's faces are {width}, the model's {resolution} px: {mend}, or a smaller resolution."
    target, _ = _widths(dst, framing)
    if target > LARGE * resolution:
        yield (
            f"The target's faces are {target:.0f} px wide and the model's {resolution} px, so the result is enlarged"
            f" {target / resolution:.1f} times and looks soft: take a model with a higher resolution."
        )


def _widths(faces: Faces, framing: Framing) -> tuple[float, float]:
    """Median side of the model's crop, in pixels of the clip and in pixels of the stored pictures."""
    rows = np.unique(np.linspace(0, len(faces) - 1, _SIZED).round().astype(int))
    in_clip = np.array([1 / scale_of(align(points, framing, 1).frame_to_crop) for points in faces.points[rows]])
    stored = in_clip * [scale_of(matrix) for matrix in faces.frame_to_crop[rows]]
    return float(np.median(in_clip)), float(np.median(stored))
