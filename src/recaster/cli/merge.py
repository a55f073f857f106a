"""``recast merge``: the new face into the target clip, signed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators

from recaster.cli.common import Common, Result, choose, plain
from recaster.cli.console import console_progress, duration
from recaster.merge.settings import MergeSettings, OutputOptions
from recaster.project.workspace import Workspace

if TYPE_CHECKING:
    from recaster.project.steps import MergeReport


def merge(
    workspace: Path,
    /,
    *,
    output: Path | None = None,
    name: Annotated[str | None, Parameter(name=["--name", "--model"])] = None,
    device: str = "auto",
    morph: Annotated[float | None, Parameter(validator=validators.Number(gte=0, lte=1))] = None,
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
    name
        The training run to use, by its name or that of its model; by default the one that was trained last.
    device
        Where the model runs: auto, cpu, cuda, cuda:1, xpu, mps.
    morph
        How far the swap goes, 0..1, for models that can stop half-way (amp); 1 by default.
    """
    from recaster.project.steps import merge as step

    place = Workspace.open(workspace)
    values = choose(common, MergeSettings, settings, place.options("merge", MergeSettings))
    output_values = choose(common, OutputOptions, written, place.options("output", OutputOptions))
    report = step(
        place,
        name,
        values,
        output_values,
        output=output,
        device=device,
        morph=morph,
        progress=console_progress(),
    )
    return Result({**plain(report), "skipped": report.skipped}, merge_lines(report), merge_code(report))


def merge_code(report: MergeReport) -> int:
    """1 where a frame of the target could not be read, so that the result lacks it."""
    return 1 if report.merge is not None and report.merge.unreadable else 0


def merge_lines(report: MergeReport) -> list[str]:
    """The report for people."""
    if report.merge is None or report.signature is None:
        return [f"{report.output} is up to date, nothing to do"]
    done = report.merge
    return [
        f"{report.output}: {done.frames} frames, {done.faces} faces replaced, {done.frames_without_faces} frames "
        f"without one, {duration(done.seconds)} ({done.frames_per_second:.1f} frames/s)",
        *(f"  unreadable: frame {name}: {reason}" for name, reason in done.unreadable),
        *(f"  {note}" for note in done.notes),
        f"  signed by {report.signature.signer}: shows that the file was not altered since, not who made it",
        *(f"  {note}" for note in report.signature.notes),
    ]
