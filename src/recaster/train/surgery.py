"""Changes to saved models beyond training: people exchanged, weights taken from another model, parts frozen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import nn

from recaster.errors import MissingError, UsageError
from recaster.progress import SILENT, Progress
from recaster.train.checkpoint import STATE, Checkpoint, Contents, State, latest, open_checkpoint

_OTHER = {"src": "dst", "dst": "src"}


def other_person(name: str) -> str:
    """The name of the same thing of the other person: in the first component, src <-> dst where they begin a word.

    ``decoder_src.up.weight`` gives ``decoder_dst.up.weight``; in the names of optimizers' tensors this holds for each
    of the names that ``/`` parts.
    """
    return "/".join(_exchange_first(part) for part in name.split("/"))


def _exchange_first(name: str) -> str:
    first, dot, rest = name.partition(".")
    return re.sub(r"(?:^|(?<=_))(?:src|dst)", lambda found: _OTHER[found[0]], first) + dot + rest


def exchange(contents: Contents) -> Contents:
    """The same model with its two people exchanged: what was learned of the source belongs to the target.

    Networks that judge begin anew, since they have learned to judge one certain person. Raises UsageError for a model
    that holds no person in parts of its own.
    """
    weights = _exchanged(contents.weights)
    if all(name == other_person(name) for name in weights):
        raise UsageError(
            "this model has no parts of one person alone, so there is nothing to exchange in it",
            mend="Exchange the two clips, with their faces, and go on training.",
        )
    if _shapes(weights) != _shapes(contents.weights):
        raise UsageError("the parts of the two people differ in this model, so they cannot be exchanged")
    optimizer = {
        name: tensor
        for name, tensor in contents.optimizer.items()
        if name.rpartition(":")[0].rpartition("/")[2] not in contents.critics
    }
    return Contents(weights, {}, _exchanged(contents.average), _exchanged(optimizer))


def exchange_state(state: State) -> State:
    """The state that belongs to :func:`exchange`; the change stands in its history."""
    feed = {name: _exchange_keys(value) if name == "feed" else value for name, value in state.random.items()}
    note = {"iteration": state.iteration, "exchanged": ["src", "dst"]}
    numbers = _exchange_keys(state.numbers)
    return msgspec.structs.replace(state, random=feed, numbers=numbers, history=[*state.history, note])


def _exchanged(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {other_person(name): tensor for name, tensor in tensors.items()}


def _shapes(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def _exchange_keys(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {other_person(name): _exchange_keys(item) for name, item in value.items()}
    return value


@dataclass(frozen=True)
class Transfer:
    """What a network took over: ``taken`` of its ``total`` numbers; ``fresh`` are the parts that keep their own, whole
    or in part, each with how many of its numbers it took and has.
    """

    source: Path
    taken: int
    total: int
    fresh: dict[str, tuple[int, int]]

    def line(self) -> str:
        """The same for people."""
        text = f"{self.taken:,} of {self.total:,} weights were taken from {self.source}"
        parts = (
            f"{part} (all {size:,})" if not taken else f"{part} ({size - taken:,} of {size:,})"
            for part, (taken, size) in self.fresh.items()
        )
        return f"{text}; fresh: {', '.join(parts)}" if self.fresh else text


def take_weights(net: nn.Module, source: Path, progress: Progress = SILENT) -> Transfer:
    """Copy into ``net`` the weights of the saved model ``source`` whose names and shapes are the same.

    ``source`` is a model's folder, or one of its checkpoints or backups. Raises MissingError where no model is,
    CheckpointError for a damaged one, UsageError where nothing fits.
    """
    checkpoint = _saved_model(source, progress)
    saved = checkpoint.averaged()
    taken: dict[str, int] = {}
    size: dict[str, int] = {}
    with torch.no_grad():
        for name, own in net.state_dict(keep_vars=True).items():
            part = name.split(".", 1)[0]
            size[part] = size.get(part, 0) + own.numel()
            if name in saved and saved[name].shape == own.shape:
                own.copy_(saved[name])
                taken[part] = taken.get(part, 0) + own.numel()
    if not taken:
        raise UsageError(
            f"no weight of this model ({checkpoint.state.architecture}) fits, by name and shape",
            where=checkpoint.path,
            mend="Take a model of the same architecture and dimensions.",
        )
    fresh = {part: (taken.get(part, 0), count) for part, count in size.items() if taken.get(part, 0) < count}
    return Transfer(checkpoint.path, sum(taken.values()), sum(size.values()), fresh)


def _saved_model(source: Path, progress: Progress) -> Checkpoint:
    if (source / STATE).is_file():
        return open_checkpoint(source)
    checkpoint = latest(source, progress)
    if checkpoint is None:
        raise MissingError(
            "there is no trained model to take weights from",
            where=source,
            mend="Give a model's folder: WORKSPACE/model/NAME.",
        )
    return checkpoint


def frozen_names(net: nn.Module, parts: tuple[str, ...]) -> set[str]:
    """The names of all weights in ``parts`` of ``net``. Raises UsageError that lists the parts there are."""
    known = [name for name, part in net.named_children() if any(True for _ in part.parameters())]
    for part in parts:
        if part not in known:
            raise UsageError(f"there is no part {part!r} to freeze; known: {', '.join(known)}")
    names = {name for name, _ in net.named_parameters() if name.split(".", 1)[0] in parts}
    if names and len(names) == sum(1 for _ in net.parameters()):
        raise UsageError("with every part frozen nothing is left to learn", mend="Leave a part out of freeze.")
    return names
