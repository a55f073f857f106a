"""The contact sheet: a row a frame, in three columns."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from recaster.errors import MissingError
from recaster.faces.faceset import FaceSet
from recaster.media.pictures import read_picture
from recaster.media.reader import FrameReader
from recaster.media.writer import FrameWriter
from recaster.project.sheet import TILE, _at_the_time_of, contact_sheet

BAR = 24


def draw(film: Path, output: Path, frames: int, result: str = "result.mp4") -> np.ndarray:
    sets = (FaceSet(film / f"data_{side}" / "aligned") for side in ("src", "dst"))
    return read_picture(contact_sheet(*sets, film / "data_dst.mp4", film / result, output, frames))


@pytest.mark.parametrize(("frames", "rows"), [(1, 1), (8, 8), (40, 12)])
def test_a_row_a_frame_and_three_columns(finished_film: Path, tmp_path: Path, frames: int, rows: int) -> None:
    picture = draw(finished_film, tmp_path / "sheet.png", frames)
    assert picture.shape == (BAR + rows * TILE, 3 * TILE, 3)
    for row in range(rows):
        for column in range(3):
            tile = picture[BAR + row * TILE :, column * TILE :][:TILE, :TILE]
            assert tile.std() > 10, (row, column)


def test_the_columns_are_source_target_and_swap(finished_film: Path, tmp_path: Path) -> None:
    plain = draw(finished_film, tmp_path / "a.png", 8, result="data_dst.mp4")
    picture = draw(finished_film, tmp_path / "b.png", 8)
    source, target, swap = np.split(picture[BAR:].astype(int), 3, axis=1)
    assert np.array_equal(plain[BAR:, TILE : 2 * TILE], plain[BAR:, 2 * TILE :])
    assert np.array_equal(target, plain[BAR:, TILE : 2 * TILE])
    assert np.abs(swap - target).mean() > 2
    assert np.abs(source - target).mean() > 10


def test_without_a_result_it_says_what_to_run(finished_film: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="extract, train and merge first"):
        draw(finished_film, tmp_path / "sheet.png", 8, result="none.mp4")
    assert not (tmp_path / "sheet.png").exists()


def test_frames_are_paired_by_their_time(tmp_path: Path) -> None:
    """The result lacks the target's frames 1 and 2, as where those could not be read."""
    for name, numbers in (("before", range(6)), ("after", (0, 3, 4, 5))):
        with FrameWriter(tmp_path / f"{name}.mp4", width=32, height=32, rate=25) as writer:
            for number in numbers:
                writer.write(np.full((32, 32, 3), 40 * number, np.uint8), Fraction(number, 25))
    with FrameReader(tmp_path / "before.mp4") as before, FrameReader(tmp_path / "after.mp4") as after:
        shown = [round(_at_the_time_of(before.read(number), after).image.mean() / 40) for number in range(6)]
    assert shown == [0, 0, 0, 3, 4, 5]
