"""The two people of a workspace and the records of why their likeness may be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from recaster.errors import InputError
from recaster.files import sha256_file
from recaster.progress import Progress
from recaster.project.workspace import SIDES, Side, Workspace
from recaster.provenance.likeness import (
    NOT_STATED,
    Disclosure,
    LikenessRecord,
    State,
    disclose,
    read_record,
    record_path,
    state,
    write_record,
)


@dataclass(frozen=True)
class Person:
    """One of the two people: ``path`` of the record inside the workspace, and whether the basis is stated today."""

    name: str
    basis: str
    state: State
    path: Path


def state_people(
    workspace: Workspace,
    people: Mapping[Side, tuple[str, str | None]],
    *,
    scope: str = "",
    expires: date | None = None,
    release: Path | None = None,
) -> dict[Side, Person]:
    """Write a record for each side's person, (name, basis), and note in ``recast.toml`` which is whose.

    A basis of None leaves the record "not stated". Raises InputError when ``release`` cannot be read.
    """
    if release is not None and not release.is_file():
        raise InputError("the release cannot be read", where=release, mend="Check the path.")
    digest = "" if release is None else sha256_file(release)
    for name, basis in people.values():
        record = LikenessRecord(
            person=name,
            basis=basis or NOT_STATED,
            scope=scope,
            expires=expires,
            release_sha256=digest,
            stated=_today() if basis else None,
        )
        write_record(record_path(workspace.people, name), record)
    workspace.store("people", {side: record_path(workspace.people, name).stem for side, (name, _) in people.items()})
    return {side: person_of(workspace, side) for side in people}


def person_of(workspace: Workspace, side: Side) -> Person:
    """The person of one side and the state of the record today."""
    path = _path(workspace, side)
    record = _record(path)
    name = record.person if record else ""
    return Person(name, record.basis if record else NOT_STATED, state(record, _today()), path)


def disclosures(workspace: Workspace, progress: Progress) -> list[Disclosure]:
    """What a signed result tells about both people; a basis that is missing or has ended is said to the user."""
    found = []
    for side in SIDES:
        path = _path(workspace, side)
        disclosure = disclose(_record(path), _today())
        if disclosure.state != "stated":
            progress.note(
                f"likeness of the {side} person: {disclosure.state}. It is recorded so in the result; "
                f"state the basis in {path.relative_to(workspace.folder).as_posix()}"
            )
        found.append(disclosure)
    return found


def _path(workspace: Workspace, side: Side) -> Path:
    default = "source" if side == "src" else "target"
    return record_path(workspace.people, str(workspace.section("people").get(side, default)))


def _record(path: Path) -> LikenessRecord | None:
    return read_record(path) if path.is_file() else None


def _today() -> date:
    return datetime.now(UTC).astimezone().date()
