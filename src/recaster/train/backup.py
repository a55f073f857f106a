"""Backups: checkpoints put aside in ``backups/<iteration>/``, where no training deletes them, and how to go back."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from recaster.errors import MissingError, UsageError
from recaster.files import remove_leftovers
from recaster.progress import SILENT, Progress
from recaster.train.checkpoint import (
    BACKUPS,
    FOLDER,
    Checkpoint,
    DamagedError,
    iteration_of,
    new_folder,
    open_checkpoint,
    paths_of,
    set_aside,
)


@dataclass(frozen=True)
class Restored:
    """A model that was set back to ``iteration``: ``source`` is what it came from, ``replaced`` what was set aside."""

    iteration: int
    source: Path
    checkpoint: Path
    replaced: tuple[Path, ...]


def make_backup(folder: Path, checkpoint: Path, keep: int) -> Path:
    """Put a checkpoint of the model in ``folder`` aside, and keep the newest ``keep`` backups; gives its path.

    It takes no room of its own where the disk allows hard links, until the checkpoint is deleted. Raises StorageError.
    """
    remove_leftovers(folder / BACKUPS)
    path = folder / BACKUPS / checkpoint.name
    if not _same(checkpoint, path):
        _copy(checkpoint, path)
    older = [other for other in paths_of(folder, BACKUPS) if other != path]
    for other in older[: max(0, len(older) + 1 - keep)]:
        with suppress(OSError):
            shutil.rmtree(other)
    return path


def backups(folder: Path) -> list[Path]:
    """The backups of the model in ``folder``, oldest first, sound or not."""
    return paths_of(folder, BACKUPS)


def restore_backup(folder: Path, which: int | None = None, progress: Progress = SILENT) -> Restored:
    """Go back to the newest sound backup, or to the backup or else the checkpoint of the iteration ``which``.

    It becomes the newest checkpoint; newer ones are renamed to ``<iteration>.replaced``, backups and all else stay.
    Killed half-way, it can be done again. Raises MissingError without any backup, UsageError where there is none of
    that iteration, DamagedError, StorageError.
    """
    found = _choose(folder, which, progress)
    path = folder / FOLDER / found.path.name
    remove_leftovers(path.parent)
    replaced = []
    if found.path != path and not _same(found.path, path):
        if path.exists():
            replaced.append(set_aside(path))
        _copy(found.path, path)
    newer = [other for other in paths_of(folder) if iteration_of(other) > iteration_of(path)]
    replaced += [set_aside(other) for other in newer]
    return Restored(found.state.iteration, found.path, path, tuple(replaced))


def _choose(folder: Path, which: int | None, progress: Progress) -> Checkpoint:
    if which is not None:
        return _of_iteration(folder, which)
    for path in reversed(backups(folder)):
        try:
            return open_checkpoint(path)
        except DamagedError as damage:
            progress.note(f"{path}: the backup is damaged ({damage.reason}); the one before it is used")
    raise MissingError(
        "there is no backup",
        where=folder,
        mend="Make backups with recast model backup WORKSPACE, or train with --backup-every-hours.",
    )


def _of_iteration(folder: Path, which: int) -> Checkpoint:
    places = [path for path in (*backups(folder), *paths_of(folder)) if iteration_of(path) == which]
    if not places:
        known = sorted({iteration_of(path) for path in (*paths_of(folder), *backups(folder))})
        raise UsageError(
            f"there is no backup or checkpoint of iteration {which}",
            where=folder,
            mend=f"There are: {', '.join(map(str, known)) or 'none'}.",
        )
    for path in places[:-1]:
        with suppress(DamagedError):
            return open_checkpoint(path)
    return open_checkpoint(places[-1])


def _same(one: Path, other: Path) -> bool:
    """Whether two folders hold the same sound checkpoint: there may be others of its iteration."""
    if other.exists():
        with suppress(DamagedError):
            return open_checkpoint(one).state.sha256 == open_checkpoint(other).state.sha256
    return False


def _copy(source: Path, target: Path) -> None:
    """A folder of the same files: links to them, or copies where the disk knows no links."""
    with new_folder(target) as part:
        for file in source.iterdir():
            if file.is_file():
                try:
                    os.link(file, part / file.name)
                except OSError:
                    shutil.copyfile(file, part / file.name)
