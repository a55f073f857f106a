"""Decoding ahead and encoding behind in one thread each, in order and with a bounded number of frames in flight."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")


def read_ahead(items: Iterable[T], depth: int) -> Iterator[T]:
    """The items in their order, while a thread already makes the next ``depth``. Its errors are raised here."""
    source = iter(items)
    end: Any = object()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead") as pool:
        try:
            made = deque(pool.submit(next, source, end) for _ in range(depth))
            while (item := made.popleft().result()) is not end:
                made.append(pool.submit(next, source, end))
                yield item
        finally:
            pool.shutdown(cancel_futures=True)


class WriteBehind:
    """Calls ``write`` in a thread, in order, at most ``depth`` calls behind; a context manager.

    An error in the thread is raised by a later call, or on leaving. Where the block is left by an error, calls that
    have not begun are dropped.
    """

    def __init__(self, write: Callable[..., object], depth: int) -> None:
        self._write = write
        self._depth = depth
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="write-behind")
        self._waiting: deque[Future[object]] = deque()

    def __call__(self, *values: object) -> None:
        """Hand over one call."""
        self._waiting.append(self._pool.submit(self._write, *values))
        self._settle(self._depth)

    def __enter__(self) -> WriteBehind:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._settle(0)
        finally:
            self._pool.shutdown(cancel_futures=True)

    def _settle(self, remaining: int) -> None:
        while len(self._waiting) > remaining:
            self._waiting.popleft().result()
