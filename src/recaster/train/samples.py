"""The faces of one person as one tensor, on the device or in the host's memory, decoded once."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recaster.device import free_memory
from recaster.errors import MissingError, RecasterError, UsageError
from recaster.faces.faceset import FaceSet, StoredFace
from recaster.geometry.framing import align, contains
from recaster.geometry.landmarks import feature_mask, hull_mask
from recaster.geometry.similarity import apply_matrix, compose, invert_matrix
from recaster.geometry.warp import warp_crop
from recaster.progress import SILENT, Progress
from recaster.train.augment import augment, unchanged
from recaster.train.selection import eye_openness, eye_weights, sample_weights
from recaster.types import Framing, Matrix

SPAN = 1.15
"""Sides of the model's crop that a cached picture shows: rotated and shifted samples find pixels in the margin."""
DENSITY = 1.25
"""Cached pixels for one of the model's, so that bilinear samples stay sharp."""


@dataclass(frozen=True)
class FaceSamples:
    """N faces framed for a model of ``resolution`` px on ``device``.

    ``pictures`` ``(N, S, S, 4 or 5)`` uint8: RGB, hull mask and, where it was asked for, a mask of eyes and mouth,
    showing ``span`` times the model's crop about its middle. They lie on ``device`` or, ``on_host``, in the host's
    memory, to be copied as they are needed. ``weights`` ``(N,)`` float32 0..1 on the CPU: the share of the epochs in
    which a face takes part. ``yaw`` ``(N,)`` float32, degrees. ``skipped``: file name and reason of faces that could
    not be used. ``openness`` ``(N,)`` float32 of the eyes.
    """

    pictures: Tensor
    weights: Tensor
    yaw: NDArray[np.float32]
    openness: NDArray[np.float32]
    resolution: int
    device: torch.device
    on_host: bool = False
    span: float = SPAN
    skipped: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def memory(self) -> int:
        """Bytes that the pictures take where they are."""
        return self.pictures.numel()

    @property
    def has_features(self) -> bool:
        """Whether there are masks of eyes and mouth."""
        return self.pictures.shape[3] == 5

    def take(self, rows: Tensor) -> Tensor:
        """Pictures of some faces, ``(len(rows), S, S, C)`` uint8, where they can be copied to ``device`` at once."""
        if not self.on_host:
            return self.pictures.index_select(0, rows.to(self.pictures.device, non_blocking=True))
        taken = torch.empty((len(rows), *self.pictures.shape[1:]), dtype=torch.uint8, pin_memory=_pinned(self.device))
        return torch.index_select(self.pictures, 0, rows, out=taken)

    def plain(self, rows: Sequence[int]) -> Tensor:
        """The model's crops of some faces as they are: ``(len(rows), 3, R, R)`` float32 0..1 on ``device``."""
        pictures = self.take(torch.tensor(list(rows))).to(self.device, non_blocking=True)
        return augment(pictures, unchanged(len(rows)).to(self.device), self.resolution, self.span).target

    @classmethod
    def load(
        cls,
        faceset: FaceSet,
        framing: Framing,
        resolution: int,
        device: torch.device,
        *,
        features: bool = False,
        faces_on: Literal["auto", "device", "host"] = "auto",
        leave_out: bool = False,
        title: str = "load faces",
        progress: Progress = SILENT,
    ) -> FaceSamples:
        """Read a faceset for a model.

        ``features`` adds masks of eyes and mouth. ``faces_on`` is where the pictures wait; auto means the device if
        they take at most a quarter of its free memory, as there are two people.

        Faces that cannot be used are skipped and reported; with ``leave_out``, those that stand far from all others are
        not trained on. ``title`` is what the stage is called. Raises MissingError where no face is left, UsageError
        where the model needs a larger framing than was stored.
        """
        _check_framing(faceset, framing)
        size = cache_size(resolution)
        shape = (len(faceset.faces), size, size, 5 if features else 4)
        on_host = faces_on == "host" or (faces_on == "auto" and not _fits(device, math.prod(shape)))
        # Filled in place: a large set exists only once.
        pictures = torch.empty(shape, dtype=torch.uint8, device="cpu" if on_host else device)
        with progress.stage(title, len(faceset.faces), "faces"):
            problems = _fill(pictures, faceset.faces, framing, resolution, progress)
        good = [row for row, problem in enumerate(problems) if not problem]
        skipped = [(path.name, reason) for path, reason in faceset.unreadable]
        skipped += [(faceset.faces[row].path.name, problem) for row, problem in enumerate(problems) if problem]
        _report(faceset, len(good), skipped, progress)
        for row, kept in enumerate(good):
            if row != kept:
                pictures[row] = pictures[kept]
        usable = [faceset.faces[row].face for row in good]
        weights = sample_weights(usable) if leave_out else np.ones(len(usable), np.float32)
        if not weights.all():
            far = np.count_nonzero(weights == 0)
            progress.note(
                f"{faceset.folder}: {far} of {len(good)} faces are left out: covered, blurred or odd in shape"
            )
        return cls(
            pictures=pictures[: len(good)],
            weights=torch.from_numpy(weights),
            yaw=np.array([face.pose.yaw for face in usable], np.float32),
            openness=eye_openness(usable),
            resolution=resolution,
            device=device,
            on_host=on_host,
            skipped=tuple(skipped),
        )

    def for_target(self, target: FaceSamples) -> FaceSamples:
        """The same faces, those with closed eyes dealt as rarely as the target closes them."""
        return replace(self, weights=self.weights * torch.from_numpy(eye_weights(self.openness, target.openness)))


