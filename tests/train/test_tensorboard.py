from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from recaster.errors import MissingError
from recaster.train.tensorboard import FOLDER, Board

needs_tensorboard = pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed (pip install tensorboard)"
)


def test_without_the_package_one_line_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingError, match=r"not installed\. Run: pip install 'recaster\[tensorboard\]'"):
        Board(tmp_path, 0)
    assert not list(tmp_path.iterdir())


@needs_tensorboard
@pytest.mark.filterwarnings("ignore")
def test_curves_go_on_after_a_stop(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = tmp_path / "ein Modell"
    for first, last, loss in ((1, 9, 1.0), (6, 12, 2.0)):
        board = Board(folder, first - 1)
        for iteration in range(first, last + 1):
            board.losses(iteration, loss, 2 * loss, rate=1e-4 if iteration == last else None)
        board.picture(last, np.full((20, 30, 3), 90, np.uint8))
        board.close()
    events = EventAccumulator(str(folder / FOLDER))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss/src")] == [
        *((step, 1.0) for step in range(1, 6)),
        *((step, 2.0) for step in range(6, 13)),
    ]
    assert [event.value for event in events.Scalars("loss/dst")][-1] == 4.0
    assert [event.step for event in events.Scalars("learning rate")] == [12]
    (picture,) = events.Images("preview")
    assert (picture.step, picture.width, picture.height) == (12, 30, 20)
