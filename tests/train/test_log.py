from __future__ import annotations

import math
from pathlib import Path

import pytest

from recaster.train.log import NAME, RECENT, LossLine, LossLog, read_losses, recent_loss


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


def test_what_was_not_saved_is_cut_off(tmp_path: Path) -> None:
    written(tmp_path, 1, 9)
    before = (tmp_path / NAME).read_bytes()
    written(tmp_path, 6, 9)
    assert (tmp_path / NAME).read_bytes() == before


@pytest.mark.parametrize("rest", [b'{"iteration": 10, "src"', b"\x00\x00", b"not json\n", b'{"iteration": 10}\n'])
def test_a_torn_line_is_cut_off(tmp_path: Path, rest: bytes) -> None:
    written(tmp_path, 1, 9)
    whole = (tmp_path / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(whole + rest)
    assert len(list(read_losses(tmp_path))) == 9
    LossLog(tmp_path, 9).close()
    assert (tmp_path / NAME).read_bytes() == whole


def test_the_recent_loss_is_a_mean(tmp_path: Path) -> None:
    assert math.isnan(recent_loss(tmp_path)[0])
    written(tmp_path, 1, 4)
    assert recent_loss(tmp_path)[0] == pytest.approx(2.5 / 3, abs=1e-5)
    written(tmp_path, 1, 5000)
    expected = sum(iteration / 3 for iteration in range(5001 - RECENT, 5001)) / RECENT
    assert recent_loss(tmp_path)[0] == pytest.approx(expected, abs=1e-5)


def test_no_log_has_no_lines(tmp_path: Path) -> None:
    assert list(read_losses(tmp_path)) == []