def cache_size(resolution: int) -> int:
    """Side of the cached pictures, px: 34 kB a face at 64 px, 135 kB at 128 px, 542 kB at 256 px.

    Masks of eyes and mouth take a quarter more.
    """
    return math.ceil(resolution * SPAN * DENSITY)


def cached_picture(
    stored: StoredFace, framing: Framing, resolution: int, *, features: bool = False
) -> NDArray[np.uint8]:
    """One face as the cache holds it, ``(S, S, 4)``, with ``features`` ``(S, S, 5)``.

    Raises MediaError, ValueError for one that cannot be used.
    """
    size = cache_size(resolution)
    points = stored.face.landmarks.points
    frame_to_cache = compose(align(points, framing, resolution).frame_to_crop, _model_to_cache(resolution, size))
    stored_to_cache = compose(invert_matrix(stored.face.alignment.frame_to_crop), frame_to_cache)
    rgb = warp_crop(stored.picture(), stored_to_cache, size, border="replicate")
    here = apply_matrix(frame_to_cache, points)
    mask = hull_mask(here, (size, size))
    masks = [mask, feature_mask(here, (size, size)) * (mask > 0)] if features else [mask]
    return np.dstack([rgb, *(np.rint(values * 255).astype(np.uint8) for values in masks)])


def _fits(device: torch.device, size: int) -> bool:
    free = free_memory(device)
    return device.type == "cpu" or not free or 4 * size <= free


def _pinned(device: torch.device) -> bool:
    # Only from pinned memory does a copy run beside the computation; where memory is shared it is the same memory.
    return device.type in {"cuda", "xpu"}


def _fill(
    pictures: Tensor, faces: Sequence[StoredFace], framing: Framing, resolution: int, progress: Progress
) -> list[str]:
    """Put each face into its row; gives what was wrong with it, or nothing."""

    def fill(row: int) -> str:
        try:
            cached = cached_picture(faces[row], framing, resolution, features=pictures.shape[3] == 5)
        except (RecasterError, ValueError) as error:
            return error.what if isinstance(error, RecasterError) else str(error)
        pictures[row] = torch.from_numpy(cached)
        return ""

    problems: list[str] = []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for problem in pool.map(fill, range(len(faces))):
            problems.append(problem)
            progress.advance()
    return problems


def _model_to_cache(resolution: int, size: int) -> Matrix:
    zoom = size / (SPAN * resolution)
    shift = (size - 1) / 2 - zoom * (resolution - 1) / 2
    return np.array([[zoom, 0.0, shift], [0.0, zoom, shift]])


def _check_framing(faceset: FaceSet, framing: Framing) -> None:
    small = [stored for stored in faceset.faces if not contains(stored.face.alignment.framing, framing)]
    if small:
        stored = small[0].face.alignment.framing
        raise UsageError(
            f"{len(small)} of {len(faceset)} faces are stored in the framing {stored}, the model needs {framing}",
            where=faceset.folder,
            mend=f"Extract the faces again, framed {framing} or larger, or choose a model framed {stored}.",
        )


def _report(faceset: FaceSet, count: int, skipped: Sequence[tuple[str, str]], progress: Progress) -> None:
    if skipped:
        shown = "; ".join(f"{name}: {reason}" for name, reason in skipped[:5])
        more = f"; and {len(skipped) - 5} more" if len(skipped) > 5 else ""
        progress.note(f"{faceset.folder}: {len(skipped)} files skipped: {shown}{more}")
    if not count:
        raise MissingError(
            "there is no usable face", where=faceset.folder, mend="Extract the faces of this clip first."
        )
    if count == 1:
        progress.note(f"{faceset.folder}: there is only one face, so the model learns no other expression or direction")
