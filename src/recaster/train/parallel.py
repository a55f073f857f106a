"""Several processes that train one model together, each on its share of every batch.

Every process holds the whole model and makes the same steps with it: gradients are summed over all of them before an
optimizer sees them, and what is drawn at random for the weights is drawn alike. So any of them could save the model.
The leading one (rank 0) does; it alone decides, writes files and talks to people.

The processes are those of ``torchrun``, on one machine or many, or this process starts the others itself, one for each
device that it was given. docs/decisions/007-data-parallel-without-a-wrapper.md says why the gradients are summed here.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing import connection, get_context, parent_process
from multiprocessing.process import BaseProcess
from pickle import PicklingError
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed
from torch.distributed import Store, TCPStore, rendezvous  # type: ignore[attr-defined]

from recaster.device import choose_device, choose_devices
from recaster.errors import RecasterError, UsageError

T = TypeVar("T")

JOIN = timedelta(minutes=5)
"""How long processes wait for each other at the start; importing torch over a network may take a while."""
WAIT = timedelta(hours=2)
"""How long they wait for each other later, while the leading one runs a user's command, say. A process that dies is
noticed at once, by its closed connections; this is for cut cables.
"""
LEAVE = 10.0
"""Seconds in which a process that was started here must end by itself, once the training has."""
ENDING = 2.0
"""Seconds between the moment at which others see that a process ends, and the one at which it has ended."""
BUCKET = 2**23
"""Gradients travel in portions of this many values: few enough to need little memory, enough to be worth a message."""
FAILURE = "failure"

HOME = "127.0.0.1"
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
    _link: _Link | None = None

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
        if self._link is not None and self._link.lost.is_set():
            raise self._link.error()

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
            raise GroupError(str(error)) if self._link is None else self._link.error() from error


ALONE = World()


def leading() -> bool:
    """Whether this process is the one of its training that talks to people, as far as its environment tells."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def together(devices: str, follow: Callable[[World], object]) -> Iterator[World]:
    """Inside the block this process trains in the world that it yields.

    ``devices`` is what the user chose. One name is one process. Several with commas are as many: this one leads on the
    first, the others are started and call ``follow`` with their world, so that it must be something that can be
    pickled; they end with the block, however it is left. A process of ``torchrun`` joins its likes, on its own device
    of the kind.

    Raises UsageError for devices that do not work, GroupError when a process cannot be started or reached.
    """
    launched = int(os.environ.get("WORLD_SIZE", "1")) > 1
    several = _launched(devices) if launched else _started(devices, follow) if "," in devices else None
    with several or nullcontext(World(device=choose_device(devices))) as world:
        yield world


@contextmanager
def _launched(devices: str) -> Iterator[World]:
    """The world of a process that ``torchrun`` has started."""
    device = _own_device(devices, int(os.environ.get("LOCAL_RANK", os.environ.get("RANK", "0"))))
    try:
        store, rank, size = next(rendezvous("env://", timeout=JOIN))
    except (RuntimeError, ValueError) as error:
        raise GroupError(
            f"this process found no others to train with: {error}", mend="Start all of them with one torchrun."
        ) from error
    with _group(_Link(store), rank, size, device) as world:
        yield world


def _own_device(devices: str, index: int) -> torch.device:
    """The device of process ``index`` of a machine: that one of the list, or of the kind where one name was given."""
    if "," in devices:
        several = choose_devices(devices)
        if index >= len(several):
            raise UsageError(f"devices {devices!r} are too few", mend="Name one for each process of this machine.")
        return several[index]
    kind = choose_device(devices).type
    return torch.device(kind) if kind in {"cpu", "mps"} else choose_device(f"{kind}:{index}")


