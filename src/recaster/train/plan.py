"""What a training costs on this device, before it begins: memory, seconds, the largest batch, and what to change.

The real run takes a few real steps, with its own optimizers, options and samples of noise. Memory is a straight line
over the number of samples, so two sizes of batch tell about all others.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

import numpy as np
import torch

from recaster.device import choose_devices, forget_unused_memory, free_memory, synchronize
from recaster.errors import RecasterError
from recaster.nets.architecture import Architecture
from recaster.nets.autoencoder import parameter_count
from recaster.options import Options
from recaster.progress import SILENT, Progress
from recaster.train.execution import Execution, candidates, pick_execution
from recaster.train.feed import Feed
from recaster.train.footprint import Footprint
from recaster.train.memory import is_out_of_memory
from recaster.train.options import TrainOptions
from recaster.train.outline import Case, Memory, lasting, outline, remedies, size_text
from recaster.train.run import Run
from recaster.train.samples import FaceSamples, cache_size
from recaster.train.schedule import options_at
from recaster.train.surroundings import own_random_numbers, threads

FACES = 1000
"""Faces of each person where nobody says how many there are."""
MARGIN = 0.95
"""The share of the free memory that is planned with: heaps have gaps."""
CHOOSING, STEPPING = 12.0, 8.0
"""Seconds for choosing how to compute, and for the steps with one size of batch."""
TURNS = 6
LARGEST = 1024
"""Where the option batch_size ends."""
END = 2**62
FAILURES = (RecasterError, MemoryError, RuntimeError)
"""What is raised when memory is out, among other things."""


@dataclass(frozen=True)
class Plan:
    """What was found out.

    ``memory`` is that of one device, ``budget`` the bytes that it has. ``seconds`` of one iteration were measured with
    ``measured_batch`` samples of each person at once, and scaled where the batch has more; NaN and 0 where not even one
    fits, so that nothing could be measured. ``largest_batch`` is the largest that fits with these options.
    """

    model: str
    device: torch.device
    resolution: int
    batch_size: int
    parameters: int
    memory: Memory
    budget: int
    seconds: float
    measured_batch: int
    largest_batch: int
    execution: Execution
    advice: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether it can be trained like this."""
        return self.largest_batch >= self.batch_size

    def figures(self) -> dict[str, Any]:
        """All numbers by name."""
        return {
            "model": self.model,
            "device": str(self.device),
            "resolution": self.resolution,
            "batch_size": self.batch_size,
            "parameters": self.parameters,
            "memory_bytes": self.memory.total,
            "memory": asdict(self.memory),
            "budget_bytes": self.budget,
            "fits": self.fits,
            "seconds_per_iteration": self.seconds,
            "measured_batch": self.measured_batch,
            "largest_batch": self.largest_batch,
            "execution": self.execution.to_mapping(),
            "advice": list(self.advice),
        }

    def lines(self) -> list[str]:
        """The same for people."""
        parts = ", ".join(f"{name} {size_text(size)}" for name, size in asdict(self.memory).items() if size)
        took = f"{self.seconds:.3g} s an iteration with {self.batch_size} faces of each person"
        scaled = f", scaled from {self.measured_batch}" if self.measured_batch < self.batch_size else ""
        return [
            f"{self.model}, {self.resolution} px: {self.parameters:,} parameters",
            f"on {self.device}, {self.execution.line()}",
            f"memory: {size_text(self.memory.total)} of {size_text(self.budget)} ({parts})",
            f"time: {took}{scaled}" if self.measured_batch else "time: not measured, not even one face fits",
            f"largest batch that fits: {self.largest_batch}",
            *(f"  {line}" for line in self.advice),
        ]


