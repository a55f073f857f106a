"""The command ``recast``: finds the verb, runs it, and turns errors into one line and an exit code."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from cyclopts import App, CycloptsError, UnknownCommandError, UnusedCliTokensError

import recaster
from recaster.cli.common import Result, plain
from recaster.errors import RecasterError, UsageError

if TYPE_CHECKING:
    from pydantic import ValidationError

HELP = """Learn two faces, and render one person's face onto another's performance in a finished shot.

A job in one go: recast new film --src anna.mp4 --dst shot.mp4 --basis "signed release", then recast run film.
"""
VERBS = {
    "new": "Make a workspace around two clips.",
    "run": "Do everything that is not done yet.",
    "extract": "Find the faces of one clip.",
    "train": "Train a model on the two facesets.",
    "model": "List, back up, restore, rename or delete saved models.",
    "merge": "Render the new face into the target clip, signed.",
    "sheet": "Draw source, target and swap side by side.",
    "verify": "Tell whether a file is signed, altered or unsigned.",
    "info": "Say all that is known about a file or folder.",
    "plan": "Measure what a training would cost on this device.",
    "doctor": "Say what works on this machine and what does not.",
}
WITH_NET_OPTIONS = ("run", "train", "plan")
"""Verbs whose flags depend on the chosen model."""
INTERRUPTED = 130


def main(tokens: Sequence[str] | None = None) -> int:
    """Run one command line; the exit code: 0 done, 2 a mistake in the call, 1 a failed step, 130 interrupted."""
    words = list(sys.argv[1:] if tokens is None else tokens)
    with _one_voice(), _termination_like_interrupt():
        return _run(words)


def _run(words: Sequence[str]) -> int:
    try:
        return _show(_app(words)(words, exit_on_error=False, print_error=False, result_action="return_value"), words)
    except CycloptsError as error:
        return _fail(UsageError(_usage_text(error), mend="See recast --help."), words)
    except RecasterError as error:
        return _fail(error, words)
    except KeyboardInterrupt:
        return _complain("interrupted; what was finished is kept, run the same command to go on", INTERRUPTED, words)
    except BrokenPipeError:
        _forget_output()
        return 1
    except Exception as error:
        if "--debug" in words:
            traceback.print_exc()
        return _complain(f"{type(error).__name__}: {error} (unexpected; --debug shows where)", 1, words)


def _app(words: Sequence[str]) -> App:
    app = App(
        name="recast",
        help=HELP,
        version=recaster.__version__,
        help_format="plaintext",
        suppress_keyboard_interrupt=False,
    )
    chosen = words[0] if words else ""
    for place, (name, help_text) in enumerate(VERBS.items()):
        if name == chosen and name in WITH_NET_OPTIONS:
            module = importlib.import_module(f"recaster.cli.{name}")
            app.command(module.command_for(words[1:]), name=name)
        elif name == chosen:
            app.command(f"recaster.cli.{name}:{name}", name=name)
        else:
            app.command(_elsewhere, name=name, help=help_text, sort_key=place)
    return app


def _elsewhere() -> None:
    """Stands for a verb that was not called, so that its module need not be imported."""


@contextmanager
def _one_voice() -> Iterator[None]:
    """Of the processes that torchrun has started only the first one speaks and listens."""
    if os.environ.get("RANK", "0") == "0":
        yield
        return
    keyboard, sys.stdin = sys.stdin, None
    try:
        with Path(os.devnull).open("w") as nobody, redirect_stdout(nobody), redirect_stderr(nobody):
            yield
    finally:
        sys.stdin = keyboard


@contextmanager
def _termination_like_interrupt() -> Iterator[None]:
    """Inside the block, SIGTERM does what Ctrl-C does at that moment; only the main thread may arrange it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _interrupt(number: int, frame: FrameType | None) -> None:
    # A step may have its own handler, which waits for a moment at which stopping leaves nothing half done.
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):
        raise KeyboardInterrupt
    handler(number, frame)


def _forget_output() -> None:
    """The reader has gone: what is left in the buffer must not complain again at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show(result: Any, words: Sequence[str]) -> int:
    if not isinstance(result, Result):
        return 0
    if "--json" in words:
        print(json.dumps(plain(result.figures)), flush=True)
    else:
        print("\n".join(result.lines), flush=True)
    return result.exit_code


def _fail(error: RecasterError, words: Sequence[str]) -> int:
    if "--debug" in words:
        traceback.print_exc()
    return _complain(str(error), error.exit_code, words)


def _complain(text: str, code: int, words: Sequence[str]) -> int:
    line = " ".join(text.split())
    print(f"recast: {line}", file=sys.stderr)
    if "--json" in words:
        print(json.dumps({"error": line, "exit_code": code}))
    return code


def _usage_text(error: CycloptsError) -> str:
    from pydantic import ValidationError

    if isinstance(error.__cause__, ValidationError):
        return _validation_text(error.__cause__)
    if isinstance(error, UnknownCommandError):
        return f"there is no command {(error.unused_tokens or [''])[0]!r}; known: {', '.join(VERBS)}"
    if isinstance(error, UnusedCliTokensError):
        return f"too many arguments: {' '.join(error.unused_tokens or [])}"
    return str(error)


def _validation_text(error: ValidationError) -> str:
    problem = error.errors()[0]
    flag = "--" + "-".join(str(part) for part in problem["loc"]).replace("_", "-")
    return f"{flag}: {problem['msg'].lower()}, got {problem['input']!r}"
