from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from recaster.errors import UsageError
from recaster.options import from_mapping, questions
from recaster.train.options import TrainOptions


def test_options_are_listed_without_loading_torch() -> None:
    code = "import sys, recaster.train.options; print([m for m in ('torch', 'cv2', 'av') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "wrong", [{"src_scale": 31}, {"src_scale": -31}, {"iterations": -1}, {"keep": 0}, {"warp": "both"}, {"unknown": 1}]
)
def test_values_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TrainOptions(**wrong)


def test_every_option_has_help_and_seldom_ones_are_not_asked() -> None:
    assert all(field.description for field in TrainOptions.model_fields.values())
    asked = [question.name for question in questions(TrainOptions)]
    assert asked[:3] == ["iterations", "minutes", "batch_size"]
    assert not {"device", "threads", "seed", "warp"} & set(asked)


def test_two_orders_by_yaw_are_refused() -> None:
    with pytest.raises(UsageError, match=r"uniform_yaw.*cannot be on together with sort_by_yaw"):
        from_mapping(TrainOptions, {"sort_by_yaw": True, "uniform_yaw": True})
