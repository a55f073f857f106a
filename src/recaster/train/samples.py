"""The faces of one person as one tensor on the device, decoded once."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recaster.errors import MissingError, RecasterError, UsageError
from recaster.faces.faceset import FaceSet, StoredFace
from recaster.geometry.framing import align, contains
from recaster.geometry.landmarks import hull_mask
from recaster.geometry.similarity import apply_matrix, compose, invert_matrix
from recaster.geometry.warp import warp_crop
from recaster.progress import SILENT, Progress
from recaster.train.augment import plain_grid, render, unchanged
from recaster.train.selection import eye_openness, eye_weights, sample_weights
from recaster.types import Framing, Matrix

SPAN = 1.15
"""Sides of the model's crop that a cached picture shows: rotated and shifted samples find pixels in the margin."""
DENSITY = 1.25
"""Cached pixels for one of the model's, so that bilinear samples stay sharp."""


@dataclass(frozen=True)
class FaceSamples:
    """N faces framed for a model of ``resolution`` px.

    ``pictures`` ``(N, 4, S, S)`` uint8, RGB and hull mask, showing ``span`` times the model's crop about its middle.
    ``weights`` ``(N,)`` float32 0..1 on the CPU: the share of the epochs in which a face takes part. ``skipped``: file
    name and reason of faces that could not be used. ``openness`` ``(N,)`` of the eyes, where it is known.
    """

    pictures: Tensor
    weights: Tensor
    resolution: int
    span: float = SPAN
    skipped: tuple[tuple[str, str], ...] = ()
    openness: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def memory(self) -> int:
        """Bytes that the pictures take on the device."""
        return self.pictures.numel()

    def plain(self, rows: Sequence[int]) -> Tensor:
        """The model's crops of some faces as they are: ``(len(rows), 3, R, R)`` float32 0..1."""
        values = self.pictures[list(rows), :3].float().div_(255)
        return render(values, plain_grid(unchanged(len(rows)).to(values.device), self.resolution), self.span)

    @classmethod
    def load(
        cls,
        faceset: FaceSet,
        framing: Framing,
        resolution: int,
        device: torch.device,
        *,
        leave_out: bool = False,
        title: str = "load faces",
        progress: Progress = SILENT,
    ) -> FaceSamples:
        """Read a faceset for a model.

        Faces that cannot be used are skipped and reported; with ``leave_out``, those that stand far from all others are
        not trained on. ``title`` is what the stage is called. Raises MissingError where no face is left, UsageError
        where the model needs a larger framing than was stored.
        """
        faces = faceset.faces
        _check_framing(faceset, framing)
        size = cache_size(resolution)
        stack = np.empty((len(faces), 4, size, size), np.uint8)

        def fill(row: int) -> str:
            try:
                stack[row] = cached_picture(faces[row], framing, resolution)
            except (RecasterError, ValueError) as error:
                return error.what if isinstance(error, RecasterError) else str(error)
            return ""

        problems: list[str] = []
        with (
            progress.stage(title, len(faces), "faces"),
            ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool,
        ):
            for problem in pool.map(fill, range(len(faces))):
                problems.append(problem)
                progress.advance()
        good = [row for row, problem in enumerate(problems) if not problem]
        skipped = [(path.name, reason) for path, reason in faceset.unreadable]
        skipped += [(faces[row].path.name, problem) for row, problem in enumerate(problems) if problem]
        _report(faceset, len(good), skipped, progress)
        usable = [faces[row].face for row in good]
        weights = sample_weights(usable) if leave_out else np.ones(len(usable), np.float32)
        if not weights.all():
            far = np.count_nonzero(weights == 0)
            progress.note(
                f"{faceset.folder}: {far} of {len(good)} faces are left out: covered, blurred or odd in shape"
            )
        pictures = torch.from_numpy(stack if len(good) == len(stack) else stack[good]).to(device)
        return cls(pictures, torch.from_numpy(weights), resolution, SPAN, tuple(skipped), eye_openness(usable))

    def for_target(self, target: FaceSamples) -> FaceSamples:
        """The same faces, those with closed eyes dealt as rarely as the target closes them."""
        if self.openness is None or target.openness is None:
            return self
        return replace(self, weights=self.weights * torch.from_numpy(eye_weights(self.openness, target.openness)))


def cache_size(resolution: int) -> int:
    """Side of the cached pictures, px: 34 kB a face at 64 px, 135 kB at 128 px, 542 kB at 256 px."""
    return math.ceil(resolution * SPAN * DENSITY)


def cached_picture(stored: StoredFace, framing: Framing, resolution: int) -> NDArray[np.uint8]:
    """One face as the cache holds it, ``(4, S, S)``. Raises MediaError, ValueError for one that cannot be used."""
    size = cache_size(resolution)
    points = stored.face.landmarks.points
    frame_to_cache = compose(align(points, framing, resolution).frame_to_crop, _model_to_cache(resolution, size))
    stored_to_cache = compose(invert_matrix(stored.face.alignment.frame_to_crop), frame_to_cache)
    rgb = warp_crop(stored.picture(), stored_to_cache, size, border="replicate")
    mask = hull_mask(apply_matrix(frame_to_cache, points), (size, size))
    return np.concatenate([rgb, np.rint(mask * 255).astype(np.uint8)[..., None]], axis=2).transpose(2, 0, 1)


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
