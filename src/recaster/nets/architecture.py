"""What an architecture is, and where all of them are found.

An architecture describes a model that training can build and improve: its options, its network, and the phases of one
iteration. One module of ``nets/models`` describes one architecture and registers it::

    class Mini:
        name = "mini"
        ...

    architectures.add(Mini.name)(Mini())

Listing architectures and their options must be quick, so a describing module imports torch only inside its functions.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from recaster.options import Options
from recaster.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor, nn

    from recaster.nets.autoencoder import FaceNet


@dataclass(frozen=True)
class Batch:
    """Training samples of both people, float32 on one device; a network sees ``warped`` and must give ``target``.

    Pictures are ``(N, 3, R, R)`` RGB 0..1; masks ``(N, 1, R, R)`` 0..1 belong to the targets, as do ``features``, soft
    masks of eyes and mouth, which are there where :class:`SampleNeeds` asks for them.
    """

    warped_src: Tensor
    target_src: Tensor
    mask_src: Tensor
    warped_dst: Tensor
    target_dst: Tensor
    mask_dst: Tensor
    features_src: Tensor | None = None
    features_dst: Tensor | None = None


@dataclass(frozen=True)
class Losses:
    """Scalars: gradients are taken of ``total``; people read ``src`` and ``dst`` (detached), None where a phase does
    not concern that person's picture.
    """

    total: Tensor
    src: Tensor | None = None
    dst: Tensor | None = None


@dataclass(frozen=True)
class Rule:
    """How weights follow their gradients.

    ``adam`` is Kingma & Ba 2015 with bias correction, ``adabelief`` Zhuang et al. 2020 and ``rmsprop`` Hinton 2012,
    both without it. ``keep`` is the probability with which one weight's change is made in one step (learning-rate
    dropout, Lin et al. 2020); ``draw_on_host`` draws in RAM which ones. ``clip`` is the largest global norm of the
    gradients, 0 for no limit. The rate swings down to 0 and back in ``cosine_period`` iterations, and falls in a
    straight line to a fiftieth over the last ``fall`` (0..1) of a training of known length; 0 means neither.
    """

    kind: Literal["adam", "adabelief", "rmsprop"] = "adam"
    learning_rate: float = 5e-5
    betas: tuple[float, float] = (0.5, 0.999)
    eps: float = 1e-7
    keep: float = 1.0
    draw_on_host: bool = False
    clip: float = 0.0
    cosine_period: int = 0
    fall: float = 0.0

    def factor(self, iteration: int, progress: float | None) -> float:
        """What the learning rate is multiplied by; ``progress`` 0..1, None when the length is not known."""
        swing = (math.cos(2 * math.pi * iteration / self.cosine_period) + 1) / 2 if self.cosine_period else 1.0
        rest = (1 - (progress or 0.0)) / self.fall if self.fall else 1.0
        return swing * max(0.02, min(1.0, rest))


@dataclass(frozen=True)
class Phase:
    """One update within an iteration: phases follow each other on the same batch.

    ``weights`` are moved by ``rule`` along the gradients of ``losses(batch, progress).total``; ``progress`` runs from 0
    to 1 over a training of known length (0 otherwise). The ``name`` is what its optimizer is saved under.
    """

    name: str
    weights: Mapping[str, nn.Parameter]
    rule: Rule
    losses: Callable[[Batch, float], Losses]


@dataclass(frozen=True)
class SampleNeeds:
    """What a model wants of its samples.

    ``scale``: the range of random sizes. ``features``: whether it needs masks of eyes and mouth. ``replay_every``
    n > 0: in iterations 0, n, 2n ... it gets the batch before once more, unwarped.
    """

    scale: tuple[float, float] = (0.95, 1.05)
    features: bool = False
    replay_every: int = 0


class Architecture(Protocol):
    """A model that training can build and improve.

    Arguments named ``options`` are instances of its ``options`` class, those named ``net`` what it has built.
    """

    @property
    def name(self) -> str:
        """The name in the registry and in checkpoints."""

    @property
    def options(self) -> type[Options]:
        """The model's own options; no name may be one of the training's."""

    @property
    def default_batch_size(self) -> int:
        """Samples of each person a step where the user asks for no other number."""

    @property
    def usual_iterations(self) -> int:
        """How long a training takes that nobody gave a length."""

    def needs(self, options: Any) -> SampleNeeds:
        """What its samples must be like."""

    def pretraining(self, options: Any) -> Any:
        """``options`` for learning faces in general: without what concerns two certain people."""

    def build(self, options: Any) -> FaceNet:
        """A network with fresh weights, on the CPU, drawn from torch's global generator."""

    def critics(self, options: Any, net: FaceNet) -> nn.ModuleDict:
        """Networks that only judge while ``net`` is trained, with fresh weights; empty for most models."""

    def phases(self, net: Any, critics: nn.ModuleDict, options: Any, *, random_warp: bool) -> Sequence[Phase]:
        """The updates of one iteration, in order; ``random_warp`` tells whether inputs are distorted."""


architectures: Registry[Architecture] = Registry("architecture")


def load_all() -> Registry[Architecture]:
    """Import every module of ``nets/models``, and return the filled registry."""
    models = importlib.import_module("recaster.nets.models")
    for module in pkgutil.iter_modules(models.__path__):
        importlib.import_module(f"recaster.nets.models.{module.name}")
    return architectures


def find_architecture(name: str) -> Architecture:
    """The architecture called ``name``. Raises UsageError that lists the names there are."""
    return load_all().get(name)


def weights_of(module: nn.Module, *parts: str) -> dict[str, nn.Parameter]:
    """The weights of ``module``'s ``parts`` (all of them when none is named) under the names of its state dict."""
    named = module.named_parameters()
    return {name: weight for name, weight in named if not parts or name.split(".", 1)[0] in parts}
