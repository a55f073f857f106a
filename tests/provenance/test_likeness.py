from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from recaster.errors import InputError, UsageError
from recaster.options import questions
from recaster.provenance.likeness import (
    KINDS,
    Disclosure,
    LikenessRecord,
    disclose,
    list_records,
    read_record,
    record_path,
    state,
    write_record,
)

TODAY = date(2026, 11, 20)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
RECORDS = st.builds(
    LikenessRecord,
    person=TEXT,
    basis=st.sampled_from(["not stated", "", *KINDS]) | TEXT,
    scope=TEXT,
    expires=st.none() | st.dates(),
    release_sha256=st.just("") | st.text("0123456789abcdef", min_size=64, max_size=64),
    stated=st.none() | st.dates(),
    notes=TEXT,
    salt=st.just("") | st.text("0123456789abcdef", min_size=8, max_size=32),
)


@given(record=RECORDS)
@settings(max_examples=60, deadline=None)
def test_a_record_survives_its_file(record: LikenessRecord, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("people") / "ā b.toml"
    written = write_record(path, record)
    again = read_record(path)
    assert again == written
    assert again.content_hash == written.content_hash
    assert written.model_copy(update={"salt": record.salt}) == record


@given(record=RECORDS, days=st.integers(-4000, 4000))
def test_state_follows_basis_person_and_date(record: LikenessRecord, days: int) -> None:
    today = TODAY + timedelta(days=days)
    found = state(record, today)
    if not record.person.strip() or record.basis.strip() in {"", "not stated"}:
        assert found == "not stated"
    else:
        assert found == ("expired" if record.expires and record.expires < today else "stated")


def test_the_last_day_still_counts() -> None:
    record = LikenessRecord(person="A", basis="written release", expires=TODAY)
    assert state(record, TODAY) == "stated"
    assert state(record, TODAY + timedelta(days=1)) == "expired"


def test_a_missing_record_is_not_stated() -> None:
    assert state(None, TODAY) == "not stated"
    assert disclose(None, TODAY) == Disclosure("not stated", "not stated", "")


def test_disclosure_holds_no_free_text() -> None:
    record = LikenessRecord(person="Ida Example", basis="own face", scope="film X", notes="call her", salt="00")
    told = disclose(record, TODAY)
    assert told == Disclosure("stated", "own face", record.content_hash)
    assert "Ida" not in repr(told) and "film" not in repr(told)


def test_a_basis_in_own_words_is_stated_and_stays_private() -> None:
    record = LikenessRecord(person="Ida Example", basis="She agreed on 3 May by telephone")
    assert disclose(record, TODAY) == Disclosure("stated", "other", record.content_hash)


def test_equal_records_written_twice_have_unlinkable_hashes(tmp_path: Path) -> None:
    record = LikenessRecord(person="Ida Example", basis="own face")
    one, two = (write_record(tmp_path / name, record) for name in ("1.toml", "2.toml"))
    assert one.content_hash != two.content_hash
    assert write_record(tmp_path / "1.toml", one) == one


def test_toml_dates_are_taken_as_dates(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('person = "A"\nbasis = "own face"\nexpires = 2027-01-02\n', encoding="utf-8")
    assert read_record(path).expires == date(2027, 1, 2)


def test_wrong_fields_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('bases = "own face"\n', encoding="utf-8")
    with pytest.raises(UsageError, match=r"bases.*basis"):
        read_record(path)
    with pytest.raises(UsageError, match="64 hexadecimal"):
        LikenessRecord().with_values(release_sha256="abc")


@pytest.mark.parametrize("content", [b"person = ", b"\xff\xfe\x00"])
def test_broken_files_are_input_errors(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a valid TOML"):
        read_record(path)
    with pytest.raises(InputError, match="no likeness record"):
        read_record(tmp_path / "none.toml")


def test_a_folder_lists_good_and_bad_records(tmp_path: Path) -> None:
    write_record(tmp_path / "b.toml", LikenessRecord(person="B", basis="own face"))
    write_record(tmp_path / "a.toml", LikenessRecord(person="A", basis="own face"))
    (tmp_path / "c.toml").write_text("what?", encoding="utf-8")
    found = list_records(tmp_path)
    assert [path.name for path in found.records] == ["a.toml", "b.toml"]
    assert [path.name for path, _ in found.unreadable] == ["c.toml"]
    assert list_records(tmp_path / "none").records == {}


def test_names_become_safe_file_names(tmp_path: Path) -> None:
    assert record_path(tmp_path, "Zoë O'Neil") == tmp_path / "Zoë O'Neil.toml"
    assert record_path(tmp_path, "../a/b:c").parent == tmp_path
    with pytest.raises(UsageError):
        record_path(tmp_path, " .. ")


def test_every_field_but_the_salt_is_asked() -> None:
    assert [question.name for question in questions(LikenessRecord)] == [
        name for name in LikenessRecord.model_fields if name != "salt"
    ]
