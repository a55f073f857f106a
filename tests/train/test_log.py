from __future__ import annotations

import json
import math
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from recaster.train.log import (
    COLUMNS,
    NAME,
    RECENT,
    History,
    LossLine,
    LossLog,
    last_losses,
    read_history,
    read_losses,
    recent_loss,
)


def written(folder: Path, first: int, last: int) -> None:
    log = LossLog(folder, first - 1)
    for iteration in range(first, last + 1):
        log.add(LossLine(iteration, iteration / 3, 1 / iteration, 0.25))
    log.sync()
    log.close()


def test_lines_come_back(tmp_path: Path) -> None:
    written(tmp_path / "a model ü", 1, 12)
    lines = list(read_losses(tmp_path / "a model ü"))
    assert [line.iteration for line in lines] == list(range(1, 13))
    assert lines[6].src == pytest.approx(7 / 3, abs=1e-6)


def test_lines_hold_what_is_known(tmp_path: Path) -> None:
    log = LossLog(tmp_path, 0)
    log.add(LossLine(1, 0.5, 0.25, 0.1))
    log.add(LossLine(2, math.nan, math.inf, 0.1, rate=5e-5 / 3, norm=1234.5678))
    log.close()
    first, second = map(json.loads, (tmp_path / NAME).read_text().splitlines())
    assert first == {"iteration": 1, "src": 0.5, "dst": 0.25, "seconds": 0.1}
    assert second == {"iteration": 2, "src": None, "dst": None, "seconds": 0.1, "rate": 1.667e-05, "norm": 1235.0}
    one, two = read_losses(tmp_path)
    assert one == LossLine(1, 0.5, 0.25, 0.1)
    assert math.isnan(two.src) and math.isnan(two.dst) and (two.rate, two.norm) == (1.667e-05, 1235.0)
    assert recent_loss(tmp_path) == (0.5, 0.25)


def test_older_logs_are_read(tmp_path: Path) -> None:
    old = [
        json.dumps({"iteration": n, "src": math.nan if n == 2 else 1.0, "dst": 2.0, "seconds": 0.1}) for n in (1, 2, 3)
    ]
    (tmp_path / NAME).write_text("\n".join(old) + "\n")
    lines = list(read_losses(tmp_path))
    assert [line.iteration for line in lines] == [1, 2, 3]
    assert math.isnan(lines[1].src) and lines[2].src == 1.0
    written(tmp_path, 3, 4)
    assert [line.iteration for line in read_losses(tmp_path)] == [1, 2, 3, 4]


def test_what_was_not_saved_is_cut_off(tmp_path: Path) -> None:
    written(tmp_path, 1, 9)
    before = (tmp_path / NAME).read_bytes()
    written(tmp_path, 6, 9)
    assert (tmp_path / NAME).read_bytes() == before
    log = LossLog(tmp_path, 9)
    assert len(log.history) == 9
    log.cut(4)
    assert [line.iteration for line in read_losses(tmp_path)] == [1, 2, 3, 4]
    log.add(LossLine(5, 7.0, 7.0, 0.1))
    assert log.history.lines == 5 and log.history.high[4, 0] == 7
    log.close()


@pytest.mark.parametrize("rest", [b'{"iteration": 10, "src"', b"\x00\x00", b"not json\n", b'{"iteration": 10}\n'])
def test_a_torn_line_is_cut_off(tmp_path: Path, rest: bytes) -> None:
    written(tmp_path, 1, 9)
    whole = (tmp_path / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(whole + rest)
    assert len(list(read_losses(tmp_path))) == len(last_losses(tmp_path)) == read_history(tmp_path).lines == 9
    LossLog(tmp_path, 9).close()
    assert (tmp_path / NAME).read_bytes() == whole


@given(
    st.lists(st.integers(1, 3), max_size=40),
    st.integers(0, 130),
    st.sampled_from([b"", b"\x00" * 7, b'{"iteration": 1', b"\n\n"]),
)
def test_the_place_of_the_cut(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], limit: int, rest: bytes
) -> None:
    folder = tmp_path_factory.mktemp("log")
    lines = [json.dumps({"iteration": int(n), "src": 10.0**-n, "dst": 1, "seconds": 1}) for n in np.cumsum(steps)]
    (folder / NAME).write_bytes("".join(line + "\n" for line in lines).encode() + rest)
    kept = [line + "\n" for line, n in zip(lines, np.cumsum(steps), strict=True) if n <= limit]
    LossLog(folder, limit).close()
    assert (folder / NAME).read_bytes() == "".join(kept).encode()


def test_the_recent_loss_is_a_mean(tmp_path: Path) -> None:
    assert math.isnan(recent_loss(tmp_path)[0])
    written(tmp_path, 1, 4)
    assert recent_loss(tmp_path)[0] == pytest.approx(2.5 / 3, abs=1e-5)
    written(tmp_path, 1, 5000)
    expected = sum(iteration / 3 for iteration in range(5001 - RECENT, 5001)) / RECENT
    assert recent_loss(tmp_path)[0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("count", [1, 7, 4999, 5000, 9000])
def test_the_last_lines(tmp_path: Path, count: int) -> None:
    written(tmp_path, 1, 5000)
    assert [line.iteration for line in last_losses(tmp_path, count)] == list(range(1, 5001))[-count:]


def test_no_log_has_no_lines(tmp_path: Path) -> None:
    assert list(read_losses(tmp_path)) == last_losses(tmp_path) == []
    assert len(read_history(tmp_path)) == 0


@given(st.integers(0, 5 * COLUMNS), st.integers(0, 300))
def test_a_history_is_the_same_however_it_came(count: int, more: int) -> None:
    draw = np.random.default_rng(count)
    losses = draw.random((count + more, 2))
    losses[draw.random((count + more, 2)) < 0.1] = math.nan
    whole, grown = History(losses, first=8), History(losses[:count], first=8)
    for row in range(count, count + more):
        grown.add(LossLine(8 + row, *losses[row], 0.1))
    assert (whole.lines, whole.span, len(whole)) == (grown.lines, grown.span, len(grown))
    assert len(whole) <= COLUMNS
    for name in ("iterations", "low", "mean", "high"):
        np.testing.assert_allclose(getattr(whole, name), getattr(grown, name))


def test_a_history_tells_lowest_mean_and_highest() -> None:
    losses = np.arange(2 * 4 * COLUMNS, dtype=float).reshape(-1, 2)
    losses[0] = math.inf
    history = History(losses)
    assert history.span == 4 and len(history) == COLUMNS
    assert history.iterations[:3].tolist() == [1, 5, 9]
    assert (history.low[1, 0], history.mean[1, 0], history.high[1, 0]) == (8, 11, 14)
    assert (history.low[0, 1], history.mean[0, 1], history.high[0, 1]) == (3, 5, 7), "what is no number does not count"


def test_a_million_iterations_are_no_burden(tmp_path: Path) -> None:
    count = 1_000_000
    (tmp_path / NAME).write_bytes(
        b"".join(b'{"iteration":%d,"src":0.345678,"dst":0.2,"seconds":0.1234}\n' % n for n in range(1, count + 1))
    )
    began = time.process_time()
    log = LossLog(tmp_path, count - 10)
    opened = time.process_time() - began
    assert recent_loss(tmp_path)[1] == pytest.approx(0.2)
    assert [line.iteration for line in last_losses(tmp_path, 2)] == [count - 11, count - 10]
    looked = time.process_time() - began - opened
    history = log.history
    log.close()
    assert (history.lines, history.span) == (count - 10, 1024)
    assert opened < 0.2 and looked < 0.2, (opened, looked)
    assert time.process_time() - began < 10
