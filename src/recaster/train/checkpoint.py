"""Saved models: ``checkpoints/<iteration>/``, each a folder that describes itself and is whole or not there.

::

    checkpoints/00001500/
      weights.safetensors      the network
      critics.safetensors      networks that only judge it, where there are any
      average.safetensors      the network's weights averaged over time, where that was asked for
      optimizer.safetensors    the optimizers' tensors, named <weight>:<kind>
      state.json               what was trained, how far, with which options, and the state of all random numbers;
                               sizes and SHA-256 of the other files, and of itself

A folder is written beside its place, flushed to the disk and renamed; what is damaged later is found by the checksums.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from torch import Tensor

from recaster.errors import CheckpointError, MissingError
from recaster.files import atomic_folder, flush_to_disk, sha256_file, storage_errors
from recaster.nets.architecture import find_architecture
from recaster.options import Options, from_mapping
from recaster.progress import SILENT, Progress
from recaster.train.tensorfile import StoredFile, read_tensors, write_tensors

if TYPE_CHECKING:
    from recaster.nets.autoencoder import FaceNet

FOLDER, BACKUPS = "checkpoints", "backups"
FORMAT = 2
STATE = "state.json"
_FIRST_FORMAT = 1
"""It knew neither critics nor averages, and numbered the optimizer's tensors instead of naming them."""


@dataclass(frozen=True)
class Contents:
    """The tensors of a saved model by name; ``critics`` and ``average`` are empty in most."""

    weights: Mapping[str, Tensor]
    critics: Mapping[str, Tensor] = field(default_factory=dict)
    average: Mapping[str, Tensor] = field(default_factory=dict)
    optimizer: Mapping[str, Tensor] = field(default_factory=dict)


def file_of(part: str) -> str:
    """The file that holds one part of :class:`Contents`."""
    return f"{part}.safetensors"


_NEEDED = {file_of("weights"), file_of("optimizer")}


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Contents of ``state.json``.

    ``seconds`` were spent on training over all sessions. ``random`` holds the states of the generators, ``numbers``
    the optimizers' values that are no tensors. ``history`` has an entry for each change: its iteration and what it was.
    ``rate`` is what the learning rate is multiplied by after ``rollbacks`` returns to an earlier checkpoint.
    ``execution`` says how it was computed, ``pretrained`` whether the training so far was of faces in general.
    """

    architecture: str
    iteration: int
    seconds: float
    net_options: dict[str, Any]
    train_options: dict[str, Any]
    random: dict[str, Any]
    history: list[dict[str, Any]] = []
    numbers: dict[str, Any] = {}
    rate: float = 1.0
    rollbacks: int = 0
    execution: dict[str, str] = {}
    pretrained: bool = False
    batch_size: int = 0
    files: dict[str, StoredFile] = {}
    format: int = FORMAT
    sha256: str = ""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk whose checksums are right."""

    path: Path
    state: State

    def contents(self, progress: Progress = SILENT) -> Contents:
        """All tensors, on the CPU, read from the disk when they are used.

        Those that a newer version of the program cannot use any more are left out with a note.
        """
        parts = {item.name: self._read(item.name) for item in fields(Contents)}
        if self.state.format == _FIRST_FORMAT:
            parts["optimizer"] = {}
            progress.note(f"{self.path}: saved by an older Recaster; the optimizer starts anew")
        return Contents(**parts)

    def averaged(self) -> dict[str, Tensor]:
        """The network's weights as the swap wants them: averaged over time where they have been."""
        return {**self._read("weights"), **self._read("average")}

    def load_weights(self, net: torch.nn.Module, *, averaged: bool = False) -> None:
        """Give ``net`` the saved weights. Raises CheckpointError where it is another network."""
        try:
            net.load_state_dict(self.averaged() if averaged else self._read("weights"))
        except RuntimeError as error:
            raise CheckpointError(
                "the saved weights do not fit the network that these options describe",
                where=self.path,
                mend="Use the options it was made with (they are in its state.json), or train under another name.",
            ) from error

    def _read(self, part: str) -> dict[str, Tensor]:
        name = file_of(part)
        if name not in self.state.files:
            return {}
        try:
            tensors = read_tensors(self.path / name)
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{name} cannot be read any more", where=self.path, mend="Run again to use the newest checkpoint."
            ) from error
        if self.state.format == _FIRST_FORMAT and self.state.architecture == "h64":
            return {_name_since_format_2(name): tensor for name, tensor in tensors.items()}
        return tensors


