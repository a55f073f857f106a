"""A command of the user's that runs every so many iterations: to sync, to send a message, to try the model."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

from recaster.errors import StorageError, UsageError
from recaster.files import storage_errors

OUTPUT = "hook.log"
"""What the last run of the command printed, in the model's folder."""


def check_hook(command: str) -> None:
    """Find mistakes before the training begins; an empty command is none. Raises UsageError."""
    if command:
        _program(_words(command))


def run_hook(command: str, folder: Path, iteration: int) -> str | None:
    """Run ``command`` with the model's ``folder`` and the ``iteration`` as its last words, and wait for its end.

    No shell is involved. The two are in the environment as well, as RECASTER_MODEL and RECASTER_ITERATION. What it
    prints goes to OUTPUT in ``folder``. Gives what went wrong in a sentence, else None: a hook stops no training.
    """
    place = str(folder.resolve())
    environment = {**os.environ, "RECASTER_MODEL": place, "RECASTER_ITERATION": str(iteration)}
    output = folder / OUTPUT
    try:
        words = _words(command)
        with storage_errors(output), output.open("wb") as file:
            # Its input is not the terminal's: there the keys of the training are read.
            done = subprocess.run(
                [_program(words), *words[1:], place, str(iteration)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                check=False,
            )
    except (OSError, UsageError, StorageError) as error:
        return f"the command did not run at iteration {iteration}: {error}"
    if done.returncode:
        return f"the command ended with {done.returncode} at iteration {iteration}: {_last_line(output)} ({output})"
    return None


def split_command(command: str, *, windows: bool) -> list[str]:
    """The words of a command as the system's users quote them. Raises ValueError for a quotation without an end.

    On Windows only double quotes count, and a backslash is part of a path.
    """
    if not windows:
        return shlex.split(command)
    if command.count('"') % 2:
        raise ValueError("No closing quotation")
    return [word.replace('"', "") for word in re.findall(r'(?:[^\s"]|"[^"]*")+', command)]


def _words(command: str) -> list[str]:
    try:
        words = split_command(command, windows=os.name == "nt")
    except ValueError as error:
        raise UsageError(f"run: {command!r} is no command", mend="A quotation mark is missing.") from error
    if not words:
        raise UsageError("run: the command is empty", mend="Give a program and its arguments.")
    return words


def _program(words: list[str]) -> str:
    found = shutil.which(words[0])
    if found is None:
        raise UsageError(
            f"run: there is no program {words[0]!r}",
            mend="Give its whole path, and make sure that it may be executed; for a line of shell write sh -c '...'.",
        )
    return found


def _last_line(path: Path) -> str:
    lines = path.read_bytes()[-1000:].decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
