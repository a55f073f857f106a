from __future__ import annotations

import pytest
import torch

from recaster.errors import UsageError
from recaster.nets.architecture import find_architecture
from recaster.options import from_mapping
from recaster.train.options import TrainOptions
from recaster.train.outline import Case, outline
from recaster.train.presets import PRESETS, find_preset
from recaster.train.schedule import options_at

USABLE = 0.85
"""The share of a card's memory that programs get where it also drives the screen."""
WORK_SPACE = 0.75e9
"""Bytes that an accelerator's libraries take beside tensors."""


def test_the_names_that_the_command_line_offers() -> None:
    assert list(PRESETS) == ["laptop", "8gb", "24gb", "80gb"]
    with pytest.raises(UsageError, match="Choose one of: laptop, 8gb"):
        find_preset("9gb")


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_valid_and_fits_its_device_to_the_end_of_its_schedule(name: str) -> None:
    preset = find_preset(name)
    architecture = find_architecture(preset.model)
    training = from_mapping(TrainOptions, preset.training)
    options, net_options = options_at(2**62, training, from_mapping(architecture.options, preset.net))
    case = Case(architecture, net_options, options, torch.device("meta"), options.batch_size)
    said = outline(case)
    faces = 2000 * (1.4375 * said.resolution) ** 2 * 5
    assert 4 * said.parameters * 4 < said.memory.total
    # fp32: what the device really takes is less.
    assert said.memory.total + faces + WORK_SPACE < USABLE * preset.memory, said
    # And no more than a quarter lies idle on the larger ones: a preset is made for its device.
    assert said.memory.total > {"laptop": 0.01}.get(name, 0.3) * USABLE * preset.memory, said


def test_larger_presets_have_larger_pictures() -> None:
    sides = [
        outline(
            Case(
                find_architecture(preset.model),
                from_mapping(find_architecture(preset.model).options, preset.net),
                TrainOptions(),
                torch.device("meta"),
                1,
            )
        ).resolution
        for preset in PRESETS.values()
    ]
    assert sides == sorted(set(sides)) and sides[0] == 64 and sides[-1] == 448
