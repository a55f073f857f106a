"""``recast sheet``: source, target and swap side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from recaster.cli.common import Common, Result
from recaster.project.workspace import Workspace


def sheet(
    workspace: Path,
    /,
    *,
    result: Path | None = None,
    output: Path | None = None,
    frames: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 8,
    common: Common | None = None,
) -> Result:
    """Draw a contact sheet of the result: source, target and swap for a few frames.

    Parameters
    ----------
    workspace
        The workspace's folder.
    result
        The merged clip; result.mp4 in the workspace by default.
    output
        Where to write the picture; contact_sheet.jpg in the workspace by default.
    frames
        How many frames to show.
    """
    from recaster.project.steps import sheet as step

    made = step(Workspace.open(workspace), result=result, output=output, frames=frames)
    return Result({"sheet": made, "frames": frames}, [f"contact sheet: {made}"])
