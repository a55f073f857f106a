"""Losses and previews for TensorBoard, a package that is installed only by those who want it."""

from __future__ import annotations

from pathlib import Path

from recaster.errors import MissingError
from recaster.files import storage_errors
from recaster.types import Picture

FOLDER = "tensorboard"
"""Inside the model's folder: what ``tensorboard --logdir`` is pointed at."""


class Board:
    """Writes what follows ``iteration`` of the model in ``folder``; what an earlier session wrote after it is replaced.

    Raises MissingError where the package is not installed, StorageError.
    """

    def __init__(self, folder: Path, iteration: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingError(
                "TensorBoard is not installed", mend="Run: pip install 'recaster[tensorboard]', or train without it."
            ) from error
        with storage_errors(folder / FOLDER):
            self._writer = SummaryWriter(str(folder / FOLDER), purge_step=iteration + 1)

    def losses(
        self, iteration: int, src: float, dst: float, *, rate: float | None = None, norm: float | None = None
    ) -> None:
        """The losses of one iteration; the learning rate and the norm of the gradients where they are known."""
        for name, value in (("loss/src", src), ("loss/dst", dst), ("learning rate", rate), ("gradient norm", norm)):
            if value is not None:
                self._writer.add_scalar(name, value, iteration)

    def picture(self, iteration: int, image: Picture) -> None:
        """A preview, ``(H, W, 3)`` uint8 RGB."""
        self._writer.add_image("preview", image, iteration, dataformats="HWC")

    def close(self) -> None:
        """Write what is left, and let go of the files."""
        self._writer.close()
