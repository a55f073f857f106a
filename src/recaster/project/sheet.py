"""The contact sheet: source, target and swap beside each other, for a few frames of the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from recaster.errors import MissingError
from recaster.faces.faceset import FaceSet, StoredFace
from recaster.geometry.framing import align
from recaster.geometry.mean_face import MEAN_FACE
from recaster.geometry.similarity import apply_matrix, compose, fit_similarity, invert_matrix
from recaster.geometry.warp import warp_crop
from recaster.media.info import PICTURE_RATE
from recaster.media.pictures import write_picture
from recaster.media.reader import FrameReader
from recaster.types import Floats, Frame, Framing, Matrix, Picture

TILE = 192
"""Side of a tile, px."""
TITLES = ("source", "target", "swap")


def contact_sheet(
    src: FaceSet,
    dst: FaceSet,
    target: Path,
    result: Path,
    output: Path,
    frames: int = 8,
    *,
    picture_rate: Fraction = PICTURE_RATE,
) -> Path:
    """Draw ``frames`` rows of source, target and swap from the clips and write the picture to ``output``.

    Each row's source is the face of ``src`` whose expression is nearest to the target's, so that what was learned and
    what was made can be compared. ``picture_rate`` is the result's, where the target is a folder of pictures. Raises
    MissingError where a faceset is empty or the result is not there.
    """
    if not len(src) or not len(dst) or not result.exists():
        raise MissingError("nothing to show yet", where=result, mend="Run extract, train and merge first.")
    chosen = _spread(dst, frames)
    with FrameReader(target, picture_rate=picture_rate) as before, FrameReader(result) as after:
        numbers = {before.name_of(index): index for index in range(len(before))}
        rows = [_row(src, stored, before, after, numbers) for stored in chosen if stored.record.frame in numbers]
    write_picture(output, np.vstack([_titles(), *rows]), quality=92)
    return output


def _spread(dst: FaceSet, count: int) -> list[StoredFace]:
    """The largest face of ``count`` frames spread evenly over the clip."""
    largest = [max(faces, key=lambda stored: _area(stored)) for _, faces in sorted(dst.by_frame().items())]
    places = np.unique(np.linspace(0, len(largest) - 1, count).round().astype(int))
    return [largest[place] for place in places]


def _area(stored: StoredFace) -> float:
    left, top, right, bottom = stored.face.box
    return abs((right - left) * (bottom - top))


def _row(
    src: FaceSet, stored: StoredFace, before: FrameReader, after: FrameReader, numbers: Mapping[str, int]
) -> Picture:
    index = numbers[stored.record.frame]
    to_tile = _to_tile(stored)
    frame = before.read(index)
    tiles = [
        _tile_of(_nearest_expression(src.faces, stored)),
        warp_crop(frame.image, to_tile, TILE, border="replicate"),
        warp_crop(_at_the_time_of(frame, after).image, to_tile, TILE, border="replicate"),
    ]
    return np.hstack(tiles)


def _to_tile(stored: StoredFace) -> Matrix:
    return align(stored.face.landmarks.points, Framing.WHOLE, TILE).frame_to_crop


def _tile_of(stored: StoredFace) -> Picture:
    """A stored face, framed like the tiles that are cut from the clips."""
    crop_to_tile = compose(invert_matrix(stored.face.alignment.frame_to_crop), _to_tile(stored))
    return warp_crop(stored.picture(), crop_to_tile, TILE, border="replicate")


def _at_the_time_of(frame: Frame, after: FrameReader) -> Frame:
    """What the result shows when the target shows ``frame``; it has fewer frames where some could not be read."""
    late = frame.pts + 1 / after.info.rate / 2
    shown = after.read(min(frame.index, len(after) - 1))
    while shown.index and shown.pts > late:
        shown = after.read(shown.index - 1)
    return shown


def _nearest_expression(faces: Sequence[StoredFace], stored: StoredFace) -> StoredFace:
    shape = _shape(stored)
    return min(faces, key=lambda other: float(np.square(_shape(other) - shape).sum()))


def _shape(stored: StoredFace) -> Floats:
    """The inner points ``(51, 2)`` in units of the mean face: expression and direction without place and size."""
    points = stored.face.landmarks.points[17:]
    return np.asarray(apply_matrix(fit_similarity(points, MEAN_FACE), points), np.float32)


def _titles() -> Picture:
    bar = np.full((24, TILE * len(TITLES), 3), 32, np.uint8)
    for column, title in enumerate(TITLES):
        cv2.putText(bar, title, (column * TILE + 8, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (235,) * 3, 1, cv2.LINE_AA)
    return bar
