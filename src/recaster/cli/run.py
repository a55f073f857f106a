"""``recast run``: everything that is not done yet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from recaster.cli.common import Common, Result, choose, plain
from recaster.cli.console import console_progress
from recaster.project.workspace import Workspace
from recaster.train.options import TrainOptions


def run(
    workspace: Path,
    /,
    *,
    model: str | None = None,
    training: Annotated[TrainOptions | None, Parameter(name="*", group="Training")] = None,
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
    """
    from recaster.cli.extract import extract_code, extract_lines
    from recaster.cli.merge import merge_code, merge_lines
    from recaster.project.models import chosen_model
    from recaster.project.steps import run as steps

    place = Workspace.open(workspace)
    values = choose(common, TrainOptions, training, place.options("train", TrainOptions))
    report = steps(place, chosen_model(place, model), values, console_progress())
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
