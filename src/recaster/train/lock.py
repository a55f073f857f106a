"""One writer for each model: a second process that wants to change it is told so at once."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from recaster.errors import RecasterError
from recaster.files import storage_errors


class ModelInUseError(RecasterError):
    """Another process is changing the model."""


@contextmanager
def model_lock(folder: Path, doing: str = "trained", *, write: bool = True) -> Iterator[None]:
    """Inside the block no other process may change the model in ``folder``; without ``write`` nothing is locked.

    The system holds the lock, so it goes with the process, however that ends. Its file lies beside the folder, which
    can so be renamed and deleted inside the block. Raises ModelInUseError when it is taken, StorageError.
    """
    if not write:
        yield
        return
    # By its real path, so that two ways to the folder lead to one lock.
    folder = folder.resolve()
    lock_file, holder = (folder.with_name(f".{folder.name}.{suffix}") for suffix in ("lock", "lock.json"))
    with storage_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock = FileLock(lock_file).acquire(blocking=False).lock
        except Timeout as error:
            raise ModelInUseError(
                f"the model is {_holder(holder)}",
                where=folder,
                mend="Stop it there or wait until it is done, or work on another model with --name.",
            ) from error
    try:
        with suppress(OSError):  # who holds it is only told for people's sake
            since = datetime.now().astimezone().isoformat(" ", "seconds")
            holder.write_text(json.dumps({"doing": doing, "process": os.getpid(), "since": since}), encoding="utf-8")
        yield
    finally:
        with suppress(OSError):
            holder.unlink(missing_ok=True)
        lock.release()


def _holder(path: Path) -> str:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return f"being {found['doing']} by process {found['process']} since {found['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "in use by another process"
