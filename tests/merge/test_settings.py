from __future__ import annotations

import subprocess
import sys

import pytest

from recaster.errors import UsageError
from recaster.merge.settings import MergeSettings, OutputOptions
from recaster.options import allowed_text, from_mapping


def test_settings_are_values() -> None:
    assert hash(MergeSettings()) == hash(MergeSettings())
    assert MergeSettings(erode=5) != MergeSettings()
    assert MergeSettings(erode=5).key() != MergeSettings().key()


@pytest.mark.parametrize(
    ("name", "value"),
    [("erode", 201), ("erode", -201), ("blur", 201), ("face_scale", 51), ("mode", "raw"), ("mask", "fan")],
)
def test_values_out_of_range_are_refused(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=name):
        from_mapping(MergeSettings, {name: value})


def test_every_option_has_help_and_a_range() -> None:
    for model in (MergeSettings, OutputOptions):
        for name, field in model.model_fields.items():
            assert field.description, name
            assert allowed_text(field), name


def test_the_module_is_light() -> None:
    code = "import sys, recaster.merge.settings; print({'torch', 'cv2', 'av', 'numpy'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
