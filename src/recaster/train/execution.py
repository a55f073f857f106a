"""How a network is computed: precision, order of values in memory, compiled or not; measured where nobody chose.

Which way is fastest depends on the device and on the network, often by a factor of two and not always in the direction
that one expects. So a training begins with a few steps of each way that the device offers, and keeps the fastest; a
checkpoint remembers it, so that a resumed training computes as it did before.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from recaster.device import computes_bf16, synchronize
from recaster.nets.architecture import Architecture, Batch
from recaster.nets.autoencoder import FaceNet
from recaster.progress import SILENT, Progress
from recaster.train.memory import is_out_of_memory
from recaster.train.options import TrainOptions

Precision = Literal["fp32", "bf16"]
MemoryFormat = Literal["contiguous", "channels_last"]
Compile = Literal["off", "default", "graphs"]

SECONDS = {"cpu": 30.0, "mps": 30.0}
"""The longest that measuring may take; elsewhere ACCELERATOR_SECONDS, since compilers need a minute."""
ACCELERATOR_SECONDS = 240.0
COMPILING = 60.0
"""Seconds that compiling a network takes; where there is no time for it, it is not tried."""
SHARE = 0.03
"""And its largest share of a training of known length."""
HOPELESS = 1.5
"""Ways that take this many times as long as the best get no second turn."""
ROUNDS = 4
"""How often each way is timed; the quickest counts, for what disturbs a step only makes it slower."""
ADVANTAGE = 1.04
"""How much faster a way must be than one that stands before it in the list."""


@dataclass(frozen=True)
class Execution:
    """One way of computing a network. ``device`` is the kind of device that it was chosen for."""

    precision: Precision = "fp32"
    memory_format: MemoryFormat = "contiguous"
    compile: Compile = "off"
    device: str = "cpu"

    def to_mapping(self) -> dict[str, str]:
        """Plain values for a checkpoint."""
        return {
            "precision": self.precision,
            "memory_format": self.memory_format,
            "compile": self.compile,
            "device": self.device,
        }

    def line(self) -> str:
        """For people: ``bf16, channels_last, compiled``."""
        compiled = {"off": "", "default": ", compiled", "graphs": ", compiled with graphs"}
        return f"{self.precision}, {self.memory_format}{compiled[self.compile]}"


SAFE = Execution()
"""The way without surprises, which deterministic trainings take."""


def from_record(record: Mapping[str, str]) -> Execution | None:
    """The execution of a checkpoint; None where it has none that is known here."""
    known = {"precision": get_args(Precision), "memory_format": get_args(MemoryFormat), "compile": get_args(Compile)}
    if any(record.get(name) not in values for name, values in known.items()):
        return None
    values: dict[str, Any] = {name: record[name] for name in (*known, "device") if name in record}
    return Execution(**values)


def candidates(device: torch.device, options: TrainOptions) -> list[Execution]:
    """The ways that ``options`` leave open on ``device``, the most promising first; one where nothing is open.

    A CPU computes in bf16 only where it has instructions for it, and compiles only on request: that takes a minute and
    seldom helps. MPS stays with fp32.
    """
    if options.deterministic:
        return [_decided(SAFE, options, device)]
    if device.type == "cpu":
        ways = [Execution("fp32", "channels_last"), Execution("bf16", "channels_last"), SAFE]
        ways = [way for way in ways if way.precision == "fp32" or computes_bf16(device)]
    elif device.type == "mps":
        ways = [SAFE, Execution("fp32", "channels_last")]
    else:
        compiled: list[Compile] = ["off", "default", "graphs"] if device.type == "cuda" else ["off", "default"]
        ways = [Execution("bf16", "channels_last", way) for way in compiled]
        ways += [Execution("fp32", "channels_last"), SAFE]
    return list(dict.fromkeys(_decided(way, options, device) for way in ways))


def _decided(way: Execution, options: TrainOptions, device: torch.device) -> Execution:
    """``way`` with what the user has decided in its place."""
    return Execution(
        way.precision if options.precision == "auto" else options.precision,
        way.memory_format if options.memory_format == "auto" else options.memory_format,
        way.compile if options.compile == "auto" else options.compile,
        device.type,
    )


def prepare(modules: Iterable[nn.Module], execution: Execution) -> None:
    """Make ``modules`` compute this way; whatever way they computed before is undone. Weights keep their names."""
    layout = torch.channels_last if execution.memory_format == "channels_last" else torch.contiguous_format
    for module in modules:
        module.to(memory_format=layout)  # type: ignore[call-overload]
        module._compiled_call_impl = None
        if execution.compile != "off":
            module.compile(mode="reduce-overhead" if execution.compile == "graphs" else "default")


def autocast(device: torch.device, execution: Execution) -> AbstractContextManager[Any]:
    """For one pass forward: inside the context the network computes in the precision of ``execution``."""
    if execution.compile == "graphs":
        # Graphs keep results in the same place on every pass; what an earlier pass left there is not needed any more.
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
    if execution.precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def uncompiled() -> AbstractContextManager[Any]:
    """Inside the context nothing is compiled: for a few pictures of another number it is not worth it."""
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


def learn_only(modules: Iterable[nn.Module], weights: Iterable[nn.Parameter]) -> None:
    """Compute gradients of these ``weights`` and of no others of ``modules``."""
    moved = {id(weight) for weight in weights}
    for module in modules:
        for weight in module.parameters():
            weight.requires_grad_(id(weight) in moved)


def noise_batch(count: int, resolution: int, device: torch.device, *, features: bool) -> Batch:
    """Noise in the shape of ``count`` samples of each person: it costs what faces cost."""

    def noise(channels: int) -> Tensor:
        return torch.rand(count, channels, resolution, resolution, device=device)

    masks = (noise(1), noise(1)) if features else ()
    return Batch(noise(3), noise(3), noise(1), noise(3), noise(3), noise(1), *masks)


def pick_execution(
    architecture: Architecture,
    net_options: Any,
    options: TrainOptions,
    net: FaceNet,
    device: torch.device,
    batch_size: int,
    *,
    remembered: Mapping[str, str] | None = None,
    seconds: float | None = None,
    progress: Progress = SILENT,
) -> Execution:
    """The way in which ``net`` will be trained: what the user chose, what a checkpoint ``remembered`` for this kind of
    device, or the fastest; ``seconds`` is the longest that measuring may take.

    The net is moved to the device; its weights and torch's random numbers stay as they are.
    """
    ways = candidates(device, options)
    earlier = from_record(remembered or {})
    free = not options.deterministic and earlier is not None and earlier == _decided(earlier, options, device)
    if earlier is not None and (free or earlier in ways):
        return earlier
    if len(ways) == 1:
        return ways[0]
    if seconds is None:
        seconds = SECONDS.get(device.type, ACCELERATOR_SECONDS)
    with _scratch(net, device):
        times = _times(ways, Trial(architecture, net_options, options, net, device), options, batch_size, seconds)
    chosen = fastest(times) or ways[0]
    if times:
        all_times = "; ".join(f"{way.line()} {took:.3g} s" for way, took in times.items())
        progress.note(f"computing in {chosen.line()}, of what was measured: {all_times}")
    return chosen


class Trial:
    """Computes the gradients of all phases on noise, in any way, to see whether that works and how long it takes.

    Gradients are added up and read as a real step does it, since compiled graphs forbid some of that. Weights do not
    move.
    """

    def __init__(
        self, architecture: Architecture, net_options: Any, options: TrainOptions, net: FaceNet, device: torch.device
    ) -> None:
        if options.pretrain:
            net_options = architecture.pretraining(net_options)
        self.net, self.device = net, device
        self.critics = architecture.critics(net_options, net).to(device).train()
        self.phases = architecture.phases(net, self.critics, net_options, random_warp=options.random_warp)
        self.features = architecture.needs(net_options).features
        self.parts = min(2, options.accumulate)

    def __call__(self, way: Execution, count: int) -> float:
        """Seconds of one step with ``count`` samples of each person at once."""
        batch = noise_batch(count, self.net.resolution, self.device, features=self.features)
        prepare([*self.net.children(), *self.critics.children()], way)
        synchronize(self.device)
        began = time.perf_counter()
        for phase in self.phases:
            learn_only((self.net, self.critics), phase.weights.values())
            for weight in phase.weights.values():
                weight.grad = None
            for _ in range(self.parts):
                with autocast(self.device, way):
                    losses = phase.losses(batch, 0.0)
                losses.total.backward()  # type: ignore[no-untyped-call]
        for phase in self.phases:
            get_total_norm([weight.grad for weight in phase.weights.values() if weight.grad is not None])
        synchronize(self.device)
        return time.perf_counter() - began


def _times(
    ways: Sequence[Execution], trial: Trial, options: TrainOptions, batch_size: int, budget: float
) -> dict[Execution, float]:
    """Seconds of each way with as many samples as the time allows; nothing where even one takes too long."""
    count = math.ceil(batch_size / options.accumulate)
    try:
        one = trial(ways[0], 1)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return {}
    length = min(60 * options.minutes or math.inf, options.iterations * one * batch_size or math.inf)
    budget = min(budget, SHARE * length) - one
    compiled = sum(way.compile != "off" for way in ways)
    if budget < COMPILING * compiled:
        ways = [ways[0], *(way for way in ways[1:] if way.compile == "off")]
    count = max(1, min(count, int(budget / (2 * len(ways) * one))))
    known = {ways[0]: one} if count == 1 and ways[0].compile == "off" else {}
    return measure(ways, lambda way: trial(way, count), budget, known)


def measure(
    ways: Sequence[Execution],
    trial: Callable[[Execution], float],
    budget: float,
    known: Mapping[Execution, float] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Execution, float]:
    """Seconds of one step of each way, taken in turns until ``budget`` seconds are spent; some may be ``known``.

    Ways that do not work or whose turn does not come are missing; those that are clearly slower get no second turn. The
    first step of a compiled way does not count.
    """
    began, left, seconds = clock(), list(ways), dict(known or {})
    for turn in range(1 + ROUNDS):
        for way in [way for way in left if turn or way not in seconds]:
            if clock() - began > budget:
                return seconds
            try:
                took = trial(way)
            except (MemoryError, RuntimeError):
                left.remove(way)  # this build of torch cannot, or it takes more memory than there is
                seconds.pop(way, None)
                continue
            if turn or way.compile == "off":
                seconds[way] = min(took, seconds.get(way, took))
        best = min(seconds.values(), default=math.inf)
        left = [way for way in left if seconds.get(way, 0.0) < HOPELESS * best]
    return seconds


def fastest(seconds: Mapping[Execution, float]) -> Execution | None:
    """The way that takes least; one that stands earlier wins where the difference is small."""
    best: Execution | None = None
    for way, took in seconds.items():
        if best is None or took * ADVANTAGE < seconds[best]:
            best = way
    return best


@contextmanager
def _scratch(net: FaceNet, device: torch.device) -> Iterator[None]:
    """Afterwards ``net`` and torch's random numbers are as they were, but for the device that the net is on."""
    net.to(device).train()
    generators = [] if device.type in {"cpu", "mps"} else [device]
    with torch.random.fork_rng(generators, device_type=device.type if generators else "cuda"):
        try:
            yield
        finally:
            prepare(net.children(), SAFE)
            net.requires_grad_(True)
            net.zero_grad(set_to_none=True)
