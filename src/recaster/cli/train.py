"""``recast train``: a model of two faces. The options of the chosen model stand beside the common ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from recaster.cli.common import Common, Result, choose
from recaster.cli.console import console_progress
from recaster.cli.keys import HELP, keys
from recaster.cli.netoptions import flag_value, with_net_options
from recaster.errors import RecasterError
from recaster.nets.architecture import find_architecture
from recaster.options import Options
from recaster.project.runs import choose_run
from recaster.project.workspace import Workspace
from recaster.train.controls import Controls
from recaster.train.options import TrainOptions
from recaster.train.presets import find_preset


def train(
    workspace: Path,
    /,
    *,
    model: str | None = None,
    name: str | None = None,
    preset: str | None = None,
    options: Annotated[TrainOptions | None, Parameter(name="*", group="Training")] = None,
    net: Any = None,
    common: Common | None = None,
) -> Result:
    """Train a model on the two facesets, or go on with one. Stop at any time: Enter or Ctrl-C saves and stops.

    Keys in a terminal: Enter save and stop, s save, p other faces in the preview, b backup, ? help.

    Parameters
    ----------
    workspace
        The workspace's folder.
    model
        The model: h64, mini ... Its own options are listed by recast train --model NAME --help. Kept for later runs.
    name
        What this run is called; the name of its model where none is given. Runs of different names do not touch each
        other, so that several can be trained side by side.
    preset
        Ready options by the memory of the device: laptop, 8gb, 24gb, 80gb.
    """
    from recaster.project.steps import train as step

    place = Workspace.open(workspace)
    remembered = choose_run(place, name, model, preset)
    values = choose(common, TrainOptions, options, remembered.options)
    net_values = choose(common, remembered.architecture.options, net, remembered.net_options)
    controls, progress = Controls(), console_progress()
    with keys(controls, progress.note) as reading:
        if reading:
            progress.note(HELP)
        summary = step(place, model, values, net_values, progress, name=name, preset=preset, controls=controls)
    return Result(summary.figures(), summary.lines())


def command_for(words: Sequence[str]) -> Callable[..., Result]:
    """``train`` with the flags of the model that the words name, or that their workspace remembers."""
    return with_net_options(train, chosen_options(words))


def chosen_options(words: Sequence[str]) -> type[Options] | None:
    """The options of the model that a command line is about; None where it is about none, or wrong."""
    name, model, preset = (flag_value(words, flag) for flag in ("--name", "--model", "--preset"))
    try:
        folder = next((Path(word) for word in words if Workspace(Path(word)).settings_file.is_file()), None)
        if folder is not None:
            return choose_run(Workspace.open(folder), name, model, preset).architecture.options
        return find_architecture(find_preset(preset).model if preset else model or "").options
    except (RecasterError, OSError):
        return None  # the command itself says what is wrong