@dataclass(frozen=True)
class LoadedNet:
    """A trained network, ready to be asked: in evaluation mode, without gradients."""

    net: FaceNet
    architecture: str
    net_options: Options
    iteration: int


def save(folder: Path, state: State, contents: Contents) -> Path:
    """Write a checkpoint into ``folder``/checkpoints and give its path; one of the same iteration is replaced.

    Raises StorageError, after which everything older is as it was.
    """
    path = folder / FOLDER / f"{state.iteration:08d}"
    with new_folder(path) as part:
        files = {}
        for item in fields(Contents):
            name = file_of(item.name)
            if name in _NEEDED or getattr(contents, item.name):
                files[name] = write_tensors(part / name, getattr(contents, item.name))
        document = msgspec.to_builtins(msgspec.structs.replace(state, files=files, format=FORMAT, sha256=""))
        document["sha256"] = _own_hash(msgspec.json.encode(document))
        (part / STATE).write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
    return path


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Like ``atomic_folder``, but ``path`` may exist: it is deleted when all of the new folder is on the disk.

    Raises StorageError.
    """
    if not path.exists():
        with atomic_folder(path) as part:
            yield part
        return
    # Names that the next run's remove_leftovers knows.
    new, old = (path.with_name(f".{path.name}.part-{word}") for word in ("new", "old"))
    for place in (new, old):
        shutil.rmtree(place, ignore_errors=True)
    with atomic_folder(new) as part:
        yield part
    with storage_errors(path):
        path.rename(old)
        new.rename(path)
        flush_to_disk(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def set_aside(checkpoint: Path, word: str = "replaced") -> Path:
    """Rename a checkpoint to ``<iteration>.<word>``, with a number where that is taken. Raises StorageError."""
    aside, count = checkpoint.with_name(f"{checkpoint.name}.{word}"), 1
    while aside.exists():
        count += 1
        aside = checkpoint.with_name(f"{checkpoint.name}.{word}-{count}")
    with storage_errors(checkpoint):
        checkpoint.rename(aside)
        flush_to_disk(aside.parent)
    return aside


def latest(folder: Path, progress: Progress = SILENT) -> Checkpoint | None:
    """The newest sound checkpoint of the model in ``folder``; None where nothing was ever saved.

    Damaged ones are skipped with a note. Raises CheckpointError when all are damaged, one is of a newer format, or
    only backups are left.
    """
    paths = paths_of(folder)
    for path in reversed(paths):
        try:
            return open_checkpoint(path)
        except DamagedError as damage:
            if path.exists():
                progress.note(f"{path}: the checkpoint is damaged ({damage.reason}); the one before it is used")
    if not set(paths_of(folder)) <= set(paths):
        return latest(folder, progress)  # a training has gone on meanwhile, and deleted what was found here
    if paths or ((folder / FOLDER).is_dir() and paths_of(folder, BACKUPS)):
        raise CheckpointError(
            "all checkpoints are damaged" if paths else "no checkpoint is left",
            where=folder / FOLDER,
            mend="Bring back a copy of one (a backup: recast model restore WORKSPACE), or delete the model's folder to"
            " train from the start.",
        )
    return None


class DamagedError(CheckpointError):
    """A checkpoint that is not what was written; ``reason`` says in what."""

    def __init__(self, reason: str, where: Path) -> None:
        super().__init__(f"the checkpoint is damaged ({reason})", where=where, mend="Use another one.")
        self.reason = reason


def open_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint in the folder ``path``, all of it checked. Raises DamagedError; CheckpointError for a newer
    format.
    """
    state = read_state(path)
    with _damage(path):
        for name, stored in state.files.items():
            if (path / name).stat().st_size != stored.size or sha256_file(path / name) != stored.sha256:
                raise DamagedError(f"{name} has changed", path)
    return Checkpoint(path, state)


