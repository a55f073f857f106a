"""The two people of a workspace and the records of why their likeness may be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from recaster.errors import InputError, UsageError
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


def likeness_records(
    people: Mapping[Side, tuple[str, str | None]],
    *,
    scope: str = "",
    expires: date | None = None,
    release: Path | None = None,
) -> dict[Side, LikenessRecord]:
    """A record for each side's person, (name, basis); a basis of None leaves it "not stated".

    Raises InputError when ``release`` cannot be read, UsageError for a name that cannot name a file, and where two
    records of one name differ.
    """
    if release is not None and not release.is_file():
        raise InputError("the release cannot be read", where=release, mend="Check the path.")
    digest = "" if release is None else sha256_file(release)
    records = {
        side: LikenessRecord(
            person=name,
            basis=basis or NOT_STATED,
            scope=scope,
            expires=expires,
            release_sha256=digest,
            stated=_today() if basis else None,
        )
        for side, (name, basis) in people.items()
    }
    by_file: dict[Path, LikenessRecord] = {}
    for record in records.values():
        if by_file.setdefault(record_path(Path(), record.person), record) != record:
            raise UsageError(
                f"the likeness of {record.person!r} is stated in two ways", mend="Give each person a name of their own."
            )
    return records


def state_people(workspace: Workspace, records: Mapping[Side, LikenessRecord]) -> dict[Side, Person]:
    """Write each side's record, and note in ``recast.toml`` which is whose."""
    paths = {side: record_path(workspace.people, record.person) for side, record in records.items()}
    for side, record in records.items():
        write_record(paths[side], record)
    workspace.store("people", {side: path.stem for side, path in paths.items()})
    return {side: person_of(workspace, side) for side in records}


def person_of(workspace: Workspace, side: Side) -> Person:
    """The person of one side and the state of the record today."""
    path = _path(workspace, side)
    record = _record(path)
    name = record.person if record else ""
    return Person(name, record.basis if record else NOT_STATED, state(record, _today()), path)


def disclosures(workspace: Workspace, progress: Progress, sides: Sequence[Side] = SIDES) -> list[Disclosure]:
    """What a signed result tells about the people; a basis that is missing or has ended is said to the user."""
    found = []
    for side in sides:
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
