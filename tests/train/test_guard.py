from __future__ import annotations

import math

import numpy as np
import pytest

from recaster.train.guard import WARM_UP, Guard


def healthy(guard: Guard, count: int = 600, seed: int = 0) -> list[str | None]:
    """A training as they go: the loss falls from 2 to 0.4 with a spread of a third."""
    draw = np.random.default_rng(seed)
    level = 0.4 + 1.6 * np.exp(-np.arange(count) / 150)
    losses = level * draw.uniform(0.67, 1.33, (2, count))
    return [guard.observe_loss(float(src), float(dst)) for src, dst in losses.T]


def test_a_healthy_training_is_left_alone() -> None:
    guard = Guard()
    assert set(healthy(guard)) == {None}
    draw = np.random.default_rng(1)
    assert {guard.observe_gradients(float(norm)) for norm in np.exp(draw.normal(0, 1, 400))} == {None}
    assert {guard.observe_contrast(value) for value in (0.0, 0.1, 0.4, 0.9, 0.8)} == {None}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_noticed_at_once(value: float) -> None:
    assert "loss became" in str(Guard().observe_loss(value, 0.5))
    assert "loss became" in str(Guard().observe_loss(0.5, value))
    assert "gradients became" in str(Guard().observe_gradients(value))
    assert Guard().observe_contrast(value) is not None


def test_a_jump_of_the_loss_is_noticed_within_some_iterations() -> None:
    guard = Guard()
    healthy(guard)
    found = [guard.observe_loss(4.0, 4.0) for _ in range(100)]
    first = next(i for i, what in enumerate(found) if what)
    assert 3 < first < 60
    assert "rose from" in str(found[first])


def test_one_bad_batch_is_no_collapse() -> None:
    guard = Guard()
    healthy(guard)
    assert guard.observe_loss(8.0, 8.0) is None
    assert guard.observe_loss(0.4, 0.4) is None


def test_after_a_change_of_options_the_loss_may_be_another() -> None:
    guard = Guard()
    healthy(guard)
    guard.restart()
    assert {guard.observe_loss(4.0, 4.0) for _ in range(2 * WARM_UP)} == {None}


def test_exploding_gradients_are_noticed() -> None:
    guard = Guard()
    healthy(guard)
    for _ in range(20):
        assert guard.observe_gradients(1.0) is None
    assert "grew" in str(guard.observe_gradients(1e5))


def test_a_swap_that_turns_flat_is_noticed_only_if_it_was_alive() -> None:
    guard = Guard()
    assert guard.observe_contrast(0.01) is None
    assert guard.observe_contrast(0.6) is None
    assert guard.observe_contrast(0.01) == "the preview has become flat"