@dataclass(frozen=True)
class Line:
    """Bytes that come and go in a step, by the number of samples in it."""

    base: float
    each: float

    @classmethod
    def through(cls, sizes: dict[int, int]) -> Line:
        """The line through the smallest and the largest number of samples; a single one gives a line from 0."""
        low, high = min(sizes), max(sizes)
        if low == high:
            return cls(0.0, sizes[low] / low)
        each = max((sizes[high] - sizes[low]) / (high - low), 1.0)
        return cls(max(sizes[low] - each * low, 0.0), each)

    def at(self, count: int) -> int:
        """Bytes for ``count`` samples."""
        return round(self.base + self.each * count)

    def room(self, size: float) -> int:
        """The most samples that ``size`` bytes are enough for."""
        return max(0, min(LARGEST, int((size - self.base) / self.each)))


def make_plan(
    architecture: Architecture,
    net_options: Options,
    options: TrainOptions,
    *,
    memory: int = 0,
    faces: int = FACES,
    progress: Progress = SILENT,
) -> Plan:
    """Plan a training where a device has ``memory`` bytes (0: what is free now), with ``faces`` of each person.

    Options count as they are at the end of their schedule. Raises UsageError for a device that does not work.
    """
    options, net_options = options_at(END, options, net_options)
    devices = choose_devices(options.device)
    device, share = devices[0], math.ceil((options.batch_size or architecture.default_batch_size) / len(devices))
    options = options.with_values(schedule=(), batch_size=share, device=str(device), auto_batch=False)
    case = Case(architecture, net_options, options, device, math.ceil(share / options.accumulate), faces)
    budget = memory or free_memory(device)
    with threads(options.threads), own_random_numbers(device, options.seed, deterministic=options.deterministic):
        least = outline(replace(case, part=1))
        plan = _unmeasured(case, budget)
        if least.memory.total <= MARGIN * budget:
            try:
                plan = _measured(case, budget, progress, attempt=not memory)
            except FAILURES as error:
                _check_memory(error)
        advice = () if plan.fits else tuple(remedies(case, plan.memory, MARGIN * budget))
    return replace(
        plan, batch_size=plan.batch_size * len(devices), largest_batch=plan.largest_batch * len(devices), advice=advice
    )


def _unmeasured(case: Case, budget: int) -> Plan:
    """What can be said of a training that does not fit at all."""
    said = outline(case)
    return Plan(
        model=case.architecture.name,
        device=case.device,
        resolution=said.resolution,
        batch_size=case.options.batch_size,
        parameters=said.parameters,
        memory=said.memory,
        budget=budget,
        seconds=math.nan,
        measured_batch=0,
        largest_batch=0,
        execution=candidates(case.device, case.options)[0],
    )


def _measured(case: Case, budget: int, progress: Progress, *, attempt: bool) -> Plan:
    """Real steps with one sample, then with as many of those that are asked for as time and memory allow."""
    steps = _Steps(case, progress)
    taken, took = steps.measure(1)
    sizes, times = {1: taken}, {1: took}
    room = MARGIN * budget - steps.lasting.total
    count = min(max(2, case.part), Line.through(sizes).room(room))
    if case.device.type == "cpu":
        count = min(count, max(2, int(STEPPING / took))) if took < STEPPING else 1
    while count > 1 and count not in sizes:
        try:
            sizes[count], times[count] = steps.measure(count)
        except FAILURES as error:
            _check_memory(error)
            forget_unused_memory(case.device)
            count //= 2
    line = Line.through(sizes)
    largest = line.room(room)
    if attempt and case.device.type != "cpu":
        largest = steps.largest(max(sizes), largest)
    measured = case.part if case.part in times else max(times)
    batch_size, at_once = case.options.batch_size, measured * steps.run.accumulate
    seconds = steps.updating + (times[measured] - steps.updating) * batch_size / at_once
    return Plan(
        model=case.architecture.name,
        device=case.device,
        resolution=steps.run.net.resolution,
        batch_size=batch_size,
        parameters=parameter_count(steps.run.net),
        memory=replace(steps.lasting, activations=line.at(case.part)),
        budget=budget,
        seconds=seconds,
        measured_batch=measured,
        largest_batch=min(LARGEST, largest * case.options.accumulate),
        execution=steps.run.execution,
    )


