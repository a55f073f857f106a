"""Which faces of a set are trained on, and in which order."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import median_filter
from torch import Generator, Tensor

from recaster.geometry.framing import FIT_POINTS
from recaster.geometry.mean_face import MEAN_FACE
from recaster.geometry.similarity import apply_matrix, fit_similarity
from recaster.types import Face

LEAST_FACES = 8
"""Fewer faces than this say nothing about which of them is odd."""
LARGEST_SHARE = 0.2
"""At most this share of a set is left out as odd, the oddest first."""
ODD = 4.0
"""Robust standard deviations from the median beyond which a face is odd."""
COVERED, COVERED_MOUTH = 0.96, 0.985
"""A face is covered when detector and mouth together, and the mouth by itself, are less sure than these shares of the
clear faces of its set. On a real clip with a hand before the face in a third of its frames this finds 96 % of them and
loses 7 % of the others; on two without (open mouths, a neutral face that the detector likes less than a smile) it loses
at most one. The shares were chosen on these same clips.
"""
CLOSED = 0.5
"""Eyes are closed below this share of the person's own wide open ones."""
LEAST_CLOSED = 0.05
"""Share of closed eyes that the source keeps although the target never closes them: the next shot may."""
NEIGHBOURS = 9
"""Faces in a row over which the median is taken: what covers a face stays for a while, an open mouth less so."""
LARGEST_COVERED = 0.5
"""At most this share of a set is left out as covered, the least clear first."""
TURNED = 25.0
"""Degrees of yaw from which on a face is not judged: a profile is less clear without anything before it."""


def sample_weights(faces: Sequence[Face]) -> NDArray[np.float32]:
    """``(N,)`` float32: 0 for faces that would harm the training, 1 for the others.

    Harmful are those whose landmarks are unsure, whose shape resembles that of no other face (a wrong detection), or
    whose picture is blurred, each judged against the rest of the set by median and MAD; and those that are covered.
    """
    weights = np.ones(len(faces), np.float32)
    if len(faces) < LEAST_FACES:
        return weights
    odd = np.maximum.reduce(
        [
            _below([_confidence(face) for face in faces], least_spread=0.05),
            _below([np.log(face.quality) if face.quality > 0 else np.nan for face in faces], least_spread=0.35),
            _below(-np.log(np.maximum(_loneliness(faces), 1e-6)), least_spread=0.35),
        ]
    )
    worst = np.argsort(-odd, kind="stable")[: int(LARGEST_SHARE * len(faces))]
    weights[worst[odd[worst] > ODD]] = 0
    weights[_covered(faces)] = 0
    return weights


def _covered(faces: Sequence[Face]) -> NDArray[np.intp]:
    """Rows of the faces that a hand or the like seems to cover: detector and mouth are less sure than on the others.

    ``faces`` are in the order of their clip.
    """
    mouth = np.array([_confidence(face, slice(48, 68)) for face in faces])
    clear = np.array([face.score for face in faces]) * np.sqrt(mouth)
    frontal = np.array([abs(face.pose.yaw) <= TURNED for face in faces])
    if np.count_nonzero(frontal) < LEAST_FACES:
        return np.empty(0, np.intp)
    share, mouth_share = (
        median_filter(values / np.percentile(values[frontal], 80), NEIGHBOURS, mode="nearest")
        for values in (clear, mouth)
    )
    covered = frontal & (share < COVERED) & (mouth_share < COVERED_MOUTH)
    least = np.argsort(share, kind="stable")[: int(LARGEST_COVERED * len(faces))]
    return np.asarray(least[covered[least]])


def eye_openness(faces: Sequence[Face]) -> NDArray[np.float32]:
    """``(N,)`` height over width of the eyes, the mean of both (Soukupová & Čech 2016, eq. 1)."""
    points = np.array([face.landmarks.points for face in faces], np.float32).reshape(-1, 68, 2)
    ratios = []
    for first in (36, 42):
        across, inner, outer = (
            np.linalg.norm(points[:, first + a] - points[:, first + b], axis=1) for a, b in ((0, 3), (1, 5), (2, 4))
        )
        ratios.append((inner + outer) / np.maximum(2 * across, 1e-6))
    return np.asarray(np.mean(ratios, axis=0), np.float32)


