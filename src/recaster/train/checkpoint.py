"""Saved models: ``checkpoints/<iteration>/``, each a folder that describes itself and is whole or not there.

::

    checkpoints/00001500/
      weights.safetensors      the network
      optimizer.safetensors    the optimizer's tensors, named <parameter>.<kind>
      state.json               what was trained, how far, with which options, and the state of all random numbers;
                               sizes and SHA-256 of the other files, and of itself

A folder is written beside its place, flushed to the disk and renamed; what is damaged later is found by the checksums.
"""

from __future__ import annotations

import errno
import hashlib
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from recaster.errors import CheckpointError, MissingError
from recaster.files import atomic_folder, sha256_file, storage_errors
from recaster.nets.architecture import find_architecture
from recaster.options import Options, from_mapping
from recaster.progress import SILENT, Progress

if TYPE_CHECKING:
    from recaster.nets.autoencoder import FaceNet

FOLDER = "checkpoints"
FORMAT = 1
WEIGHTS, OPTIMIZER, STATE = "weights.safetensors", "optimizer.safetensors", "state.json"


class StoredFile(msgspec.Struct, frozen=True):
    """What a file of a checkpoint must be: bytes and hex SHA-256."""

    size: int
    sha256: str


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Contents of ``state.json``.

    ``seconds`` were spent on training over all sessions. ``random`` holds the states of the generators. ``history`` has
    one entry for each session that began with other options: its iteration, and name → [old, new]. ``numbers`` are the
    optimizer's values that are no tensors.
    """

    architecture: str
    iteration: int
    seconds: float
    net_options: dict[str, Any]
    train_options: dict[str, Any]
    random: dict[str, Any]
    history: list[dict[str, Any]] = []
    numbers: dict[str, Any] = {}
    files: dict[str, StoredFile] = {}
    format: int = FORMAT
    sha256: str = ""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk whose checksums are right."""

    path: Path
    state: State

    def load_weights(self, net: torch.nn.Module) -> None:
        """Give ``net`` the saved weights. Raises CheckpointError where it is another network."""
        try:
            net.load_state_dict(load_file(self.path / WEIGHTS))
        except RuntimeError as error:
            raise CheckpointError(
                "the saved weights do not fit the network that these options describe",
                where=self.path,
                mend="Use the options it was made with (they are in its state.json), or train under another name.",
            ) from error

    def load_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Give ``optimizer`` the saved moments; its options stay its own."""
        moments: dict[int, dict[str, Any]] = {}
        values: dict[str, Any] = {**load_file(self.path / OPTIMIZER), **self.state.numbers}
        for name, value in values.items():
            row, kind = name.split(".", 1)
            moments.setdefault(int(row), {})[kind] = value
        optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})


@dataclass(frozen=True)
class LoadedNet:
    """A trained network, ready to be asked: in evaluation mode, without gradients."""

    net: FaceNet
    architecture: str
    net_options: Options
    iteration: int


def save(folder: Path, state: State, net: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Path:
    """Write a checkpoint into ``folder``/checkpoints and give its path.

    Raises StorageError, after which everything older is as it was.
    """
    path = folder / FOLDER / f"{state.iteration:08d}"
    tensors, numbers = _optimizer_values(optimizer)
    with atomic_folder(path) as part, _safetensor_errors():
        save_file({name: value.contiguous() for name, value in net.state_dict().items()}, part / WEIGHTS)
        save_file(tensors, part / OPTIMIZER)
        files = {
            name: StoredFile((part / name).stat().st_size, sha256_file(part / name)) for name in (WEIGHTS, OPTIMIZER)
        }
        state = msgspec.structs.replace(state, numbers=numbers, files=files, sha256="")
        state = msgspec.structs.replace(state, sha256=_own_hash(state))
        (part / STATE).write_bytes(msgspec.json.format(msgspec.json.encode(state), indent=1) + b"\n")
    return path


def latest(folder: Path, progress: Progress = SILENT) -> Checkpoint | None:
    """The newest sound checkpoint of the model in ``folder``; None where there is none at all.

    Damaged ones are skipped with a note. Raises CheckpointError when all are damaged, or one is of a newer format.
    """
    paths = paths_of(folder)
    for path in reversed(paths):
        try:
            return Checkpoint(path, _read(path))
        except _DamagedError as damage:
            progress.note(f"{path}: the checkpoint is damaged ({damage}); the one before it is used")
    if paths:
        raise CheckpointError(
            "all checkpoints are damaged",
            where=folder / FOLDER,
            mend="Bring back a copy of one, or delete the folder to train from the start.",
        )
    return None


def paths_of(folder: Path) -> list[Path]:
    """The checkpoints of the model in ``folder``, oldest first, sound or not."""
    place = folder / FOLDER
    if not place.is_dir():
        return []
    found = (path for path in place.iterdir() if re.fullmatch(r"\d{8,}", path.name) and path.is_dir())
    return sorted(found, key=_iteration)


def set_aside_newer(folder: Path, checkpoint: Checkpoint) -> None:
    """Rename what is newer than the newest sound checkpoint to ``<name>.damaged``: its place will be needed again."""
    for path in paths_of(folder):
        if _iteration(path) > checkpoint.state.iteration:
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
    regular = [path for path in paths if save_every and _iteration(path) % save_every == 0]
    kept = sorted({*regular, *paths[-1:]}, key=_iteration)[-keep:] if finished else [*regular[-keep:], *paths[-keep:]]
    for path in set(paths).difference(kept):
        with suppress(OSError):
            shutil.rmtree(path)


def load_net(folder: Path, device: torch.device) -> LoadedNet:
    """The newest sound network of the model in ``folder``. Raises MissingError, CheckpointError."""
    checkpoint = latest(folder)
    if checkpoint is None:
        raise MissingError("there is no trained model", where=folder, mend="Train one first: recast train WORKSPACE.")
    architecture = find_architecture(checkpoint.state.architecture)
    options = from_mapping(architecture.options, checkpoint.state.net_options, where=checkpoint.path / STATE)
    net = architecture.build(options)
    checkpoint.load_weights(net)
    net.to(device).eval().requires_grad_(False)
    return LoadedNet(net, architecture.name, options, checkpoint.state.iteration)


class _DamagedError(Exception):
    pass


class _Versioned(msgspec.Struct):
    """Reads the format alone, because the rest may have changed with it."""

    format: int


def _read(path: Path) -> State:
    try:
        text = (path / STATE).read_bytes()
        written = msgspec.json.decode(text, type=_Versioned).format
        if written > FORMAT:
            raise CheckpointError(f"of format {written}, newer than {FORMAT}", where=path, mend="Update Recaster.")
        state = msgspec.json.decode(text, type=State)
        if state.sha256 != _own_hash(state) or {WEIGHTS, OPTIMIZER} - state.files.keys():
            raise _DamagedError(f"{STATE} has changed")
        for name, stored in state.files.items():
            if (path / name).stat().st_size != stored.size or sha256_file(path / name) != stored.sha256:
                raise _DamagedError(f"{name} has changed")
    except FileNotFoundError as error:
        raise _DamagedError(f"{Path(error.filename).name} is missing") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _DamagedError(f"{STATE} cannot be read") from error
    except OSError as error:
        raise _DamagedError(f"{error.strerror}") from error
    return state


def _own_hash(state: State) -> str:
    return hashlib.sha256(msgspec.json.encode(msgspec.structs.replace(state, sha256=""), order="sorted")).hexdigest()


def _iteration(path: Path) -> int:
    return int(path.name)


def _optimizer_values(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, Any] = {}
    moments: Mapping[int, Mapping[str, Any]] = optimizer.state_dict()["state"]
    for row, values in moments.items():
        for kind, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{row}.{kind}"] = value.contiguous()
            else:
                numbers[f"{row}.{kind}"] = value
    return tensors, numbers


@contextmanager
def _safetensor_errors() -> Iterator[None]:
    """The library hides the operating system's number in its text; bring it back, so that a full disk is known."""
    try:
        yield
    except SafetensorError as error:
        found = re.search(r"os error (\d+)", str(error))
        raise OSError(int(found[1]) if found else errno.EIO, str(error)) from error
