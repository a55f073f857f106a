"""The errors a caller can meet. Each is one line: what was wrong, where, and what to do.

::

    RecasterError                exit code 1
    ├── UsageError               2    a mistake in the call: an unknown name, a value out of range
    ├── InputError               1    something that was given cannot be used
    │   ├── MediaError                a video or picture: unreadable, empty, truncated
    │   ├── RecordError               a face record: missing, corrupt, from a newer version
    │   └── CheckpointError           a saved model: torn, from another architecture
    ├── StorageError             1    the disk: full, read-only, no permission
    ├── MissingError             1    something this step needs is not there yet (faces, a model, weights)
    └── Interrupted              130  stopped on request; everything finished so far is kept
"""

from __future__ import annotations

from pathlib import Path


class RecasterError(Exception):
    """Base of all errors that are meant for a user.

    ``what`` says what was wrong, ``where`` the file or value concerned, ``frame`` the frame's name or index inside
    it, ``mend`` what to do. ``str(error)`` is one line made of them.
    """

    exit_code = 1

    def __init__(
        self, what: str, *, where: str | Path | None = None, frame: str | int | None = None, mend: str = ""
    ) -> None:
        self.what = what
        self.where = None if where is None else str(where)
        self.frame = frame
        self.mend = mend
        super().__init__(self.line())

    def line(self) -> str:
        """The whole message on one line."""
        place = ", ".join(part for part in (self.where, None if self.frame is None else f"frame {self.frame}") if part)
        text = f"{place}: {self.what}" if place else self.what
        text = " ".join(text.split())
        if self.mend:
            text = f"{text.rstrip('.')}. {' '.join(self.mend.split())}"
        return text


class UsageError(RecasterError):
    """A mistake in the call: an unknown name, a missing argument, a value out of its range."""

    exit_code = 2


class InputError(RecasterError):
    """A file or value that was given cannot be used."""


class MediaError(InputError):
    """A video or picture that cannot be read, is empty, or ends too early."""


class RecordError(InputError):
    """A face record that is missing, corrupt, or written by a newer version."""


class CheckpointError(InputError):
    """A saved model that is torn, or belongs to another architecture or options."""


class StorageError(RecasterError):
    """The disk said no: full, read-only, or no permission."""


class MissingError(RecasterError):
    """Something that this step needs does not exist yet."""


class Interrupted(RecasterError):  # noqa: N818 - a request, not a fault
    """Work was stopped on request; what was finished is kept."""

    exit_code = 130