def eye_weights(source: NDArray[np.float32], target: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(N,)`` weights of the source's faces by :func:`eye_openness`: 1 for open eyes, and for closed ones what brings
    them down to the share that they have in the target. Each person is judged against the own wide open eyes, so that
    narrow eyes are not taken for closed ones.
    """
    weights = np.ones(len(source), np.float32)
    if min(len(source), len(target)) < LEAST_FACES:
        return weights
    closed, wanted = (values < CLOSED * np.percentile(values, 90) for values in (source, target))
    share, wanted_share = float(closed.mean()), max(float(wanted.mean()), LEAST_CLOSED)
    if LEAST_CLOSED < share < 1 and wanted_share < share:
        weights[closed] = wanted_share * (1 - share) / (share * (1 - wanted_share))
    return weights


def _confidence(face: Face, points: slice = slice(None)) -> float:
    return 1.0 if face.landmarks.confidence is None else float(face.landmarks.confidence[points].mean())


def _below(values: Sequence[float] | NDArray[np.float64], least_spread: float) -> NDArray[np.float64]:
    """How far each value lies below the median, in robust standard deviations (1.4826 MAD); 0 where it is not known."""
    array = np.asarray(values, np.float64)
    known = np.isfinite(array)
    if not known.any():
        return np.zeros(len(array))
    array = np.where(known, array, np.median(array[known]))
    median = np.median(array)
    spread = max(1.4826 * float(np.median(np.abs(array - median))), least_spread)
    return (median - array) / spread


def _loneliness(faces: Sequence[Face]) -> NDArray[np.float64]:
    """Distance to the nearest other face's shape: RMS of the points, in sides of the mean face's square."""
    shapes = np.stack([_shape(face) for face in faces]).reshape(len(faces), -1)
    squares = np.square(shapes).sum(axis=1)
    nearest = np.empty(len(faces))
    for start in range(0, len(faces), 1024):
        rows = slice(start, start + 1024)
        distances = squares[rows, None] + squares - 2 * shapes[rows] @ shapes.T
        distances[np.arange(len(distances)), np.arange(start, start + len(distances))] = np.inf
        nearest[rows] = distances.min(axis=1)
    return np.sqrt(np.maximum(nearest, 0) / 68)


def _shape(face: Face) -> NDArray[np.float64]:
    points = face.landmarks.points
    return apply_matrix(fit_similarity(points[FIT_POINTS], MEAN_FACE[FIT_POINTS - 17]), points)


Arrangement = Callable[[Tensor, Generator], Tensor]
"""Puts an epoch's faces in order: from rows ``(M,)`` in random order to cards ``(K,)``, some perhaps dealt repeatedly.

Of a set of N faces, card ``n`` is face ``n``, and card ``N + n`` the same one mirrored.
"""


class Deck:
    """Faces of a set in random order without end: each once an epoch, or in the share of epochs its weight says.

    An ``arrangement`` deals an epoch's faces by another rule than once each. Two decks of equal weights, arrangement
    and state deal the same, on every machine.
    """

    def __init__(self, weights: Tensor, seed: int, arrangement: Arrangement | None = None) -> None:
        if not bool((weights > 0).any()):
            raise ValueError("a deck needs a face of positive weight")
        self._weights = weights / weights.max()
        self._arrangement = arrangement
        self._generator = Generator().manual_seed(seed)
        self._shuffle()

    def deal(self, count: int) -> Tensor:
        """The next ``count`` cards, ``(count,)`` int64; without an arrangement they are rows."""
        dealt: list[Tensor] = []
        missing = count
        while missing > 0:
            piece = self._order[self._position : self._position + missing]
            dealt.append(piece)
            missing -= len(piece)
            self._position += len(piece)
            if missing:
                self._shuffle()
        return torch.cat(dealt)

    def state(self) -> dict[str, Any]:
        """Where the deck is, for JSON."""
        return {"epoch": dump_bytes(self._epoch), "position": self._position}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a :meth:`state`."""
        self._generator.set_state(load_bytes(state["epoch"]))
        self._shuffle()
        self._position = int(state["position"])

    def _shuffle(self) -> None:
        self._epoch = self._generator.get_state()
        order = torch.randperm(len(self._weights), generator=self._generator)
        taking_part = torch.rand(len(order), generator=self._generator) < self._weights[order]
        rows = order[taking_part]
        self._order = rows if self._arrangement is None else self._arrangement(rows, self._generator)
        self._position = 0


def dump_bytes(values: Tensor) -> str:
    """A uint8 tensor (a generator's state) as base64 text, for JSON."""
    return base64.b64encode(values.cpu().numpy().tobytes()).decode("ascii")


def load_bytes(text: str) -> Tensor:
    """The tensor of :func:`dump_bytes`."""
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), np.uint8).copy())
