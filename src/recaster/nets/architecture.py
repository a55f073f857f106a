"""What an architecture is, and where all of them are found.

An architecture describes a model that training can build and improve: its options, its network, its losses, its
optimizer and its learning rate. One module of this room describes one architecture and registers it::

    class Mini:
        name = "mini"
        ...

    architectures.add(Mini.name)(Mini())

Listing architectures and their options must be quick, so a describing module imports torch only inside its functions.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import recaster.nets
from recaster.options import Options
from recaster.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

    from recaster.nets.autoencoder import FaceNet

_SHARED_MODULES = {"architecture", "autoencoder", "blocks", "losses"}


@dataclass(frozen=True)
class Batch:
    """Training samples of both people, float32 on one device; a network sees ``warped`` and must give ``target``.

    Pictures are ``(N, 3, R, R)`` RGB 0..1, masks ``(N, 1, R, R)`` 0..1 and belong to the targets.
    """

    warped_src: Tensor
    target_src: Tensor
    mask_src: Tensor
    warped_dst: Tensor
    target_dst: Tensor
    mask_dst: Tensor


@dataclass(frozen=True)
class Losses:
    """One step's losses, scalars: ``total`` is what gradients are taken of, ``src`` and ``dst`` what people read."""

    total: Tensor
    src: Tensor
    dst: Tensor


class Architecture(Protocol):
    """A model that training can build and improve; ``options`` arguments are instances of its ``options`` class."""

    @property
    def name(self) -> str:
        """The name in the registry and in checkpoints."""

    @property
    def options(self) -> type[Options]:
        """The model's own options."""

    @property
    def default_batch_size(self) -> int:
        """Samples of each person a step where the user asks for no other number."""

    @property
    def usual_iterations(self) -> int:
        """How long a training takes that nobody gave a length."""

    def build(self, options: Any) -> FaceNet:
        """A network with fresh weights, on the CPU, drawn from torch's global generator."""

    def losses(self, net: FaceNet, batch: Batch, options: Any, progress: float) -> Losses:
        """Forward pass and losses; ``progress`` runs from 0 to 1 over a training of known length (0 otherwise)."""

    def optimizer(self, net: FaceNet, options: Any) -> Optimizer:
        """The optimizer over all weights of ``net``, at the learning rate of the start."""

    def learning_rate(self, options: Any, progress: float | None) -> float:
        """The learning rate at ``progress`` 0..1; None when the length of the training is not known."""


architectures: Registry[Architecture] = Registry("architecture")


def load_all() -> Registry[Architecture]:
    """Import every module of this room that describes an architecture, and return the filled registry."""
    for module in pkgutil.iter_modules(recaster.nets.__path__):
        if module.name not in _SHARED_MODULES:
            importlib.import_module(f"recaster.nets.{module.name}")
    return architectures


def find_architecture(name: str) -> Architecture:
    """The architecture called ``name``. Raises UsageError that lists the names there are."""
    return load_all().get(name)
