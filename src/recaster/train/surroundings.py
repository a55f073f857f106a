"""What holds while a training runs: threads, random numbers, how it is interrupted, what is said when memory is out."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch

from recaster.nets.architecture import Architecture
from recaster.train.memory import is_out_of_memory, out_of_memory
from recaster.train.options import TrainOptions

OWN_GENERATORS = frozenset({"cuda", "xpu"})
"""Kinds of devices whose random numbers have a state of their own for each device."""


@contextmanager
def threads(count: int) -> Iterator[None]:
    """``count`` processor threads inside the block; 0 leaves the number as it is."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def own_random_numbers(device: torch.device, seed: int, *, deterministic: bool = False) -> Iterator[None]:
    """Networks draw from torch's global generators: seed them here, and give them back to the caller as they were.

    ``deterministic`` also forbids what gives other numbers on each run.
    """
    before, searching = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    # All batches have one shape, for which cuDNN may look for its fastest way.
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        # cuBLAS reads this when it starts; without it torch refuses to be deterministic.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    try:
        own = device.type in OWN_GENERATORS
        with torch.random.fork_rng([device] if own else [], device_type=device.type if own else "cuda"):
            torch.manual_seed(seed)
            yield
    finally:
        torch.backends.cudnn.benchmark = searching
        torch.use_deterministic_algorithms(before)


@contextmanager
def stop_request() -> Iterator[Callable[[], None]]:
    """Ctrl-C inside the block waits for the yielded check: in the middle of a step it would leave half a step.

    Nothing changes where the program handles Ctrl-C by itself.
    """
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        asked.set()

    def check() -> None:
        if asked.is_set():
            raise KeyboardInterrupt

    usual = threading.current_thread() is threading.main_thread() and (
        signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if usual:
        signal.signal(signal.SIGINT, ask)
    try:
        yield check
    finally:
        if usual:
            signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def memory_errors(
    architecture: Architecture, net_options: Any, options: TrainOptions, device: torch.device
) -> Iterator[None]:
    """Turn every way in which torch says that memory is out into one line."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        batch_size = options.batch_size or architecture.default_batch_size
        raise out_of_memory(architecture, net_options, options, device, batch_size) from error
