"""``recast new``: a workspace around two clips, with the basis on which two people's likeness is used."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path

from recaster.cli.common import Common, Result
from recaster.cli.console import ask_line, tell_line
from recaster.project.people import likeness_records, state_people
from recaster.project.workspace import create_workspace


def new(
    workspace: Path,
    /,
    *,
    src: Path | None = None,
    dst: Path | None = None,
    basis: str | None = None,
    basis_dst: str | None = None,
    src_person: str = "source",
    dst_person: str = "target",
    scope: str = "",
    expires: date | None = None,
    release: Path | None = None,
    common: Common | None = None,
) -> Result:
    """Make a workspace: a folder with both clips, a likeness record for each person, and recast.toml.

    Parameters
    ----------
    workspace
        The folder to make.
    src
        The source: a video, or a folder of pictures, of the person whose face is used.
    dst
        The target: a video, or a folder of pictures, whose performance stays.
    basis
        Why both people's likeness may be used: "own face", "signed release of 3 May", "licensed footage" ...
    basis_dst
        The same for the target's person, where it differs.
    src_person
        Name of the source's person; it names the likeness record and stays on this machine.
    dst_person
        Name of the target's person.
    scope
        What the likeness may be used for.
    expires
        Last day on which it may be used (YYYY-MM-DD).
    release
        The signed release; its SHA-256 goes into the record, the file itself stays where it is.
    """
    asked = basis is None and ((common is not None and common.ask) or (sys.stdin is not None and sys.stdin.isatty()))
    if asked:
        tell_line("On what basis may these people's likeness be used? (their own consent, a release, a licence)")
        basis = ask_line("[not stated] basis : ") or None
        scope = scope or ask_line("[not stated] scope, such as the film's title : ")
    records = likeness_records(
        {"src": (src_person, basis), "dst": (dst_person, basis_dst or basis)},
        scope=scope,
        expires=expires,
        release=release,
    )
    made = create_workspace(workspace, src, dst)
    people = state_people(made, records)
    lines = [f"{made.folder} is ready. Next: recast run {made.folder}"]
    lines += [f"{side}: {person.name}, basis: {person.basis}" for side, person in people.items()]
    figures = {
        "workspace": made.folder,
        "src": made.source("src"),
        "dst": made.source("dst"),
        "likeness": {side: {"record": person.path, "state": person.state} for side, person in people.items()},
    }
    return Result(figures, lines)
