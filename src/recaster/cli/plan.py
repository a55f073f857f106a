"""``recast plan``: what a training would cost here. The options of the chosen model stand beside the common ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from cyclopts import Parameter

from recaster.cli.common import Common, Result, choose
from recaster.cli.console import console_progress
from recaster.cli.netoptions import flag_value, with_net_options
from recaster.errors import RecasterError, UsageError
from recaster.nets.architecture import find_architecture
from recaster.options import Options, from_mapping
from recaster.train.options import TrainOptions
from recaster.train.presets import Preset, find_preset

UNITS = {"": 1, "b": 1, "mb": 10**6, "gb": 10**9, "mib": 2**20, "gib": 2**30}


def plan(
    *,
    model: str | None = None,
    preset: str | None = None,
    memory: str = "",
    faces: int = 1000,
    options: Annotated[TrainOptions | None, Parameter(name="*", group="Training")] = None,
    net: Any = None,
    common: Common | None = None,
) -> Result:
    """Measure what a training would cost on this device: memory, seconds an iteration, and the largest batch.

    Takes the options of recast train, needs no workspace, and says what to change when it does not fit.

    Parameters
    ----------
    model
        The model: h64, mini ... Its own options are listed by recast plan --model NAME --help.
    preset
        Ready options by the memory of the device: laptop, 8gb, 24gb, 80gb.
    memory
        Plan for a device with this much memory, as 8GB, instead of what is free here.
    faces
        How many faces of each person there are; they take memory too.
    """
    ready = find_preset(preset) if preset else None
    architecture = find_architecture(_model(model, ready, preset))
    training = from_mapping(TrainOptions, ready.training if ready else {})
    own = from_mapping(architecture.options, ready.net if ready else {})
    training = training.with_values(**choose(common, TrainOptions, options, training))
    own = own.with_values(**choose(common, architecture.options, net, own))
    if faces < 0:
        raise UsageError(f"--faces: {faces} is less than 0")
    size = _bytes(memory)

    from recaster.train.plan import make_plan

    found = make_plan(architecture, own, training, memory=size, faces=faces, progress=console_progress())
    return Result(found.figures(), found.lines())


def command_for(words: Sequence[str]) -> Callable[..., Result]:
    """``plan`` with the flags of the model that the words name, by itself or by a preset."""
    return with_net_options(plan, _net_options(words))


def _net_options(words: Sequence[str]) -> type[Options] | None:
    try:
        preset = flag_value(words, "--preset")
        ready = find_preset(preset) if preset else None
        return find_architecture(_model(flag_value(words, "--model"), ready, preset)).options
    except RecasterError:
        return None  # the command itself says what is wrong


def _model(model: str | None, ready: Preset | None, preset: str | None) -> str:
    if ready is not None and model not in {None, ready.model}:
        raise UsageError(f"preset {preset} is made for {ready.model}, not for {model}", mend="Give one of the two.")
    name = ready.model if ready is not None else model
    if name is None:
        raise UsageError("no model was named", mend="Add --model NAME or --preset NAME.")
    return name


def _bytes(text: str) -> int:
    """Bytes of ``8GB``, ``7.5 gib``, ``8000000000``; 0 for nothing. Raises UsageError."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmg]?i?b|)\s*", text.lower())
    if not text:
        return 0
    if found is None or found[2] not in UNITS:
        raise UsageError(f"--memory: {text!r} is no amount of memory", mend="Write it as 8GB or in bytes.")
    return int(float(found[1]) * UNITS[found[2]])
