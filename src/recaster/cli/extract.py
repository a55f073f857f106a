"""``recast extract``: faces out of a clip."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from recaster.cli.common import Common, Result, choose
from recaster.cli.console import console_progress
from recaster.faces.options import ExtractOptions
from recaster.project.workspace import Workspace


def extract(
    workspace: Path,
    side: Literal["src", "dst"],
    /,
    *,
    options: Annotated[ExtractOptions | None, Parameter(name="*", group="Options")] = None,
    common: Common | None = None,
) -> Result:
    """Find the faces of one clip and write them, aligned, into data_src/aligned or data_dst/aligned.

    Parameters
    ----------
    workspace
        The workspace's folder.
    side
        src, the person whose face is used; or dst, the performance that stays.
    """
    from recaster.project.steps import extract as step

    place = Workspace.open(workspace)
    values = choose(common, ExtractOptions, options, place.options(f"extract.{side}", ExtractOptions))
    summary = step(place, side, values, console_progress())
    return Result(summary.figures(), summary.lines())
