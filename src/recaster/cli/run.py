"""``recast run``: everything that is not done yet. The options of the chosen model stand beside the common ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from recaster.cli.common import Common, Result, choose, plain
from recaster.cli.console import console_progress
from recaster.cli.keys import keys
from recaster.cli.netoptions import with_net_options
from recaster.cli.train import chosen_options
from recaster.project.runs import choose_run
from recaster.project.workspace import Workspace
from recaster.train.controls import Controls
from recaster.train.options import TrainOptions


def run(
    workspace: Path,
    /,
    *,
    model: str | None = None,
    name: str | None = None,
    preset: str | None = None,
    training: Annotated[TrainOptions | None, Parameter(name="*", group="Training")] = None,
    net: Any = None,
    common: Common | None = None,
) -> Result:
    """Do everything that is not done yet: extract both sides, train, merge, sign, draw a contact sheet.

    Options come from the workspace's recast.toml. Interrupted at any moment, the same command goes on where it was.

    Parameters
    ----------
    workspace
        The workspace's folder.
    model
        The model to train: h64, mini ...
    name
        What the training run is called; the name of its model where none is given.
    preset
        Ready options by the memory of the device: laptop, 8gb, 24gb, 80gb.
    """
    from recaster.cli.extract import extract_code, extract_lines
    from recaster.cli.merge import merge_code, merge_lines
    from recaster.project.steps import run as steps

    place = Workspace.open(workspace)
    remembered = choose_run(place, name, model, preset)
    values = choose(common, TrainOptions, training, remembered.options)
    net_values = choose(common, remembered.architecture.options, net, remembered.net_options)
    controls, progress = Controls(), console_progress()
    with keys(controls, progress.note):
        report = steps(
            place,
            model,
            values,
            progress,
            net_given=net_values,
            name=name,
            preset=preset,
            controls=controls,
        )
    lines = [
        *extract_lines("src", report.src),
        *extract_lines("dst", report.dst),
        *report.train.lines(),
        *merge_lines(report.merge),
        f"result: {report.merge.output}",
        f"contact sheet: {report.sheet}",
    ]
    code = max(extract_code(report.src), extract_code(report.dst), merge_code(report.merge))
    return Result({**plain(report), "train": plain(report.train.figures())}, lines, code)


def command_for(words: Sequence[str]) -> Callable[..., Result]:
    """``run`` with the flags of the model that the words name, or that their workspace remembers."""
    return with_net_options(run, chosen_options(words))