def read_state(path: Path) -> State:
    """What the checkpoint in the folder ``path`` says of itself; its other files are not looked at.

    Raises DamagedError; CheckpointError for a newer format.
    """
    with _damage(path):
        text = (path / STATE).read_bytes()
        written = msgspec.json.decode(text, type=_Versioned).format
        if written > FORMAT:
            raise CheckpointError(f"of format {written}, newer than {FORMAT}", where=path, mend="Update Recaster.")
        state = msgspec.json.decode(text, type=State)
        if state.sha256 != _own_hash(text) or _NEEDED - state.files.keys():
            raise DamagedError(f"{STATE} has changed", path)
    return state if written > _FIRST_FORMAT else msgspec.structs.replace(state, numbers={})


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise DamagedError(f"{Path(error.filename).name} is missing", path) from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DamagedError(f"{STATE} cannot be read", path) from error
    except OSError as error:
        raise DamagedError(f"{error.strerror}", path) from error


def paths_of(folder: Path, place: str = FOLDER) -> list[Path]:
    """The checkpoints of the model in ``folder``, or its BACKUPS, oldest first, sound or not."""
    if not (folder / place).is_dir():
        return []
    found = (path for path in (folder / place).iterdir() if re.fullmatch(r"\d{8,}", path.name) and path.is_dir())
    return sorted(found, key=iteration_of)


def iteration_of(path: Path) -> int:
    """The iteration that a checkpoint's folder is named by."""
    return int(path.name)


def set_aside_newer(folder: Path, checkpoint: Checkpoint) -> None:
    """Rename what is newer than the newest sound checkpoint to ``<name>.damaged``: its place will be needed again."""
    for path in paths_of(folder):
        if iteration_of(path) > checkpoint.state.iteration:
            aside = path.with_name(f"{path.name}.damaged")
            shutil.rmtree(aside, ignore_errors=True)
            with storage_errors(path):
                path.rename(aside)


def prune(folder: Path, keep: int, save_every: int, *, finished: bool = False) -> None:
    """Delete checkpoints that are not needed any more.

    The last ``keep`` at multiples of ``save_every`` stay. While the training goes on, so do the last ``keep`` of any
    kind; once it is finished, of the others only the newest, so that what is left does not depend on interruptions.
    """
    paths = paths_of(folder)
    regular = [path for path in paths if save_every and iteration_of(path) and iteration_of(path) % save_every == 0]
    kept = sorted({*regular, *paths[-1:]}, key=iteration_of)[-keep:] if finished else [*regular[-keep:], *paths[-keep:]]
    for path in set(paths).difference(kept):
        with suppress(OSError):
            shutil.rmtree(path)


def load_net(folder: Path, device: torch.device) -> LoadedNet:
    """The newest sound network of the model in ``folder``, averaged over time where it has been.

    It is built as the checkpoint says; torch's random numbers are left alone. Raises MissingError, CheckpointError.
    """
    checkpoint = latest(folder)
    if checkpoint is None:
        raise MissingError("there is no trained model", where=folder, mend="Train one first: recast train WORKSPACE.")
    architecture = find_architecture(checkpoint.state.architecture)
    options = from_mapping(architecture.options, checkpoint.state.net_options, where=checkpoint.path / STATE)
    with torch.random.fork_rng(devices=[]):
        net = architecture.build(options)
    checkpoint.load_weights(net, averaged=True)
    net.to(device).eval().requires_grad_(False)
    return LoadedNet(net, architecture.name, options, checkpoint.state.iteration)


def _name_since_format_2(name: str) -> str:
    """H64's decoders had their stages under other names at first, and the layers behind them apart."""
    name = re.sub(r"^(decoder_\w+\.(?:rgb|mask))\.(weight|bias)$", r"\1.3.\2", name)
    return name.replace(".mask_body.", ".mask.").replace(".body.", ".rgb.")


class _Versioned(msgspec.Struct):
    """Reads the format alone, because the rest may have changed with it."""

    format: int


def _own_hash(text: bytes) -> str:
    """Of the document without its hash, in an order of its own: whatever version has written it."""
    document = {**msgspec.json.decode(text), "sha256": ""}
    return hashlib.sha256(msgspec.json.encode(document, order="sorted")).hexdigest()