class _Steps:
    """A run that is there to be measured. ``lasting`` is the memory that does not depend on the number of samples,
    ``updating`` the seconds that the optimizers take of a step.
    """

    def __init__(self, case: Case, progress: Progress) -> None:
        architecture, options = case.architecture, case.options
        self._footprint = Footprint(case.device)
        net = architecture.build(case.net_options)
        batch_size = options.batch_size
        execution = pick_execution(
            architecture, case.net_options, options, net, case.device, batch_size, seconds=CHOOSING, progress=progress
        )
        # Two parts cost what any number of them do: the gradients of those before lie beside each.
        options = options.with_values(accumulate=min(2, options.accumulate))
        needs = architecture.needs(case.net_options)
        faces = noise_faces(net.resolution, case.device, features=needs.features)

        def make_feed(count: int) -> Feed:
            return Feed(faces, faces, options, needs, count, case.device)

        self._make_feed = make_feed
        self.run = Run(
            architecture=architecture,
            net_options=case.net_options,
            options=options,
            device=case.device,
            net=net,
            make_feed=lambda now, net_now: make_feed(1),
            execution=execution,
        )
        self.run.configure()
        self.lasting = lasting(case, net, self.run.critics, self.run.phases)
        self._weights = list({id(w): w for phase in self.run.phases for w in phase.weights.values()}.values())
        self._update()
        self.updating = self._timed(self._update)

    def measure(self, count: int) -> tuple[int, float]:
        """Bytes that come and go in a step with ``count`` samples at once, and its seconds.

        Raises RecasterError when memory is out.
        """
        self.run.feed = self._make_feed(count * self.run.accumulate)
        times: list[float] = []
        while len(times) < TURNS and sum(times) + min(times, default=0.0) < STEPPING:
            first = not times
            watch = self._footprint.watch(self._weights) if first or self._footprint.counted else nullcontext()
            with watch:
                times.append(self._timed(self.run.step))
        # The first step is special: it is watched, and kernels and memory are looked for.
        return self._passing(), median(times[1:] or times)

    def _passing(self) -> int:
        if not self._footprint.counted:
            return self._footprint.passing()
        stays = replace(self.lasting, faces=0).total
        return max(0, self._footprint.taken() - stays)

    def largest(self, sure: int, hoped: int) -> int:
        """The most samples at once with which a step really works: at least ``sure``, at most ``hoped``."""
        while hoped > sure:
            try:
                self.run.feed = self._make_feed(hoped * self.run.accumulate)
                self.run.step()
                return hoped
            except FAILURES as error:
                _check_memory(error)
                forget_unused_memory(self.run.device)
                hoped = int(0.9 * hoped)
        return sure

    def _update(self) -> None:
        """One update of all weights by nothing, which also makes the optimizers' moments."""
        for phase in self.run.phases:
            for weight in phase.weights.values():
                weight.grad = torch.zeros_like(weight)
            self.run.optimizers[phase.name].step(0.0)
            self.run.optimizers[phase.name].zero_grad()

    def _timed(self, work: Callable[[], Any]) -> float:
        synchronize(self.run.device)
        began = time.perf_counter()
        work()
        synchronize(self.run.device)
        return time.perf_counter() - began


def _check_memory(error: Exception) -> None:
    """Raise ``error`` again unless it says that memory is out."""
    if not is_out_of_memory(error.__cause__ or error):
        raise error


def noise_faces(resolution: int, device: torch.device, *, features: bool, count: int = 16) -> FaceSamples:
    """Noise in the place of the faces of one person."""
    size = cache_size(resolution)
    angles = np.linspace(-45, 45, count, dtype=np.float32)
    return FaceSamples(
        pictures=torch.randint(256, (count, size, size, 5 if features else 4), dtype=torch.uint8, device=device),
        weights=torch.ones(count),
        yaw=angles,
        openness=np.ones(count, np.float32),
        resolution=resolution,
        device=device,
    )
