"""Whose face is used, and on what basis: one small TOML file a person, kept beside the project.

The record stays with the user. A signed file carries only a :class:`Disclosure` of it: its hash, the kind of basis and
whether it still held on the day of signing; never a name, a document or a note.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import tomllib
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

import tomli_w
from pydantic import field_validator

from recaster.errors import InputError, UsageError
from recaster.files import storage_errors, write_text
from recaster.options import Options, from_mapping, option

NOT_STATED = "not stated"
KINDS = ("own face", "written release", "licensed footage", "research dataset", "synthetic face")
"""Bases that a signed file names; any other wording stays with the user and is disclosed as "other"."""

State = Literal["stated", "expired", "not stated"]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_NOT_IN_NAMES = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]+')


class LikenessRecord(Options):
    """One person's likeness: who, why it may be used, for what, and until when."""

    person: str = option("", "Who it is: a name, or any word by which you know the person. It never leaves this file.")
    basis: str = option(
        NOT_STATED,
        f"Why the likeness may be used: {', '.join(KINDS)}, or in your own words, which never leave this file.",
    )
    scope: str = option("", "What it may be used for, such as the title of a production.")
    expires: date | None = option(None, "Last day on which it may be used (YYYY-MM-DD). Empty: no end.")
    release_sha256: str = option("", "SHA-256 of the release document (64 hexadecimal digits), if there is one.")
    stated: date | None = option(None, "Day on which this was stated (YYYY-MM-DD).")
    notes: str = option("", "Anything else worth keeping.")
    salt: str = option("", "Random text that keeps a name from being guessed from the record's hash.", advanced=True)

    @field_validator("release_sha256")
    @classmethod
    def _is_digest(cls, value: str) -> str:
        digest = value.strip().lower()
        if digest and not _SHA256.fullmatch(digest):
            raise ValueError("must be 64 hexadecimal digits")
        return digest

    @property
    def content_hash(self) -> str:
        """Hex SHA-256 of the record's values; the same wherever and however the file is laid out."""
        text = json.dumps(self.to_mapping(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode("ascii")).hexdigest()


@dataclass(frozen=True)
class Disclosure:
    """What a signed file tells about one likeness record. ``record_sha256`` is empty where there is no record."""

    state: State
    basis: str = "not stated"
    record_sha256: str = ""


@dataclass(frozen=True)
class Records:
    """The records of a folder by path, and the files that could not be read with the reason for each."""

    records: dict[Path, LikenessRecord]
    unreadable: list[tuple[Path, str]]


def state(record: LikenessRecord | None, today: date) -> State:
    """Whether the likeness is stated on ``today``; the day of expiry itself still counts."""
    if record is None or not record.person.strip() or record.basis.strip() in {"", NOT_STATED}:
        return "not stated"
    if record.expires is not None and today > record.expires:
        return "expired"
    return "stated"


def disclose(record: LikenessRecord | None, today: date) -> Disclosure:
    """What a file signed on ``today`` says about the record; a missing one is "not stated"."""
    if record is None:
        return Disclosure("not stated")
    stated = state(record, today)
    words = record.basis.strip().lower()
    basis = NOT_STATED if stated == "not stated" else words if words in KINDS else "other"
    return Disclosure(stated, basis, record.content_hash)


def record_path(folder: Path, person: str) -> Path:
    """Where a person's record lies in ``folder``. Raises UsageError where nothing of the name can be a file name."""
    name = _NOT_IN_NAMES.sub("_", person).strip(" ._")
    if not name:
        raise UsageError("a likeness record needs a person's name", mend="Give a name, or any word you know them by.")
    return folder / f"{name}.toml"


def read_record(path: Path) -> LikenessRecord:
    """Read one record. Raises InputError, or UsageError naming the field that is wrong."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            "no likeness record can be read here", where=path, mend="Check the path, or state the likeness again."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"not a valid TOML file ({error})", where=path, mend="Mend the file, or state the likeness again."
        ) from error
    return from_mapping(LikenessRecord, values, where=path)


def write_record(path: Path, record: LikenessRecord) -> LikenessRecord:
    """Write the record atomically and give it as written: a salt is added where it had none. Raises StorageError."""
    if not record.salt:
        record = record.with_values(salt=secrets.token_hex(16))
    with storage_errors(path):
        write_text(path, tomli_w.dumps(record.to_mapping()))
    return record


def list_records(folder: Path) -> Records:
    """All records of a folder in the order of their file names; a folder that does not exist holds none."""
    found = Records({}, [])
    for path in sorted(folder.glob("*.toml")) if folder.is_dir() else []:
        if path.name.startswith("."):
            continue
        try:
            found.records[path] = read_record(path)
        except (InputError, UsageError) as error:
            found.unreadable.append((path, error.what))
    return found
