"""The memory of a training told from the shapes of its tensors, without computing anything, and how it becomes less.

A step runs on torch's meta device: every operation gives tensors that have a shape and no values. So a model of any
size is judged in a second or two on any machine, with fp32 activations.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from recaster.device import free_memory
from recaster.errors import UsageError
from recaster.nets.architecture import Architecture, Phase
from recaster.nets.autoencoder import FaceNet, parameter_count
from recaster.options import Options
from recaster.train.activations import keep_few_activations
from recaster.train.execution import learn_only, noise_batch
from recaster.train.footprint import Footprint
from recaster.train.optimizers import MOMENTS
from recaster.train.options import TrainOptions
from recaster.train.samples import cache_size
from recaster.train.surgery import frozen_names

FLOAT = 4
META = torch.device("meta")


@dataclass(frozen=True)
class Memory:
    """Bytes of a training on its device.

    ``activations`` are all that comes and goes in a step; the rest stays, whatever the number of samples.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    faces: int = 0

    @property
    def total(self) -> int:
        """All together."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.faces


@dataclass(frozen=True)
class Case:
    """What is asked: one training that computes ``part`` samples of each person at once on ``device``, where ``faces``
    of each person wait.
    """

    architecture: Architecture
    net_options: Options
    options: TrainOptions
    device: torch.device
    part: int
    faces: int = 0


@dataclass(frozen=True)
class Outline:
    """What shapes tell of a case."""

    memory: Memory
    parameters: int
    resolution: int


def outline(case: Case) -> Outline:
    """Memory, parameters and resolution of a case."""
    architecture, options = case.architecture, case.options
    net_options = architecture.pretraining(case.net_options) if options.pretrain else case.net_options
    with META:
        net = architecture.build(net_options)
        critics = architecture.critics(net_options, net)
    if options.checkpoint_activations:
        keep_few_activations(net)
    features = architecture.needs(net_options).features
    phases = architecture.phases(net, critics, net_options, random_warp=options.random_warp)
    batch = noise_batch(case.part, net.resolution, META, features=features)
    samples = (getattr(batch, item.name) for item in fields(batch))
    given = sum(FLOAT * value.numel() for value in samples if isinstance(value, Tensor))
    frozen = frozen_names(net, options.freeze)
    phases = [
        replace(phase, weights={name: weight for name, weight in phase.weights.items() if name not in frozen})
        for phase in phases
    ]
    memory = lasting(case, net, critics, phases)
    passing = given + max(_passing(phase, batch, (net, critics)) for phase in phases)
    return Outline(replace(memory, activations=passing), parameter_count(net), net.resolution)


def lasting(case: Case, net: FaceNet, critics: nn.ModuleDict, phases: Sequence[Phase]) -> Memory:
    """All that does not depend on the number of samples; activations 0."""
    options = case.options
    own = sum(tensor.numel() for module in (net, critics) for tensor in (*module.parameters(), *module.buffers()))
    average = sum(tensor.numel() for tensor in net.state_dict().values()) if options.ema else 0
    moved = {id(weight): weight.numel() for phase in phases for weight in phase.weights.values()}
    host = options.optimizer_mode > 1 and case.device.type != "cpu"
    return Memory(
        weights=FLOAT * (own + average),
        gradients=FLOAT * sum(moved.values()),
        optimizer=0 if host else FLOAT * sum(_moments(phase) for phase in phases),
        activations=0,
        faces=_faces(case, net.resolution),
    )


def _moments(phase: Phase) -> int:
    """How many values an optimizer keeps: the step of Adam is but one number."""
    kinds = sum(1 for moment in MOMENTS[phase.rule.kind] if moment != "step")
    return kinds * sum(weight.numel() for weight in phase.weights.values())


def _faces(case: Case, resolution: int) -> int:
    """The faces of both people, if they wait on the device."""
    if not case.faces:
        return 0
    channels = 5 if case.architecture.needs(case.net_options).features else 4
    size = case.faces * cache_size(resolution) ** 2 * channels
    place = case.options.faces_on
    here = case.device.type == "cpu" or place == "device" or (place == "auto" and 4 * size <= free_memory(case.device))
    return 2 * size if here else 0


def _passing(phase: Phase, batch: Any, modules: Iterable[nn.Module]) -> int:
    """Bytes that one phase takes for a while."""
    footprint, weights = Footprint(META), list(phase.weights.values())
    learn_only(modules, weights)
    with footprint.watch(weights):
        phase.losses(batch, 0.0).total.backward()  # type: ignore[no-untyped-call]
    for weight in weights:
        weight.grad = None
    return footprint.passing()


def remedies(case: Case, memory: Memory, budget: float) -> list[str]:
    """What to change so that a case that takes ``memory`` gets by with ``budget`` bytes, the strongest first.

    Each with the memory that is needed then. All are computed by shapes, and scaled by what was measured.
    """
    now = outline(case).memory.activations
    found: list[tuple[int, str]] = []
    for text, changed in _changes(case, memory, budget):
        with suppress(UsageError):
            then = outline(changed).memory
            activations = round(memory.activations * then.activations / now)
            found.append((replace(then, activations=activations).total, text))
    seen: dict[str, int] = {}
    for total, text in sorted(found):
        seen.setdefault(text, total)
    return [
        f"{text}: {size_text(total)} instead of {size_text(memory.total)}" + ("" if total <= budget else ", not enough")
        for text, total in seen.items()
        if total < 0.97 * memory.total
    ]


def _changes(case: Case, memory: Memory, budget: float) -> Iterator[tuple[str, Case]]:
    options = case.options
    if case.part > 1:
        room = budget - (memory.total - memory.activations)
        parts = math.ceil(memory.activations / room) if room > 0 else case.part
        parts = max(2, min(parts, case.part))
        yield (
            f"--accumulate {parts * options.accumulate} (the same batch in parts)",
            replace(case, part=math.ceil(case.part / parts)),
        )
    if not options.checkpoint_activations:
        changed = options.with_values(checkpoint_activations=True)
        yield "--checkpoint-activations (a third slower)", replace(case, options=changed)
    if options.optimizer_mode == 1 and case.device.type != "cpu":
        yield "--optimizer-mode 2 (moments in RAM)", replace(case, options=options.with_values(optimizer_mode=2))
    if options.ema:
        yield "--ema 0 (no average of the weights)", replace(case, options=options.with_values(ema=0.0))
    yield from _smaller(case)


def _smaller(case: Case) -> Iterator[tuple[str, Case]]:
    """The same model with a smaller picture, and with fewer dims."""
    values = case.net_options.to_mapping()
    resolution = values.get("resolution")
    if isinstance(resolution, int):
        with suppress(UsageError):
            smaller = max(64, int(0.75 * resolution) // 32 * 32)
            yield (
                f"--resolution {smaller}",
                replace(case, net_options=case.net_options.with_values(resolution=smaller)),
            )
    dims = {name: int(0.75 * value) // 2 * 2 for name, value in values.items() if name.endswith("_dims") and value}
    if dims:
        with suppress(UsageError):
            flags = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in dims.items())
            yield flags, replace(case, net_options=case.net_options.with_values(**dims))


def size_text(size: float) -> str:
    """Bytes for people: ``5.1 GB``, ``340 MB``."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
