"""All that changes while a model is trained: weights, optimizer, random numbers, the count of iterations."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from recaster.errors import CheckpointError, RecasterError
from recaster.nets.architecture import Architecture
from recaster.options import Options
from recaster.progress import Progress
from recaster.train.checkpoint import Checkpoint, State, save
from recaster.train.feed import Feed
from recaster.train.log import LossLine
from recaster.train.options import TrainOptions
from recaster.train.selection import dump_bytes, load_bytes

if TYPE_CHECKING:
    from recaster.nets.autoencoder import FaceNet


@dataclass
class Run:
    """A training in progress. ``seconds`` and ``history`` are as in :class:`State`; ``waited`` are the seconds of this
    session in which batches were made.
    """

    architecture: Architecture
    net_options: Options
    options: TrainOptions
    device: torch.device
    net: FaceNet
    optimizer: torch.optim.Optimizer
    feed: Feed
    iteration: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)

    def resume(self, checkpoint: Checkpoint, progress: Progress) -> None:
        """Go on from a checkpoint; options that have changed since are noted. Raises CheckpointError."""
        state = checkpoint.state
        checkpoint.load_weights(self.net)
        checkpoint.load_optimizer(self.optimizer)
        self.feed.restore(state.random["feed"])
        torch.set_rng_state(load_bytes(state.random["torch"]))
        if self.device.type == "cuda" and "cuda" in state.random:
            torch.cuda.set_rng_state(load_bytes(state.random["cuda"]), self.device)
        self.iteration, self.seconds, self.history = state.iteration, state.seconds, list(state.history)
        changed = {
            **changes(state.train_options, self.options.to_mapping()),
            **changes(state.net_options, self.net_options.to_mapping()),
        }
        if changed:
            self.history.append({"iteration": self.iteration, "changed": changed})
            text = ", ".join(f"{name} {old} -> {new}" for name, (old, new) in changed.items())
            progress.note(f"options changed at iteration {self.iteration}: {text}")

    def step(self) -> LossLine:
        """One iteration. Raises RecasterError when a loss is no number any more."""
        began = time.perf_counter()
        part = self.progress
        for group in self.optimizer.param_groups:
            group["lr"] = self.architecture.learning_rate(self.net_options, part)
        batch = self.feed.next()
        self.waited += time.perf_counter() - began
        losses = self.architecture.losses(self.net, batch, self.net_options, part or 0.0)
        self.optimizer.zero_grad(set_to_none=True)
        losses.total.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.iteration += 1
        total, src, dst = torch.stack([losses.total.detach(), losses.src.detach(), losses.dst.detach()]).tolist()
        if not math.isfinite(total + src + dst):
            raise self._broken(f"the loss became {total} at iteration {self.iteration}")
        took = time.perf_counter() - began
        self.seconds += took
        return LossLine(self.iteration, src, dst, took)

    @property
    def progress(self) -> float | None:
        """How much of the training is done, 0..1, by the nearer of its limits; None where it has none."""
        options = self.options
        by_iterations = self.iteration / options.iterations if options.iterations else 0.0
        by_time = self.seconds / (60 * options.minutes) if options.minutes else 0.0
        return min(max(by_iterations, by_time), 1.0) if options.iterations or options.minutes else None

    def save(self, folder: Path) -> Path:
        """Write a checkpoint of this moment. Raises StorageError; RecasterError when a weight is no number any more."""
        if not all(bool(weight.isfinite().all()) for weight in self.net.parameters()):
            raise self._broken(f"a weight is not a finite number at iteration {self.iteration}")
        random = {"feed": self.feed.state(), "torch": dump_bytes(torch.get_rng_state())}
        if self.device.type == "cuda":
            random["cuda"] = dump_bytes(torch.cuda.get_rng_state(self.device))
        state = State(
            architecture=self.architecture.name,
            iteration=self.iteration,
            seconds=self.seconds,
            net_options=self.net_options.to_mapping(),
            train_options=self.options.to_mapping(),
            random=random,
            history=self.history,
        )
        return save(folder, state, self.net, self.optimizer)

    def _broken(self, what: str) -> RecasterError:
        return RecasterError(
            what,
            where=f"model {self.architecture.name}",
            mend="The last save is kept: run again to go on from it, with a larger batch_size if it happens again.",
        )


def open_run(
    architecture: Architecture,
    net_options: Options,
    options: TrainOptions,
    device: torch.device,
    feed: Feed,
    net: FaceNet,
) -> Run:
    """A run at iteration 0 of ``net``, a network with fresh weights."""
    net.to(device).train()
    return Run(architecture, net_options, options, device, net, architecture.optimizer(net, net_options), feed)


def check_architecture(checkpoint: Checkpoint, architecture: Architecture) -> None:
    """Raise CheckpointError when a checkpoint is of another architecture."""
    found = checkpoint.state.architecture
    if found != architecture.name:
        raise CheckpointError(
            f"the saved model is a {found}, not a {architecture.name}",
            where=checkpoint.path,
            mend="Train under another name, or choose that model.",
        )


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """name → (old, new) of the values that differ; a missing one is None."""
    return {name: (old.get(name), new.get(name)) for name in sorted({*old, *new}) if old.get(name) != new.get(name)}
