"""Files a user can trust: written beside their place, flushed to the disk, then renamed over it.

A process killed at any moment leaves the old file, or the new one, or a hidden ``.name.part.ext`` beside it that the
next run of the step removes. Names may hold spaces and any Unicode.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from recaster.errors import StorageError

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff"})
"""Pictures recognised in folders, compared in lower case."""

_PART = ".part"


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals inside the block into a StorageError about ``path``."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise StorageError(
                "the disk is full", where=path, mend="Free some space and run again; what was made is kept."
            ) from error
        if error.errno in {errno.EROFS, errno.EACCES, errno.EPERM}:
            raise StorageError(
                "cannot be written",
                where=path,
                mend="Choose a folder that you may write to, or change its rights.",
            ) from error
        if error.errno in {errno.EIO, errno.ENXIO, errno.ESTALE, errno.ETIMEDOUT}:
            raise StorageError(
                f"the disk fails ({error.strerror})", where=path, mend="Check the disk or the connection to it."
            ) from error
        raise


def part_path(path: Path) -> Path:
    """Where ``path`` is written before it is renamed: hidden, same folder, same suffix."""
    return path.with_name(f".{path.stem}{_PART}{path.suffix}")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a path to write to; when the block ends well, flush it to the disk and rename it to ``path``.

    On an error the half-written file is removed and ``path`` is as it was.
    """
    part = part_path(path)
    try:
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield part
            flush_to_disk(part)
            part.replace(path)
            flush_to_disk(path.parent)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically. Raises StorageError."""
    with atomic_path(path) as part:
        part.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 with Unix line ends to ``path`` atomically. Raises StorageError."""
    write_bytes(path, text.encode("utf-8"))


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder to fill; when the block ends well, flush all of it and rename it to ``path``.

    ``path`` must not exist yet. On an error the folder is removed.
    """
    part = part_path(path)
    shutil.rmtree(part, ignore_errors=True)
    try:
        with storage_errors(path):
            part.mkdir(parents=True)
            yield part
            for file in part.rglob("*"):
                if file.is_file():
                    flush_to_disk(file)
            flush_to_disk(part)
            part.replace(path)
            flush_to_disk(path.parent)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed run left half-written in ``folder`` (not in its subfolders)."""
    if not folder.is_dir():
        return
    for path in folder.glob(f".*{_PART}*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with storage_errors(path):
                path.unlink(missing_ok=True)


def flush_to_disk(path: Path) -> None:
    """fsync a file or, where the system allows it, a folder."""
    flags = os.O_RDONLY if path.is_dir() else os.O_RDWR
    try:
        handle = os.open(path, flags)
    except OSError:
        if path.is_dir():
            return  # Windows opens no folders: the rename alone has to do there
        raise
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def list_pictures(folder: Path) -> list[Path]:
    """The pictures directly in ``folder``, sorted by name; hidden files are not pictures."""
    return sorted(
        (
            path
            for path in folder.iterdir()
            if path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".") and path.is_file()
        ),
        key=lambda path: path.name,
    )


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of the file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
