from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from recaster.train.log import History
from recaster.train.lossgraph import HEIGHT, _round_steps, _Scale, loss_graph
from recaster.types import Picture

PLOT = slice(28, HEIGHT - 20)


def line_of(picture: Picture, person: str) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the plot that show a person's bright line."""
    red, _, blue = picture[PLOT].astype(int).transpose(2, 0, 1)
    warm = red - blue if person == "src" else blue - red
    rows, columns = np.nonzero((warm > 75) & (np.maximum(red, blue) > 120))
    return rows, columns


def test_both_losses_are_drawn() -> None:
    falling = np.linspace(2, 1, 300)
    picture = loss_graph(History(np.stack([falling, 3 - falling], 1)), 300, 900)
    assert picture.shape == (HEIGHT, 900, 3) and picture.dtype == np.uint8
    for person, sign in (("src", 1), ("dst", -1)):
        rows, columns = line_of(picture, person)
        assert columns.min() < 60 and columns.max() > 880
        assert np.corrcoef(rows, columns)[0, 1] * sign > 0.95, "falling goes down, which is a growing row"


def test_a_wide_range_is_logarithmic() -> None:
    history = History(np.stack([np.geomspace(10, 0.01, 1000)] * 2, 1))
    rows, columns = line_of(loss_graph(history, 1000, 900), "dst")
    straight = np.polyfit(columns, rows, 1)
    assert np.abs(np.polyval(straight, columns) - rows).max() < 4, "an exponential is a straight line"
    assert not _Scale(1, 4).logarithmic and _Scale(1, 6).logarithmic and not _Scale(-1, 6).logarithmic


def test_few_outliers_do_not_flatten_the_rest() -> None:
    losses = np.tile(np.linspace(1.0, 0.5, 1000)[:, None], 2)
    losses[400] = 1e9
    rows, _ = line_of(loss_graph(History(losses), 1000, 900), "dst")
    assert np.ptp(rows) > 100


@pytest.mark.parametrize(
    "losses",
    [
        np.empty((0, 2)),
        np.full((5, 2), math.nan),
        np.full((5, 2), math.inf),
        np.zeros((5, 2)),
        np.ones((1, 2)),
        np.full((50, 2), 1e-12),
        np.array([[math.nan, 1], [1, math.inf], [-math.inf, math.nan], [2, 2]]),
        np.array([[-1.0, 5.0], [-3.0, 1e12]]),
    ],
)
def test_odd_losses_do_no_harm(losses: NDArray[np.float64]) -> None:
    picture = loss_graph(History(losses), len(losses), 640)
    assert picture.shape == (HEIGHT, 640, 3)
    assert picture[:26].max() > 200, "the iteration is written"


def test_what_is_no_number_leaves_a_gap() -> None:
    losses = np.linspace(1, 2, 100)[:, None].repeat(2, 1)
    losses[40:60] = math.nan
    _, columns = line_of(loss_graph(History(losses), 100, 900), "dst")
    inside = 52 + (900 - 66) * np.array([0.43, 0.57])
    assert not ((columns > inside[0]) & (columns < inside[1])).any()
    assert (columns < inside[0]).any() and (columns > inside[1]).any()


def test_ticks_are_round() -> None:
    assert _round_steps(0, 1, 4) == pytest.approx([0, 0.5, 1])
    assert _round_steps(480, 2100, 4) == [500, 1000, 1500, 2000]
    assert _Scale(0.5, 20).ticks() == pytest.approx([0.5, 1, 2, 5, 10, 20])
    assert len(_Scale(1e-7, 1e3).ticks()) <= 12
