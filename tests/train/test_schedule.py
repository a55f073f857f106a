from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, strategies as st

from recaster.errors import UsageError
from recaster.options import Options
from recaster.train.options import TrainOptions
from recaster.train.schedule import Event, next_event, options_at, parse_schedule


def test_entries_are_read_in_the_order_of_their_iterations() -> None:
    assert parse_schedule(["width=4 at 300", " random-warp = false at 20 "]) == (
        Event(20, "random_warp", "false"),
        Event(300, "width", "4"),
    )


@pytest.mark.parametrize(
    "entry", ["", "random_warp=false", "random_warp at 3", "=1 at 3", "a=1 at -3", "a=1 at 3 at 4"]
)
def test_nonsense_is_refused_in_one_line(entry: str) -> None:
    with pytest.raises(UsageError, match="NAME=VALUE at ITERATION"):
        parse_schedule([entry])


@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(0, 0.3)), max_size=5))
def test_the_last_event_that_has_come_holds(events: list[tuple[int, float]]) -> None:
    options = TrainOptions(random_hsv=0.2, schedule=tuple(f"random_hsv={value!r} at {at}" for at, value in events))
    for at in {0, *(at for at, _ in events)}:
        past = sorted((event for event in events if event[0] <= at), key=lambda event: event[0])
        expected = past[-1][1] if past else 0.2
        now, _ = options_at(at, options, Options())
        assert now.random_hsv == expected


def test_options_of_the_network_change_too(tiny_options: type[Options]) -> None:
    options = TrainOptions(schedule=("rate=0.5 at 10", "random_warp=off at 20"))
    for iteration, rate, warp in ((9, 1e-3, True), (10, 0.5, True), (20, 0.5, False)):
        now, net_now = options_at(iteration, options, tiny_options())
        assert (net_now.model_dump()["rate"], now.random_warp) == (rate, warp)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("gan=1 at 99999", "'gan' cannot be changed"),
        ("iterations=5 at 99999", "'iterations' cannot be changed"),
        ("random_hsv=2 at 99999", "random_hsv"),
        ("batch_size=7.5 at 5", "batch_size"),
    ],
)
def test_a_mistake_is_found_long_before_it_is_due(entry: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        options_at(0, TrainOptions(schedule=(entry,)), Options())


def test_next_event(tiny_options: Callable[[], Options]) -> None:
    options = TrainOptions(schedule=("random_warp=false at 20", "ema=0.9 at 50"))
    assert [next_event(at, options) for at in (0, 19, 20, 49, 50)] == [20, 20, 50, 50, None]
