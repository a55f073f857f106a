from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, strategies as st
from numpy.typing import NDArray
from torch import Generator

from recaster.train import yaw
from recaster.train.selection import Arrangement, Deck
from recaster.train.yaw import SORTED_BINS, SORTED_REACH, UNIFORM_BINS, UNIFORM_REACH, as_target, uniform, yaw_bins


def degrees(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def sorted_bin_middle(index: int) -> float:
    """Our yaw in the middle of a bin of the sorted feed, whose yaw is positive to the left."""
    return -float(np.degrees((2 * (index + 0.5) / SORTED_BINS - 1) * SORTED_REACH))


def dealt(arrangement: Arrangement, faces: int, count: int, weights: torch.Tensor | None = None) -> torch.Tensor:
    return Deck(torch.ones(faces) if weights is None else weights, 0, arrangement).deal(count)


def searched(wanted: int, present: set[int]) -> int:
    """The bin that is found first when one looks step by step."""
    mirror = SORTED_BINS - 1 - wanted
    for step in range(SORTED_BINS):
        for tried in (wanted - step, mirror - step, wanted + step, mirror + step):
            if tried in present:
                return tried
    raise AssertionError


def test_bins_are_of_equal_width_and_closed_at_the_ends() -> None:
    edges = np.degrees(np.linspace(-UNIFORM_REACH, UNIFORM_REACH, UNIFORM_BINS + 1))
    middles = ((edges[:-1] + edges[1:]) / 2).astype(np.float32)
    assert yaw_bins(middles, UNIFORM_BINS, UNIFORM_REACH).tolist() == list(range(UNIFORM_BINS))
    assert yaw_bins(degrees(-90, 90), UNIFORM_BINS, UNIFORM_REACH).tolist() == [0, UNIFORM_BINS - 1]


def test_uniform_deals_every_direction_equally_often() -> None:
    directions = np.repeat(degrees(-40, 0, 20, 60), [1, 50, 7, 2])
    cards = dealt(uniform(directions), 60, 60 * 40)
    by_direction = [int((directions[cards.numpy()] == value).sum()) for value in (-40, 0, 20, 60)]
    assert np.ptp(by_direction) <= 4 and sum(by_direction) == 2400
    frontal = torch.bincount(cards, minlength=60)[1:51]
    assert int(frontal.min()) > 0, "and all faces of a direction"


def test_a_direction_deals_all_its_faces_before_one_again() -> None:
    directions = np.repeat(degrees(-40, 30), [30, 30])
    epoch = dealt(uniform(directions), 60, 60)
    assert sorted(epoch.tolist()) == list(range(60))


def test_left_out_faces_stay_out_of_both_orders() -> None:
    directions = np.linspace(-40, 40, 20).astype(np.float32)
    weights = torch.ones(20)
    weights[[0, 7, 19]] = 0
    for arrangement in (uniform(directions), as_target(directions, directions)):
        faces = dealt(arrangement, 20, 2000, weights) % 20
        assert not set(faces.tolist()) & {0, 7, 19}


def test_weights_hold_within_a_direction() -> None:
    weights = torch.ones(40)
    weights[20:] = 0.25
    faces = dealt(uniform(np.zeros(40, np.float32)), 40, 20_000, weights).bincount(minlength=40)
    assert 0.2 < float(faces[20:].sum() / faces[:20].sum()) < 0.3


@given(
    st.lists(st.integers(0, SORTED_BINS - 1), min_size=1, max_size=12),
    st.lists(st.integers(0, SORTED_BINS - 1), min_size=1, max_size=12),
)
def test_source_directions_are_found_as_by_the_search(present: list[int], wanted: list[int]) -> None:
    source = degrees(*(sorted_bin_middle(index) for index in present))
    target = degrees(*(sorted_bin_middle(index) for index in wanted))
    expected = {}
    for index in sorted(set(wanted)):
        found = searched(index, set(present))
        expected[found, (found < 32) != (index < 32)] = expected.get((found, (found < 32) != (index < 32)), 0) + 1
    rounds = 12
    slots = len(set(wanted))
    order = as_target(source, target)
    cards = torch.cat([order(torch.arange(len(present)), Generator().manual_seed(seed)) for seed in range(rounds)])
    counts: dict[tuple[int, bool], int] = {}
    for card in cards.tolist():
        key = present[card % len(present)], card >= len(present)
        counts[key] = counts.get(key, 0) + 1
    assert {key: count * slots / len(cards) for key, count in counts.items()} == expected


def test_one_sided_source_is_mirrored_for_the_other_side() -> None:
    source, target = degrees(10, 20, 30), degrees(-30, -20, -10, 10, 20, 30)
    cards = dealt(as_target(source, target), 3, 60)
    assert set(cards.tolist()) == set(range(6))
    assert torch.bincount(cards, minlength=6).tolist() == [10] * 6


def test_directions_that_the_target_never_takes_are_not_dealt() -> None:
    source = np.linspace(-40, 40, 81).astype(np.float32)
    cards = dealt(as_target(source, degrees(-5, 0, 5)), 81, 500)
    assert float(np.abs(source[cards.numpy() % 81]).max()) < 7


def test_a_bin_that_serves_many_deals_all_its_faces() -> None:
    """A source that looks ahead and a target that looks everywhere: no face may come again and again."""
    source, target = np.zeros(40, np.float32), np.linspace(-45, 45, 200).astype(np.float32)
    faces = dealt(as_target(source, target), 40, 64) % 40
    assert int(torch.bincount(faces).max()) <= 4


@given(st.integers(0, 2**31), st.integers(1, 60), st.integers(0, 90))
def test_a_restored_deck_goes_on_in_both_orders(seed: int, faces: int, before: int) -> None:
    directions = np.random.default_rng(seed).normal(0, 20, faces).astype(np.float32)
    for arrangement in (uniform(directions), as_target(directions, -directions)):
        deck = Deck(torch.ones(faces), seed, arrangement)
        if before:
            deck.deal(before)
        state = deck.state()
        expected = deck.deal(25)
        other = Deck(torch.ones(faces), 0, arrangement)
        other.restore(state)
        assert torch.equal(other.deal(25), expected)


def test_earlier_counts_equal_values_before() -> None:
    assert yaw._earlier(torch.tensor([5, 3, 5, 5, 3])).tolist() == [0, 0, 1, 2, 1]
