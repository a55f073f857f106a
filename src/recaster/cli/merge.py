"""``recast merge``: the new face into the target clip, signed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from recaster.cli.common import Common, Result, choose
from recaster.cli.console import console_progress, duration
from recaster.merge.settings import MergeSettings, OutputOptions
from recaster.project.workspace import Workspace


def merge(
    workspace: Path,
    /,
    *,
    output: Path | None = None,
    model: str | None = None,
    settings: Annotated[MergeSettings | None, Parameter(name="*", group="Merge")] = None,
    written: Annotated[OutputOptions | None, Parameter(name="*", group="Output")] = None,
    common: Common | None = None,
) -> Result:
    """Render the new face into the target clip. The result carries the target's sound and a signature.

    Parameters
    ----------
    workspace
        The workspace's folder.
    output
        Where to write the result; result.mp4 in the workspace by default. mp4 and mov can be signed.
    model
        The model to use; by default the one that was trained last.
    """
    from recaster.project.models import chosen_model
    from recaster.project.steps import merge as step

    place = Workspace.open(workspace)
    values = choose(common, MergeSettings, settings, place.options("merge", MergeSettings))
    output_values = choose(common, OutputOptions, written, place.options("output", OutputOptions))
    report = step(place, chosen_model(place, model), values, output_values, output=output, progress=console_progress())
    if report.merge is None:
        return Result({"output": report.output, "skipped": True}, [f"{report.output} is up to date, nothing to do"])
    done = report.merge
    lines = [
        f"{report.output}: {done.frames} frames, {done.faces} faces, {done.frames_without_faces} frames without one, "
        f"{duration(done.seconds)} ({done.frames_per_second:.1f} frames/s)",
        *done.notes,
        *report.signature_lines(),
    ]
    return Result({**report.figures(), "skipped": False}, lines)
