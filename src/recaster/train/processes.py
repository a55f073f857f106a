"""Where the processes of a training come from, and how they end.

They are those of ``torchrun``, on one machine or many; or this process starts the others itself, one for each device
that it was given.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import timedelta
from multiprocessing import connection, get_context, parent_process
from multiprocessing.process import BaseProcess
from pickle import PicklingError
from typing import Any

import torch
from torch import distributed
from torch.distributed import TCPStore, rendezvous  # type: ignore[attr-defined]

from recaster.device import choose_device, choose_devices
from recaster.errors import RecasterError, UsageError
from recaster.train.parallel import ENDING, GroupError, Link, World

JOIN = timedelta(minutes=5)
"""How long processes wait for each other at the start; importing torch over a network may take a while."""
WAIT = timedelta(hours=2)
"""How long they wait for each other later, while the leading one runs a user's command, say. A process that dies is
noticed at once, by its closed connections; this is for cut cables.
"""
LEAVE = 10.0
"""Seconds in which a process that was started here must end by itself, once the training has."""
HOME = "127.0.0.1"


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
    with _group(Link(store), rank, size, device) as world:
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
    link = Link(store, processes)
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
    code = 1
    with suppress(Exception):
        link = Link(TCPStore(HOME, port, is_master=False, timeout=JOIN))
        link.store.set(_here(rank), "")
        with _group(link, rank, size, torch.device(name)) as world:
            follow(world)
        code = 0
    # Nothing is left to be done, and taking the interpreter down beside torch's threads aborts now and then.
    os._exit(code)


def _end_with_parent() -> None:
    """End this process at once when the one that started it is gone: nobody would ever hear of it again."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _here(rank: int) -> str:
    return f"here/{rank}"


def _await(link: Link, size: int) -> None:
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
def _group(link: Link, rank: int, size: int, device: torch.device) -> Iterator[World]:
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


def _watch(link: Link) -> None:
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
