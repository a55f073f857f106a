"""What can be done with a workspace's saved models beside training and using them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from recaster.errors import CheckpointError, MediaError, MissingError, UsageError
from recaster.files import flush_to_disk, part_path, remove_leftovers, storage_errors
from recaster.progress import SILENT, Progress
from recaster.project.models import checked_name, chosen_name
from recaster.project.workspace import Workspace
from recaster.train.backup import Restored, backups, make_backup, restore_backup
from recaster.train.checkpoint import (
    BACKUPS,
    FOLDER,
    Checkpoint,
    iteration_of,
    latest,
    open_checkpoint,
    paths_of,
    read_state,
    save,
    set_aside,
)
from recaster.train.lock import model_lock
from recaster.train.options import TrainOptions

if TYPE_CHECKING:
    from recaster.types import Picture

TIMELAPSE = "timelapse.mp4"


@dataclass(frozen=True)
class ModelSummary:
    """A saved model at a glance. ``iteration`` is that of its newest checkpoint, None where that cannot be read;
    ``bytes`` is what all of its folder takes on the disk.
    """

    name: str
    folder: Path
    architecture: str
    iteration: int | None
    bytes: int
    checkpoints: tuple[int, ...]
    backups: tuple[int, ...]
    chosen: bool = False


def list_models(workspace: Workspace) -> list[ModelSummary]:
    """All models of the workspace by name; ``chosen`` is the one that it trains and uses. Nothing is checked."""
    names = _names(workspace)
    chosen = chosen_name(workspace) if names else ""
    return [replace(_summary(workspace.model(name)), chosen=name == chosen) for name in names]


def backup_model(workspace: Workspace, name: str | None = None, progress: Progress = SILENT) -> Path:
    """Put the newest sound checkpoint aside; gives the backup. Raises MissingError, CheckpointError, StorageError."""
    with _writing(workspace, name, "backed up") as folder:
        return _backup(folder, _newest(folder, progress))


def restore_model(
    workspace: Workspace, name: str | None = None, backup: int | None = None, progress: Progress = SILENT
) -> Restored:
    """Set a model back to a backup, see :func:`~recaster.train.backup.restore_backup`."""
    with _writing(workspace, name, "restored") as folder:
        return restore_backup(folder, backup, progress)


@dataclass(frozen=True)
class Exchanged:
    """A model whose people were exchanged: ``backup`` is how it was, ``replaced`` are older checkpoints, set aside."""

    checkpoint: Path
    backup: Path
    replaced: tuple[Path, ...]


def exchange_people(workspace: Workspace, name: str | None = None, progress: Progress = SILENT) -> Exchanged:
    """Make what a model learned of the source belong to the target, and the other way round.

    The clips stay: who wants to go on training exchanges them too. Raises UsageError for a model without parts of one
    person alone, MissingError, CheckpointError, StorageError.
    """
    from recaster.train.surgery import exchange, exchange_state

    with _writing(workspace, name, "changed") as folder:
        checkpoint = _newest(folder, progress)
        exchange(checkpoint.contents())  # before anything is written
        backup = _backup(folder, checkpoint)
        # Read from the backup, because Windows renames no folder in which a file is in use.
        contents = exchange(open_checkpoint(backup).contents(progress))
        made = save(folder, exchange_state(checkpoint.state), contents)
        replaced = tuple(set_aside(path) for path in paths_of(folder) if path != made)
        return Exchanged(made, backup, replaced)


def rename_model(workspace: Workspace, new: str, name: str | None = None) -> Path:
    """Call a model ``new``, with its options in ``recast.toml``; gives its folder. Raises UsageError, MissingError."""
    new = checked_name(new)
    with _writing(workspace, name, "renamed") as folder, model_lock(workspace.model(new), "made"):
        target, was_chosen = workspace.model(new), folder.name == chosen_name(workspace)
        if target.exists():
            raise UsageError("there is such a model already", where=target, mend="Choose another name.")
        with storage_errors(target):
            folder.rename(target)
            flush_to_disk(target.parent)
        options = workspace.section(f"train.{folder.name}")
        workspace.store(f"train.{folder.name}", {})
        workspace.store(f"train.{new}", options)
        if was_chosen:
            workspace.store("workspace", {"name": new}, known={"name"})
        return target


def delete_model(workspace: Workspace, name: str | None = None, *, sure: bool = False) -> ModelSummary:
    """Delete a model with all its checkpoints, backups and previews; its options in ``recast.toml`` stay.

    Raises UsageError unless the caller is ``sure``, MissingError, StorageError.
    """
    folder = _folder(workspace, name)
    found = _summary(folder)
    if not sure:
        raise UsageError(
            f"this deletes {len(found.checkpoints)} checkpoints and {len(found.backups)} backups"
            f" ({found.bytes / 1e6:.0f} MB) for ever",
            where=folder,
            mend="Say --yes to do it.",
        )
    with model_lock(folder, "deleted"), storage_errors(folder):
        remove_leftovers(folder.parent)
        doomed = part_path(folder)
        folder.rename(doomed)  # at once, so that no half of it can be taken for a model
        shutil.rmtree(doomed)
    return found


def make_timelapse(
    workspace: Workspace, name: str | None = None, rate: float = 12.0, progress: Progress = SILENT
) -> Path:
    """Make a film of a model's preview history, ``rate`` pictures a second, signed like every result.

    Raises MissingError where no history was kept, MediaError, StorageError.
    """
    import recaster
    from recaster.project.people import disclosures
    from recaster.project.steps import default_identity_folder
    from recaster.provenance.certificate import local_identity
    from recaster.provenance.sign import sign
    from recaster.train.preview import PREVIEWS

    folder = _folder(workspace, name)
    place = folder / PREVIEWS
    paths = sorted(place.glob("*.jpg"), key=lambda path: (len(path.stem), path.stem)) if place.is_dir() else []
    paths = [path for path in paths if re.fullmatch(r"\d{8,}", path.stem)]
    if not paths:
        raise MissingError(
            "there is no preview history", where=folder, mend="Train with --preview-history to keep every preview."
        )
    made, unsigned = folder / TIMELAPSE, folder / ".timelapse.part.mp4"
    try:
        _film(paths, unsigned, Fraction(rate).limit_denominator(1001), progress)
        identity = local_identity(default_identity_folder())
        sign(unsigned, made, identity=identity, version=recaster.__version__, likeness=disclosures(workspace, SILENT))
    finally:
        with suppress(OSError):
            unsigned.unlink(missing_ok=True)
    return made


def _film(paths: list[Path], output: Path, rate: Fraction, progress: Progress) -> None:
    """All pictures in the size of the newest, made even."""
    from recaster.media.pictures import read_picture
    from recaster.media.writer import FrameWriter

    height, width = read_picture(paths[-1]).shape[:2]
    size = width + width % 2, height + height % 2
    with (
        progress.stage("timelapse", len(paths), "pictures"),
        FrameWriter(output, width=size[0], height=size[1], rate=rate) as writer,
    ):
        for path in paths:
            try:
                writer.write(_fitted(read_picture(path), *size))
            except MediaError as error:
                progress.note(f"left out: {error}")
            progress.advance()


def _fitted(picture: Picture, width: int, height: int) -> Picture:
    """``picture`` in the upper left corner of a canvas, shrunk or enlarged where one side would not fit."""
    import cv2
    import numpy as np

    rows, columns = picture.shape[:2]
    if abs(rows - height) > 1 or abs(columns - width) > 1:
        scale = min(width / columns, height / rows)
        wanted = max(1, int(columns * scale)), max(1, int(rows * scale))
        picture = np.asarray(cv2.resize(picture, wanted, interpolation=cv2.INTER_AREA))
        rows, columns = picture.shape[:2]
    bottom, right = height - rows, width - columns
    return np.asarray(np.pad(picture, ((0, bottom), (0, right), (0, 0)), mode="edge"))


def _names(workspace: Workspace) -> list[str]:
    folders = (workspace.folder / "model").glob("*")
    return sorted(folder.name for folder in folders if _is_model(folder) and not folder.name.startswith("."))


def _is_model(folder: Path) -> bool:
    return any((folder / place).is_dir() for place in (FOLDER, BACKUPS))


def _folder(workspace: Workspace, name: str | None) -> Path:
    folder = workspace.model(chosen_name(workspace, name))
    if not _is_model(folder):
        raise MissingError(
            "there is no saved model",
            where=folder,
            mend=f"Saved models here: {', '.join(_names(workspace)) or 'none'}; choose one with --name.",
        )
    return folder


@contextmanager
def _writing(workspace: Workspace, name: str | None, doing: str) -> Iterator[Path]:
    """The folder of a model that no other process changes inside the block."""
    folder = _folder(workspace, name)
    with model_lock(folder, doing):
        remove_leftovers(folder / FOLDER)
        yield folder


def _newest(folder: Path, progress: Progress) -> Checkpoint:
    checkpoint = latest(folder, progress)
    if checkpoint is None:
        raise MissingError("there is no checkpoint", where=folder, mend="Train first: recast train WORKSPACE.")
    return checkpoint


def _backup(folder: Path, checkpoint: Checkpoint) -> Path:
    keep = checkpoint.state.train_options.get("backups", TrainOptions().backups)
    return make_backup(folder, checkpoint.path, int(keep))


def _summary(folder: Path) -> ModelSummary:
    checkpoints, kept = paths_of(folder), backups(folder)
    architecture, iteration = "unknown", None
    for path in reversed([*kept, *checkpoints]):
        with suppress(CheckpointError):
            state = read_state(path)
            architecture, iteration = state.architecture, state.iteration
            break
    return ModelSummary(
        name=folder.name,
        folder=folder,
        architecture=architecture,
        iteration=iteration,
        bytes=_size(folder),
        checkpoints=tuple(map(iteration_of, checkpoints)),
        backups=tuple(map(iteration_of, kept)),
    )


def _size(folder: Path) -> int:
    """Bytes of all files; what has several names counts once."""
    sizes = {}
    for path in folder.rglob("*"):
        with suppress(OSError):
            found = path.lstat()
            if path.is_file() and not path.is_symlink():
                sizes[(found.st_dev, found.st_ino)] = found.st_size
    return sum(sizes.values())
