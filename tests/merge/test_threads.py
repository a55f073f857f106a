from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from recaster.merge.threads import WriteBehind, read_ahead


def test_items_come_in_order() -> None:
    assert list(read_ahead(range(50), 3)) == list(range(50))
    assert list(read_ahead([], 3)) == []


def test_no_more_than_depth_is_made_ahead() -> None:
    made: list[int] = []

    def source() -> Iterator[int]:
        for number in range(20):
            made.append(number)
            yield number

    for taken in read_ahead(source(), 3):
        time.sleep(0.002)
        assert len(made) <= taken + 1 + 3


def test_an_error_comes_at_its_place() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise OSError("broken")

    ahead = read_ahead(source(), 4)
    assert next(ahead) == 1
    with pytest.raises(OSError, match="broken"):
        next(ahead)


def test_leaving_early_stops_the_thread() -> None:
    before = threading.active_count()
    ahead = read_ahead(iter(range(10**9)), 2)
    next(ahead)
    ahead.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_calls_are_made_in_order_and_finished_on_leaving() -> None:
    seen: list[tuple[int, str]] = []

    def write(number: int, word: str) -> None:
        time.sleep(0.001)
        seen.append((number, word))

    with WriteBehind(write, 2) as behind:
        for number in range(20):
            behind(number, "x")
            assert len(seen) >= number - 2
    assert seen == [(number, "x") for number in range(20)]


def test_an_error_of_a_call_is_raised_and_later_calls_are_dropped() -> None:
    seen: list[int] = []

    def write(number: int) -> None:
        if number == 3:
            raise OSError("disk")
        seen.append(number)

    with pytest.raises(OSError, match="disk"), WriteBehind(write, 2) as behind:
        for number in range(100):
            behind(number)
    assert 2 in seen and len(seen) < 10


def test_an_error_in_the_block_drops_what_has_not_begun() -> None:
    started, go_on, seen = threading.Event(), threading.Event(), []

    def write(number: int) -> None:
        started.set()
        go_on.wait(5)
        seen.append(number)

    with pytest.raises(KeyError), WriteBehind(write, 5) as behind:
        for number in range(4):
            behind(number)
        started.wait(5)
        threading.Timer(0.05, go_on.set).start()
        raise KeyError
    assert seen == [0]
