"""The likeness records of a workspace, and what is said where one is missing."""

from __future__ import annotations

import hashlib
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from recaster.errors import InputError, UsageError
from recaster.media.pictures import write_picture
from recaster.progress import Recorded
from recaster.project.people import disclosures, likeness_records, person_of, state_people
from recaster.project.workspace import Workspace, create_workspace
from recaster.provenance.likeness import read_record

TODAY = date.today()


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    write_picture(tmp_path / "frames" / "1.png", np.zeros((8, 8, 3), np.uint8))
    return create_workspace(tmp_path / "film", tmp_path / "frames", tmp_path / "frames")


def test_both_people_get_a_record_with_the_basis(place: Workspace, tmp_path: Path) -> None:
    release = tmp_path / "Freigabe ✓.pdf"
    release.write_bytes(b"signed")
    records = likeness_records(
        {"src": ("Anna Ü", "written release"), "dst": ("男", "own face")},
        scope="Film № 1",
        expires=TODAY + timedelta(days=1),
        release=release,
    )
    people = state_people(place, records)
    assert {side: (person.name, person.basis, person.state) for side, person in people.items()} == {
        "src": ("Anna Ü", "written release", "stated"),
        "dst": ("男", "own face", "stated"),
    }
    written = read_record(place.people / "Anna Ü.toml")
    assert written.release_sha256 == hashlib.sha256(b"signed").hexdigest()
    assert (written.scope, written.stated) == ("Film № 1", TODAY)
    noted = Recorded()
    found = disclosures(place, noted)
    assert [item.state for item in found] == ["stated", "stated"]
    assert [item.basis for item in found] == ["written release", "own face"]
    assert noted.notes == []


def test_a_missing_basis_is_said_and_disclosed(place: Workspace) -> None:
    state_people(place, likeness_records({"src": ("Anna", None), "dst": ("Bert", "own face")}))
    noted = Recorded()
    assert [item.state for item in disclosures(place, noted)] == ["not stated", "stated"]
    (note,) = noted.notes
    assert "src person: not stated" in note
    assert "people/Anna.toml" in note
    assert person_of(place, "src").state == "not stated"


def test_a_workspace_without_records_is_not_stated(place: Workspace) -> None:
    noted = Recorded()
    assert [item.state for item in disclosures(place, noted)] == ["not stated", "not stated"]
    assert len(noted.notes) == 2
    assert disclosures(place, noted, ["dst"])[0].record_sha256 == ""
    assert "dst" in noted.notes[-1]
    assert "people/target.toml" in noted.notes[-1]


def test_an_expired_basis_is_said(place: Workspace) -> None:
    people = {"src": ("Anna", "written release"), "dst": ("Bert", "written release")}
    state_people(place, likeness_records(people, expires=TODAY - timedelta(days=1)))
    noted = Recorded()
    assert [item.state for item in disclosures(place, noted)] == ["expired", "expired"]
    assert "expired" in noted.notes[0]
    state_people(place, likeness_records(people, expires=TODAY))
    assert person_of(place, "src").state == "stated"


def test_a_record_edited_by_hand_counts_from_then_on(place: Workspace) -> None:
    state_people(place, likeness_records({"src": ("Anna", None), "dst": ("Bert", None)}))
    path = place.people / "Anna.toml"
    path.write_text('person = "Anna"\nbasis = "own face"\n', encoding="utf-8")
    assert person_of(place, "src").state == "stated"
    path.write_text('person = "Anna"\nbasiss = "own face"\n', encoding="utf-8")
    with pytest.raises(UsageError, match="basiss") as caught:
        person_of(place, "src")
    assert caught.value.where == str(path)


def test_mistakes_are_found_before_anything_is_written(place: Workspace, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="release cannot be read"):
        likeness_records({"src": ("A", "x"), "dst": ("B", "x")}, release=tmp_path / "none.pdf")
    with pytest.raises(UsageError, match="needs a person's name"):
        likeness_records({"src": (" . ", "x"), "dst": ("B", "x")})
    with pytest.raises(UsageError, match="in two ways"):
        likeness_records({"src": ("A", "own face"), "dst": ("A", "written release")})
    with pytest.raises(UsageError, match="in two ways"):
        likeness_records({"src": ("A/B", "own face"), "dst": ("A:B", "own face")})
    assert not place.people.exists()


def test_one_person_may_be_both(place: Workspace) -> None:
    people = state_people(place, likeness_records({"src": ("A", "own face"), "dst": ("A", "own face")}))
    assert people["src"] == people["dst"]