@contextmanager
def _started(devices: str, follow: Callable[[World], object]) -> Iterator[World]:
    """The world of a process that starts the others by itself."""
    leading, *following = choose_devices(devices)
    size = 1 + len(following)
    if leading.type == "cuda":
        # NCCL's own watchdog would end this process without a word; _watch leaves it the time to say one.
        os.environ.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0")
    store = TCPStore(HOME, 0, is_master=True, wait_for_workers=False, timeout=JOIN)
    threads = torch.get_num_threads()
    own_threads = max(1, threads // size) if leading.type == "cpu" else threads
    processes = [
        get_context("spawn").Process(
            target=_follower,
            args=(store.port, rank, size, str(device), own_threads, follow),
            name=f"process {rank} ({device})",
            daemon=True,
        )
        for rank, device in enumerate(following, 1)
    ]
    link = _Link(store, processes)
    torch.set_num_threads(own_threads)
    patience = 0.0
    try:
        for process in processes:
            _start(process)
        _await(link, size)
        with _group(link, 0, size, leading) as world:
            yield world
        patience = LEAVE
    finally:
        torch.set_num_threads(threads)
        _end(processes, patience)


def _start(process: BaseProcess) -> None:
    try:
        process.start()
    except (AttributeError, TypeError, PicklingError) as error:
        raise GroupError(
            f"this training cannot be told to another process: {error}",
            mend="Put the class of the model into a module of its own, or start the training with torchrun.",
        ) from error


def _follower(port: int, rank: int, size: int, name: str, threads: int, follow: Callable[[World], object]) -> None:
    """All that a started process does. It says nothing: the leading process tells what went wrong in it."""
    # Ctrl-C reaches every process of a terminal; the leading one decides what comes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    try:
        link = _Link(TCPStore(HOME, port, is_master=False, timeout=JOIN))
        link.store.set(_here(rank), "")
        with _group(link, rank, size, torch.device(name)) as world:
            follow(world)
    except Exception:
        sys.exit(1)


def _end_with_parent() -> None:
    """End this process at once when the one that started it is gone: nobody would ever hear of it again."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _here(rank: int) -> str:
    return f"here/{rank}"


def _await(link: _Link, size: int) -> None:
    """Wait until all started processes are there, and for no process that has died."""
    until = time.monotonic() + JOIN.total_seconds()
    while not link.store.check([_here(rank) for rank in range(1, size)]):
        if time.monotonic() > until or any(process.exitcode is not None for process in link.processes):
            raise link.error()
        time.sleep(0.02)


def _end(processes: Iterable[BaseProcess], patience: float) -> None:
    """Wait so many seconds for processes to end, then end them."""
    until = time.monotonic() + patience
    started = [process for process in processes if process.pid is not None]
    for stop in (None, BaseProcess.terminate, BaseProcess.kill):
        for process in started:
            if stop is not None and process.is_alive():
                stop(process)
        for process in started:
            process.join(max(0.0, until - time.monotonic()) if stop is None else LEAVE)


@contextmanager
def _group(link: _Link, rank: int, size: int, device: torch.device) -> Iterator[World]:
    """Inside the block the processes can talk."""
    try:
        distributed.init_process_group(_backend(device), store=link.store, rank=rank, world_size=size, timeout=WAIT)
    except (RuntimeError, ValueError) as error:
        raise GroupError(f"the processes of this training cannot be connected: {error}") from error
    if device.type != "cpu":
        threading.Thread(target=_watch, args=(link,), daemon=True).start()
    try:
        with _current(device):
            yield World(rank, size, device, link)
    except Exception as error:
        if not isinstance(error, GroupError):
            link.tell(f"process {rank} ({device}): {error if isinstance(error, RecasterError) else repr(error)}")
        raise
    finally:
        with suppress(RuntimeError):
            distributed.destroy_process_group()


def _backend(device: torch.device) -> str:
    """What tensors travel by: gloo for those on the CPU, for the device's own what torch has for its kind."""
    if device.type == "cpu":
        return "gloo"
    own = distributed.get_default_backend_for_device(device)
    return f"cpu:gloo,{device.type}:{own if distributed.is_backend_available(own) else 'gloo'}"


def _current(device: torch.device) -> AbstractContextManager[Any]:
    """Inside the block ``device`` is the one of its kind that is meant where none is named."""
    if device.index is None:
        return nullcontext()
    current: AbstractContextManager[Any] = torch.get_device_module(device).device(device.index)
    return current


def _watch(link: _Link) -> None:
    """Notice when a started process dies, and let this one wait for it no longer.

    On a CPU the closed connection ends the waiting by itself; an accelerator's has no end.
    """
    alive: dict[Any, BaseProcess] = {process.sentinel: process for process in link.processes}
    while alive:
        for sentinel in connection.wait(list(alive)):
            process = alive.pop(sentinel)
            process.join(ENDING)
            if process.exitcode != 0:
                link.lost.set()
                with suppress(RuntimeError, AttributeError):
                    distributed.group.WORLD.abort()  # type: ignore[union-attr]
                return


@dataclass
class _Link:
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
