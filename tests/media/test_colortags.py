from __future__ import annotations

import pytest

from recaster.errors import MediaError
from recaster.media.colortags import BT709, check_convertible, numbers_of, reading_tag, tag_of, writing_tag
from recaster.types import ColorTag


def test_names_and_numbers_are_inverse() -> None:
    tag = tag_of(9, 9, 16, True)
    assert tag == ColorTag("bt2020nc", "bt2020", "smpte2084", True)
    assert numbers_of(tag) == (9, 9, 16)
    assert numbers_of(ColorTag()) == (2, 2, 2)
    assert tag_of(99, 99, 99, False) == ColorTag()


@pytest.mark.parametrize(
    ("height", "matrix"), [(288, "smpte170m"), (719, "smpte170m"), (720, "bt709"), (2160, "bt709")]
)
def test_untagged_video_is_read_by_its_size(height: int, matrix: str) -> None:
    assert reading_tag(ColorTag(), height, rgb=False) == ColorTag(matrix=matrix)


def test_a_stated_matrix_is_kept() -> None:
    tag = ColorTag("bt709", "bt709", "bt709")
    assert reading_tag(tag, 100, rgb=False) == tag
    assert writing_tag(tag) == tag
    assert reading_tag(ColorTag(), 100, rgb=True).matrix == "gbr"


@pytest.mark.parametrize("matrix", ["unknown", "gbr", "ycgco"])
def test_video_is_written_as_bt709_when_the_matrix_cannot_be_kept(matrix: str) -> None:
    assert writing_tag(ColorTag(matrix=matrix, full_range=True)) == BT709


def test_a_matrix_that_cannot_be_read_is_named() -> None:
    with pytest.raises(MediaError, match="ictcp"):
        check_convertible(ColorTag(matrix="ictcp"), "clip.mkv")
