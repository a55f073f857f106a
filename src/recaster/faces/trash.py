"""Faces leave the faceset, never the disk: they are moved into a folder beside it, one a run."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

from recaster.errors import RecordError
from recaster.faces.embed import read_record
from recaster.faces.faceset import FaceSet
from recaster.files import storage_errors


class Trash:
    """``<folder>_trash/<UTC time>``, made when the first thing is moved there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.with_name(f"{folder.name}_trash") / datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        self.count = 0

    def take(self, path: Path) -> None:
        """Move a file or folder into the trash; one of the same name there stays. Raises StorageError."""
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            target = self.folder / path.name
            while target.exists():
                target = target.with_name(f"{target.stem}_{target.suffix}")
            path.replace(target)
        self.count += 1


def retire(folder: Path, runs: Collection[str], trash: Trash) -> None:
    """Move the faces of ``folder`` that the extractions ``runs`` made, and the debug pictures, into the trash.

    Faces copied in from other facesets and files of others stay.
    """
    if not runs:
        return
    for stored in FaceSet(folder).faces:
        if stored.record.run in runs:
            trash.take(stored.path)
    if debug_folder(folder).is_dir():
        trash.take(debug_folder(folder))


def make_way(path: Path, run: str, trash: Trash) -> None:
    """Move what lies at ``path`` into the trash unless the extraction ``run`` made it and may replace it."""
    if not path.exists():
        return
    try:
        record = read_record(path)
    except RecordError:
        record = None
    if record is None or record.run != run:
        trash.take(path)


def debug_folder(folder: Path) -> Path:
    """Where the debug pictures of a faceset's folder are."""
    return folder.with_name(f"{folder.name}_debug")
