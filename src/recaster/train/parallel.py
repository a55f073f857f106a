"""Several processes that train one model together, each on its share of every batch.

Every process holds the whole model and makes the same steps with it: gradients are summed over all of them before an
optimizer sees them, and what is drawn at random for the weights is drawn alike. So any of them could save the model.
The leading one (rank 0) does; it alone decides, writes files and talks to people.

docs/decisions/007-data-parallel-without-a-wrapper.md says why the gradients are summed here.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed
from torch.distributed import Store  # type: ignore[attr-defined]

from recaster.errors import RecasterError

T = TypeVar("T")

ENDING = 2.0
"""Seconds between the moment at which others see that a process ends, and the one at which it has ended."""
BUCKET = 2**23
"""Gradients travel in portions of this many values: few enough to need little memory, enough to be worth a message."""
FAILURE = "failure"
HOST = torch.device("cpu")


class GroupError(RecasterError):
    """Processes that train together cannot find each other, or have lost one."""


@dataclass(frozen=True)
class World:
    """This process among ``size`` equal ones. With one process every method is free of cost.

    All processes must call the same methods in the same order. Whoever waits for a process that is gone gets a
    GroupError with what is known about its end.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = HOST
    link: Link | None = None

    @property
    def leads(self) -> bool:
        """Whether this process writes files and talks to people."""
        return self.rank == 0

    @property
    def part(self) -> tuple[int, int]:
        """Which part of a batch is this process', of how many."""
        return self.rank, self.size

    def sum_gradients(self, weights: Iterable[Tensor]) -> None:
        """Give all processes the sum of their gradients: the mean over the whole batch, where each has multiplied its
        loss by its share of the batch. The same weights must have gradients everywhere.
        """
        if self.size == 1:
            return
        for gradients in _portions([weight.grad for weight in weights if weight.grad is not None]):
            if len(gradients) == 1 and gradients[0].is_contiguous():
                self._add(gradients[0])
                continue
            flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
            self._add(flat)
            pieces = torch.split(flat, [gradient.numel() for gradient in gradients])
            for gradient, piece in zip(gradients, pieces, strict=True):
                gradient.copy_(piece.view_as(gradient))

    def total(self, values: Tensor) -> Tensor:
        """The sum of a small tensor over all processes."""
        if self.size == 1:
            return values
        values = values.clone()
        self._add(values)
        return values

    def agree(self, *numbers: float) -> tuple[float, ...]:
        """The leading process' numbers, in all processes."""
        if self.size == 1:
            return numbers
        told = torch.tensor(numbers, dtype=torch.float64)
        with self._talk():
            distributed.broadcast(told, 0)
        return tuple(told.tolist())

    def same(self, make: Callable[[], T]) -> T:
        """What ``make`` gives in the leading process, in all processes; the others do not call it."""
        if self.size == 1:
            return make()
        told: list[Any] = [make() if self.leads else None]
        with self._talk():
            distributed.broadcast_object_list(told, 0, device=HOST)
        value: T = told[0]
        return value

    @torch.no_grad()
    def align(self, tensors: Iterable[Tensor]) -> None:
        """Give ``tensors`` the values that they have in the leading process."""
        if self.size == 1:
            return
        for tensor in tensors:
            whole = tensor.contiguous()
            with self._talk():
                distributed.broadcast(whole, 0)
            if whole is not tensor:
                tensor.copy_(whole)

    @contextmanager
    def leader_first(self) -> Iterator[None]:
        """The leading process does the block before the others, and waits for them after it: for files that it puts in
        order and the others read.
        """
        if not self.leads:
            self._meet()
        yield
        if self.leads:
            self._meet()
        self._meet()

    def reseed(self, seed: int, iteration: int) -> None:
        """Give a following process random numbers of its own for this iteration.

        Its samples are others than the leading process', so must be what is drawn for them. The leading one draws on as
        a process alone does; the others have no state to save.
        """
        if not self.leads:
            torch.manual_seed(((seed * 0x9E3779B97F4A7C15 + iteration) * 0xBF58476D1CE4E5B9 + self.rank) % 2**63)

    def check(self) -> None:
        """Raise GroupError if a process is known to be lost: what was computed since is not to be trusted."""
        if self.link is not None and self.link.lost.is_set():
            raise self.link.error()

    def _meet(self) -> None:
        self.total(torch.zeros(1))

    def _add(self, values: Tensor) -> None:
        with self._talk():
            distributed.all_reduce(values)

    @contextmanager
    def _talk(self) -> Iterator[None]:
        self.check()
        try:
            yield
        except RuntimeError as error:
            raise GroupError(str(error)) if self.link is None else self.link.error() from error


ALONE = World()


@dataclass
class Link:
    """How processes learn what became of each other."""

    store: Store
    processes: Sequence[BaseProcess] = ()
    lost: threading.Event = field(default_factory=threading.Event)

    def tell(self, reason: str) -> None:
        """Leave behind why this process ends."""
        with suppress(RuntimeError):
            self.store.set(FAILURE, reason)

    def error(self) -> GroupError:
        """What to say when a process does not answer."""
        return GroupError(
            f"the training has lost a process: {self._reason()}",
            mend="What was saved is kept: the same command goes on from it.",
        )

    def _reason(self) -> str:
        with suppress(RuntimeError):
            if self.store.check([FAILURE]):
                return self.store.get(FAILURE).decode("utf-8", "replace")
        # A connection closes a moment before its process has ended.
        gone = connection.wait([process.sentinel for process in self.processes], timeout=ENDING)
        for process in self.processes:
            if process.sentinel in gone:
                process.join(ENDING)
        ends = [f"{process.name} {_how(process.exitcode)}" for process in self.processes if process.exitcode]
        return ", ".join(ends) or "it is gone or does not answer"


def _how(exitcode: int) -> str:
    if exitcode >= 0:
        return f"ended with code {exitcode}"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-exitcode).name}"
    return f"was ended by signal {-exitcode}"


def _portions(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors of one type at a time, in their order, about BUCKET values together."""
    portion: list[Tensor] = []
    size = 0
    for tensor in tensors:
        if portion and (tensor.dtype != portion[0].dtype or size + tensor.numel() > BUCKET):
            yield portion
            portion, size = [], 0
        portion.append(tensor)
        size += tensor.numel()
    if portion:
        yield portion
