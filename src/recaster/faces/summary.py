"""What came out of an extraction, in figures that show whether the faces can be trusted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from recaster.geometry.framing import align
from recaster.geometry.motion import at_rest, jitter
from recaster.geometry.similarity import scale_of
from recaster.types import Floats, Framing

REFERENCE_SIZE = 256
"""Jitter is given in pixels of a full-framed crop of this size, so that near and far faces compare."""
REST_SPEED = 0.5
"""A face that moves less than this, in those pixels a frame, is at rest."""

_SAME_TRACK = 0.3


class FrameResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """One frame: its name, how many faces were kept and rejected, and what was wrong with the picture, if anything."""

    name: str
    faces: int = 0
    rejected: int = 0
    problem: str = ""


class ExtractSummary(msgspec.Struct, frozen=True):
    """The figures of an extraction.

    ``misses`` counts the readable frames without a face, ``gaps`` those of them that have frames with a face on both
    sides. ``rejected`` counts detections that were left out. ``unreadable`` lists (frame name, reason). ``jitter`` and
    ``jitter_at_rest`` are the RMS second difference over time of the landmarks, in px of a 256 px crop; None where the
    clip has too few frames in a row to tell. ``skipped``: all had been done before, nothing was touched.
    """

    frames: int
    frames_with_faces: int
    faces: int
    misses: int
    gaps: int
    rejected: int
    unreadable: tuple[tuple[str, str], ...]
    jitter: float | None
    jitter_at_rest: float | None
    seconds: float
    frames_per_second: float
    skipped: bool = False


class Sighting(NamedTuple):
    """A stored face: the index of its frame, its box and its landmarks ``(68, 2)``, px in the frame."""

    frame: int
    box: tuple[float, float, float, float]
    points: Floats


def summarize(frames: Sequence[FrameResult], sightings: Iterable[Sighting], seconds: float) -> ExtractSummary:
    """The summary of ``frames`` and of the faces among them that are on the disk, both in the order of the clip."""
    with_faces = [index for index, frame in enumerate(frames) if frame.faces]
    empty = [index for index, frame in enumerate(frames) if not frame.faces and not frame.problem]
    points = points_over_time(tracks(sightings))
    return ExtractSummary(
        frames=len(frames),
        frames_with_faces=len(with_faces),
        faces=sum(frame.faces for frame in frames),
        misses=len(empty),
        gaps=sum(1 for index in empty if with_faces and with_faces[0] < index < with_faces[-1]),
        rejected=sum(frame.rejected for frame in frames),
        unreadable=tuple((frame.name, frame.problem) for frame in frames if frame.problem),
        jitter=_number(jitter(points)),
        jitter_at_rest=_number(jitter(points, at_rest(points, limit=REST_SPEED))),
        seconds=seconds,
        frames_per_second=len(frames) / seconds if seconds > 0 else 0.0,
    )


def tracks(sightings: Iterable[Sighting]) -> list[list[Sighting]]:
    """Join the faces of consecutive frames whose boxes overlap most; a track ends at its first gap."""
    finished: list[list[Sighting]] = []
    running: list[list[Sighting]] = []
    for index, group in groupby(sightings, key=lambda sighting: sighting.frame):
        present = list(group)
        candidates = [track for track in running if track[-1].frame == index - 1]
        finished += [track for track in running if track[-1].frame != index - 1]
        pairs = [(overlap(t[-1].box, s.box), i, j) for i, t in enumerate(candidates) for j, s in enumerate(present)]
        joined: dict[int, int] = {}
        for shared, i, j in sorted(pairs, reverse=True):
            if shared > _SAME_TRACK and i not in joined and j not in joined.values():
                joined[i] = j
                candidates[i].append(present[j])
        running = candidates + [[s] for j, s in enumerate(present) if j not in joined.values()]
    return finished + running


def points_over_time(tracks: Sequence[Sequence[Sighting]]) -> NDArray[np.float64]:
    """The landmarks of all tracks one after the other, ``(T, 68, 2)``, a row of NaN between them.

    Every track in px of its own reference crop, by the median of its scales: a trembling alignment must not hide the
    trembling points that it comes from.
    """
    rows = [np.empty((0, 68, 2))]
    for track in tracks:
        points = np.array([sighting.points for sighting in track], np.float64)
        scales = [scale_of(align(row, Framing.FULL, REFERENCE_SIZE).frame_to_crop) for row in points]
        rows += [points * float(np.median(scales)), np.full((1, 68, 2), np.nan)]
    return np.concatenate(rows)


def overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Intersection over union of two boxes (left, top, right, bottom), 0..1."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
