"""One declaration gives the check, the question, the mapping, the schema and the key."""

from __future__ import annotations

import tomllib
from typing import Any, Literal

import pytest
import tomli_w
from hypothesis import given, strategies as st

from recaster.errors import UsageError
from recaster.options import Options, ask_all, from_mapping, option, questions


class Sample(Options):
    """Options of a step that only exists here."""

    batch_size: int = option(8, "Faces a step.", ge=1, le=64, unit="faces")
    codec: Literal["h264", "h265"] = option("h264", "How the video is coded.")
    flip: bool = option(True, "Mirror some faces.")
    note: str | None = option(None, "Anything.", advanced=True)


samples = st.builds(
    Sample,
    batch_size=st.integers(1, 64),
    codec=st.sampled_from(["h264", "h265"]),
    flip=st.booleans(),
    note=st.none() | st.text(max_size=20),
)


@given(samples)
def test_toml_round_trip(sample: Sample) -> None:
    text = tomli_w.dumps(sample.to_mapping())
    assert from_mapping(Sample, tomllib.loads(text)) == sample


@given(samples, samples)
def test_key_is_equal_exactly_for_equal_options(one: Sample, other: Sample) -> None:
    assert (one.key() == other.key()) == (one == other)


def test_options_are_hashable_and_frozen() -> None:
    assert len({Sample(), Sample(), Sample(flip=False)}) == 2
    with pytest.raises(Exception, match="frozen"):
        Sample().batch_size = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"batch_size": 99}, ["batch_size", "99", "1..64"]),
        ({"codec": "av1"}, ["codec", "av1", "h264/h265"]),
        ({"bach_size": 3}, ["bach_size", "batch_size"]),
    ],
)
def test_a_wrong_value_is_one_line_that_names_what_is_allowed(values: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        from_mapping(Sample, values, where="recast.toml")
    line = str(caught.value)
    assert "\n" not in line
    assert all(word in line for word in [*words, "recast.toml"])


def test_questions_show_default_range_unit_and_help() -> None:
    batch, codec, flip = questions(Sample)
    assert batch.text == "[8] batch size ( 1..64 faces ?:help ) : "
    assert codec.text == "[h264] codec ( h264/h265 ?:help ) : "
    assert flip.text.startswith("[y] flip ( y/n")


def test_asking_understands_help_enter_mistakes_and_remembered_answers() -> None:
    typed = iter(["?", "99", "16", "", "n"])
    told: list[str] = []
    answers = ask_all(Sample, lambda prompt: next(typed), told.append, remembered={"codec": "h265"})
    assert answers == Sample(batch_size=16, codec="h265", flip=False)
    assert told[0] == "Faces a step. (1..64 faces)"
    assert "99" in told[1]


def test_schema_carries_help_range_and_unit() -> None:
    field = Sample.model_json_schema()["properties"]["batch_size"]
    shown = {name: field[name] for name in ("description", "minimum", "maximum", "unit")}
    assert shown == {"description": "Faces a step. (1..64 faces)", "minimum": 1, "maximum": 64, "unit": "faces"}
