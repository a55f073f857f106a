"""``recast extract``: faces out of a clip."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from recaster.cli.common import Common, Result, choose, plain
from recaster.cli.console import console_progress, duration
from recaster.faces.options import ExtractOptions
from recaster.project.workspace import Workspace

if TYPE_CHECKING:
    from recaster.faces.summary import ExtractSummary


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
    return Result(plain(summary), extract_lines(side, summary), extract_code(summary))


def extract_code(summary: ExtractSummary) -> int:
    """1 where a frame could not be read, or there is no face to go on with."""
    return 0 if summary.faces and not summary.unreadable else 1


def extract_lines(side: str, summary: ExtractSummary) -> list[str]:
    """The summary for people."""
    lines = [
        f"{side}: {summary.faces} faces in {summary.frames_with_faces} of {summary.frames} frames"
        + (" (done before)" if summary.skipped else f", {duration(summary.seconds)}")
    ]
    lines.append(f"  misses: {summary.misses} frames without a face, {summary.gaps} of them between frames with one")
    if summary.jitter is not None:
        rest = "" if summary.jitter_at_rest is None else f", {summary.jitter_at_rest:.2f} px at rest"
        lines.append(f"  landmark jitter: {summary.jitter:.2f} px{rest} (second difference, in a 256 px crop)")
    if summary.rejected:
        lines.append(f"  rejected: {summary.rejected} implausible detections")
    if not summary.faces:
        lines.append("  no face was found: try --detector mtcnn, or a smaller --min-size")
    lines += [f"  unreadable: frame {name}: {reason}" for name, reason in summary.unreadable]
    return lines
