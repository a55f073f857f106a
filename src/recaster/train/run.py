"""All that changes while a model is trained: weights, optimizers, random numbers, the count of iterations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from recaster.device import forget_unused_memory
from recaster.errors import RecasterError
from recaster.nets.architecture import Architecture, Batch, Phase
from recaster.options import Options
from recaster.progress import SILENT, Progress
from recaster.train.activations import keep_few_activations
from recaster.train.average import Average
from recaster.train.checkpoint import Checkpoint, Contents, State, save
from recaster.train.execution import Execution, autocast, learn_only, prepare
from recaster.train.feed import Feed, pretraining_options
from recaster.train.memory import is_out_of_memory, out_of_memory
from recaster.train.optimizers import Optimizer
from recaster.train.options import TrainOptions
from recaster.train.parallel import ALONE, World
from recaster.train.schedule import options_at
from recaster.train.selection import dump_bytes, load_bytes
from recaster.train.surgery import frozen_names
from recaster.train.surroundings import OWN_GENERATORS, own_random_numbers

if TYPE_CHECKING:
    from recaster.nets.autoencoder import FaceNet

MakeFeed = Callable[[TrainOptions, Any], Feed]
"""A feed for the options of the training and those of the network."""


AVERAGE = "average"


@dataclass
class Run:
    """A training in progress.

    ``options`` and ``net_options`` are what was asked for; what holds at this iteration is made of them and the
    schedule by :meth:`configure`, which must be called before the first step. ``rate`` multiplies the learning rate,
    ``rollbacks`` counts how often it was lowered after a collapse; ``seconds`` and ``history`` are as in
    :class:`State`.
    """

    architecture: Architecture
    net_options: Options
    options: TrainOptions
    device: torch.device
    net: FaceNet
    make_feed: MakeFeed
    execution: Execution
    world: World = ALONE
    progress: Progress = SILENT
    iteration: int = 0
    seconds: float = 0.0
    rate: float = 1.0
    rollbacks: int = 0
    accumulate: int = 1
    history: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.net.to(self.device).train()
        self.critics = nn.ModuleDict()
        self.phases: tuple[Phase, ...] = ()
        self.optimizers: dict[str, Optimizer] = {}
        self.average: Average | None = None
        self.feed: Feed | None = None
        self.accumulate = max(self.accumulate, self.options.accumulate)
        self._waited = 0.0
        if self.options.checkpoint_activations:
            keep_few_activations(self.net)
        prepare(self.net.children(), self.execution)

    def configure(
        self,
        saved: Contents | None = None,
        numbers: Mapping[str, Any] | None = None,
        feed: Mapping[str, Any] | None = None,
    ) -> None:
        """Take up the options that hold at this iteration.

        Critics, moments and random numbers go on from what was ``saved``, or from this run's own.
        """
        saved, numbers = (self.contents(), self.numbers()) if saved is None else (saved, numbers or {})
        feed = self.feed.state() if feed is None and self.feed is not None else feed
        now, net_now = options_at(self.iteration, self.options, self.net_options)
        if now.pretrain:
            now, net_now = pretraining_options(now), self.architecture.pretraining(net_now)
        self.critics = self._critics(net_now, saved.critics)
        # Fresh weights are drawn alike everywhere, as long as all machines are.
        self.world.align([*self.net.state_dict().values(), *self.critics.state_dict().values()])
        phases = self.architecture.phases(self.net, self.critics, net_now, random_warp=now.random_warp)
        frozen = frozen_names(self.net, now.freeze)
        self.phases = tuple(
            replace(phase, weights={name: weight for name, weight in phase.weights.items() if name not in frozen})
            for phase in phases
        )
        self.optimizers = {
            phase.name: self._optimizer(phase, now, saved.optimizer, numbers.get(phase.name, {}))
            for phase in self.phases
        }
        self.average = Average(self.net, now.ema) if now.ema else None
        if self.average is not None and saved.average:
            self.average.restore(saved.average, numbers.get(AVERAGE, {}).get("updates"))
        self._waited += self.feed.waited if self.feed is not None else 0.0
        self.feed = self.make_feed(now, net_now)
        if feed is not None:
            self.feed.restore(feed)
        self.now, self.net_now = now, net_now

    def _critics(self, net_now: Options, saved: Mapping[str, Tensor]) -> nn.ModuleDict:
        # With numbers of their own: what the run draws next must not depend on whether they are made or go on.
        with own_random_numbers(self.device, self.options.seed + self.iteration):
            critics = self.architecture.critics(net_now, self.net).to(self.device).train()
        for name, critic in critics.items():
            prefix = f"{name}."
            weights = {key.removeprefix(prefix): value for key, value in saved.items() if key.startswith(prefix)}
            fresh = critic.state_dict()
            if {key: value.shape for key, value in weights.items()} == {k: v.shape for k, v in fresh.items()}:
                critic.load_state_dict(weights)
            elif weights:
                self.progress.note(f"the {name} critic has another size now and begins anew")
        prepare(critics.values(), self.execution)
        return critics

    def _optimizer(
        self, phase: Phase, now: TrainOptions, saved: Mapping[str, Tensor], numbers: Mapping[str, Any]
    ) -> Optimizer:
        optimizer = Optimizer(phase.weights, phase.rule, mode=now.optimizer_mode, seed=now.seed)
        prefix = f"{phase.name}/"
        moments = {name.removeprefix(prefix): value for name, value in saved.items() if name.startswith(prefix)}
        if moments or numbers:
            optimizer.restore(moments, dict(numbers))
        return optimizer

    def step(self) -> Tensor:
        """One iteration; the losses ``(2,)`` of src and dst, on the device: reading them waits for it.

        Raises RecasterError when memory is out.
        """
        assert self.feed is not None
        part = self.part_done
        self.world.reseed(self.options.seed, self.iteration)
        batch = self.feed.next(self.iteration)
        shown: dict[str, Tensor] = {}
        for phase in self.phases:
            shown |= self._gradients(phase, batch, part or 0.0)
            self.world.sum_gradients(phase.weights.values())
            self.optimizers[phase.name].step(self.learning_rate(phase))
        if self.average is not None:
            self.average.update()
        self.iteration += 1
        return self.world.total(torch.stack([shown["src"], shown["dst"]]))

    def learning_rate(self, phase: Phase) -> float:
        """What a phase's weights are moved by at this iteration."""
        base = self.now.learning_rate or phase.rule.learning_rate
        return base * self.rate * phase.rule.factor(self.iteration, self.part_done)

    def _gradients(self, phase: Phase, batch: Batch, part_done: float) -> dict[str, Tensor]:
        """Gradients of one phase, in as many parts as fit into memory; gives the losses of the people it concerns."""
        learn_only((self.net, self.critics), phase.weights.values())
        while True:
            try:
                return self._gradients_in_parts(phase, batch, part_done)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                self._smaller_parts(len(batch.target_src), error)
            # Only here is the error gone, and with it all that the failed attempt held.
            self.optimizers[phase.name].zero_grad()
            forget_unused_memory(self.device)

    def _gradients_in_parts(self, phase: Phase, batch: Batch, part_done: float) -> dict[str, Tensor]:
        assert self.feed is not None
        self.optimizers[phase.name].zero_grad()
        shown: dict[str, Tensor] = {}
        for part, share in parts_of(batch, self.accumulate, self.feed.batch_size):
            with autocast(self.device, self.execution):
                losses = phase.losses(part, part_done)
            (losses.total * share).backward()  # type: ignore[no-untyped-call]
            for name, value in (("src", losses.src), ("dst", losses.dst)):
                if value is not None:
                    shown[name] = shown.get(name, 0.0) + share * value.detach()
        return shown

    def _smaller_parts(self, batch_size: int, error: Exception) -> None:
        if not self.options.auto_batch or self.accumulate >= batch_size or self.world.size > 1:
            raise out_of_memory(self.architecture, self.net_now, self.now, self.device, batch_size) from error
        self.accumulate = min(2 * self.accumulate, batch_size)
        self.history.append({"iteration": self.iteration, "accumulate": self.accumulate})
        self.progress.note(
            f"memory is out with {batch_size} faces at once: going on with each batch in {self.accumulate} parts"
        )

    @property
    def part_done(self) -> float | None:
        """How much of the training is done, 0..1, by the nearer of its limits; None where it has none."""
        options = self.options
        by_iterations = self.iteration / options.iterations if options.iterations else 0.0
        by_time = self.seconds / (60 * options.minutes) if options.minutes else 0.0
        return min(max(by_iterations, by_time), 1.0) if options.iterations or options.minutes else None

    @property
    def waited(self) -> float:
        """Seconds of this session in which the steps waited for samples."""
        return self._waited + (self.feed.waited if self.feed is not None else 0.0)

    def gradient_norm(self) -> float:
        """Global norm of the gradients of the last step's first phase."""
        return float(self.optimizers[self.phases[0].name].gradient_norm())

    def contents(self) -> Contents:
        """All tensors to save; they are this run's own, not copies."""
        return Contents(
            weights=self.net.state_dict(),
            critics=self.critics.state_dict(),
            average=self.average.state() if self.average is not None else {},
            optimizer={
                f"{name}/{key}": value
                for name, optimizer in self.optimizers.items()
                for key, value in optimizer.state()[0].items()
            },
        )

    def numbers(self) -> dict[str, Any]:
        """The values of optimizers, by phase, and of the average that are no tensors."""
        numbers: dict[str, Any] = {name: optimizer.state()[1] for name, optimizer in self.optimizers.items()}
        return numbers if self.average is None else {**numbers, AVERAGE: {"updates": self.average.updates}}

    def restore(self, checkpoint: Checkpoint, *, rate: float | None = None) -> None:
        """Be where the checkpoint was, to the last random number. Raises CheckpointError."""
        state, contents = checkpoint.state, checkpoint.contents(self.progress)
        checkpoint.load_weights(self.net)
        if "torch" in state.random:
            torch.set_rng_state(load_bytes(state.random["torch"]))
        if self.device.type in OWN_GENERATORS and self.device.type in state.random:
            device_module = torch.get_device_module(self.device)
            device_module.set_rng_state(load_bytes(state.random[self.device.type]), self.device)
        self.iteration, self.seconds, self.history = state.iteration, state.seconds, list(state.history)
        self.accumulate = max(self.accumulate, *(entry.get("accumulate", 1) for entry in [{}, *self.history]))
        self.rate, self.rollbacks = state.rate if rate is None else rate, max(state.rollbacks, self.rollbacks)
        self.configure(contents, state.numbers, state.random.get("feed"))

    def note_changes(self, state: State) -> None:
        """Write into the history, and say, which options have changed since ``state`` was saved."""
        changed = {
            **changes(state.train_options, self.options.to_mapping()),
            **changes(state.net_options, self.net_options.to_mapping()),
        }
        if changed:
            self.history.append({"iteration": self.iteration, "changed": changed})
            text = ", ".join(f"{name} {old} -> {new}" for name, (old, new) in changed.items())
            self.progress.note(f"options changed at iteration {self.iteration}: {text}")

    def is_sound(self) -> bool:
        """Whether all weights are finite numbers."""
        return all(bool(weight.isfinite().all()) for weight in self.net.parameters())

    def save(self, folder: Path) -> Path:
        """Write a checkpoint of this moment. Raises StorageError; RecasterError when a weight is no number any more."""
        assert self.feed is not None
        if not self.is_sound():
            raise RecasterError(
                f"a weight is not a finite number at iteration {self.iteration}",
                where=f"model {self.architecture.name}",
                mend="The last save is kept: run again to go on from it.",
            )
        random: dict[str, Any] = {"feed": self.feed.state(), "torch": dump_bytes(torch.get_rng_state())}
        if self.device.type in OWN_GENERATORS:
            random[self.device.type] = dump_bytes(torch.get_device_module(self.device).get_rng_state(self.device))
        state = State(
            architecture=self.architecture.name,
            iteration=self.iteration,
            seconds=self.seconds,
            net_options=self.net_options.to_mapping(),
            train_options=self.options.to_mapping(),
            random=random,
            history=self.history,
            numbers=self.numbers(),
            rate=self.rate,
            rollbacks=self.rollbacks,
            execution=self.execution.to_mapping(),
            pretrained=bool(self.now.pretrain),
            batch_size=self.feed.batch_size,
        )
        return save(folder, state, self.contents())


def parts_of(batch: Batch, count: int, whole: int) -> Iterator[tuple[Batch, float]]:
    """The batch in ``count`` parts of nearly equal size, each with its share of ``whole`` samples."""
    size = len(batch.target_src)
    if count == 1:
        yield batch, size / whole
        return
    columns = {item.name: getattr(batch, item.name) for item in fields(batch)}
    for rows in torch.arange(size).tensor_split(min(count, size)):
        first, last = int(rows[0]), int(rows[-1]) + 1
        part: dict[str, Any] = {name: None if value is None else value[first:last] for name, value in columns.items()}
        yield Batch(**part), len(rows) / whole


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """name → (old, new) of the values that differ; a missing one is None."""
    return {name: (old.get(name), new.get(name)) for name in sorted({*old, *new}) if old.get(name) != new.get(name)}
