"""The interactive form, typed by a script, and with nobody there."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recaster.provenance.likeness import read_record

Recast = Callable[..., Any]


def section(film: Path, name: str) -> Any:
    return tomllib.loads((film / "recast.toml").read_text(encoding="utf-8")).get(name, {})


def test_questions_help_wrong_answers_and_defaults(recast: Recast, film: Path) -> None:
    said = recast("merge", film, "--ask", "--json", typed="?\nblend\nseamless\n\n500\n20\n")
    assert said.code == 0
    questions = [line for line in said.err.splitlines() if line.startswith("[")]
    assert questions[0].startswith("[overlay] mode ( overlay/seamless ?:help ) : overlay lays the face over the frame")
    assert "option 'mode'" in said.err
    assert "got 'blend' (allowed: overlay/seamless)" in said.err
    assert "got '500' (allowed: -200..200)" in said.err
    assert section(film, "merge") == {"mode": "seamless", "erode": 20}
    assert said.json["merge"]["frames"] == 12


def test_answers_are_remembered_as_the_next_defaults(recast: Recast, film: Path) -> None:
    recast("merge", film, "--ask", typed="seamless\n")
    said = recast("merge", film, "--ask", typed="\n")
    assert "[seamless] mode (" in said.err
    assert "up to date" in said.out
    said = recast("merge", film, "--ask", typed="overlay\n")
    assert section(film, "merge") == {}


def test_a_flag_is_the_default_of_its_question(recast: Recast, film: Path) -> None:
    said = recast("merge", film, "--erode", "33", "--ask")
    assert "[33] erode (" in said.err
    assert section(film, "merge") == {"erode": 33}


@pytest.mark.parametrize("verb", ["extract {} dst", "train {}", "merge {}", "run {}"])
def test_with_a_closed_input_nothing_waits_and_nothing_changes(recast: Recast, film: Path, verb: str) -> None:
    before = (film / "recast.toml").read_bytes()
    said = recast(*(str(film) if word == "{}" else word for word in verb.split()), "--ask", "--json")
    assert said.code == 0
    assert said.json
    assert " : " in said.err
    assert (film / "recast.toml").read_bytes() == before


def test_training_asks_for_the_model_too(recast: Recast, film: Path) -> None:
    said = recast("train", film, "--ask", typed="7\n")
    assert said.code == 0
    assert "[6] iterations ( from 0 iterations ?:help ) : " in said.err
    assert section(film, "train")["mini"]["iterations"] == 7


def test_new_asks_for_the_basis(recast: Recast, tmp_path: Path, short_clips: tuple[Path, Path]) -> None:
    clips = ("--src", short_clips[0], "--dst", short_clips[1])
    said = recast("new", tmp_path / "one", *clips, "--ask", typed="own face\nFilm № 1\n")
    assert "On what basis" in said.err
    record = read_record(tmp_path / "one" / "people" / "source.toml")
    assert (record.basis, record.scope) == ("own face", "Film № 1")
    assert recast("new", tmp_path / "two", *clips, "--ask").code == 0
    assert read_record(tmp_path / "two" / "people" / "target.toml").basis == "not stated"
    said = recast("new", tmp_path / "three", *clips, "--ask", "--basis", "own face")
    assert "On what basis" not in said.err
