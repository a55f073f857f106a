"""The extraction's options: light to import, checked, and a key that knows what matters."""

from __future__ import annotations

import subprocess
import sys

import pytest

from recaster.errors import UsageError
from recaster.faces.options import ExtractOptions
from recaster.options import from_mapping
from recaster.types import Framing


def test_importing_them_loads_no_heavy_library() -> None:
    script = "import sys, recaster.faces.options; print([m for m in ('torch', 'cv2', 'av') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_defaults() -> None:
    options = ExtractOptions()
    assert (options.detector, options.framing, options.size, options.max_faces) == ("accurate", Framing.WHOLE, 384, 0)


@pytest.mark.parametrize("wrong", [{"size": 255}, {"size": 2049}, {"detector": "dlib"}, {"jpeg_quality": 0}])
def test_values_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        from_mapping(ExtractOptions, wrong)


def test_the_device_does_not_change_the_result() -> None:
    assert ExtractOptions(device="cuda:1", batch=3).result_key() == ExtractOptions().result_key()
    for change in ({"framing": "full"}, {"debug": True}, {"min_size": 20}, {"detector": "fast"}):
        assert from_mapping(ExtractOptions, change).result_key() != ExtractOptions().result_key()
