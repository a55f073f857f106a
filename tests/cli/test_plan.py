from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from recaster.cli import plan as module
from recaster.cli.netoptions import flag_value
from recaster.errors import UsageError
from recaster.train import plan as planning
from recaster.train.options import TrainOptions

Run = Callable[..., Any]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the verb asked to be planned; nothing is measured."""
    found: dict[str, Any] = {}

    class Answer:
        def figures(self) -> dict[str, Any]:
            return {"parameters": 1}

        def lines(self) -> list[str]:
            return ["planned"]

    def make_plan(architecture: Any, net_options: Any, options: TrainOptions, **named: Any) -> Answer:
        found.update(architecture=architecture.name, net=net_options, options=options, **named)
        return Answer()

    monkeypatch.setattr(planning, "make_plan", make_plan)
    return found


def test_the_flags_of_the_model_and_of_the_training_are_taken(recast: Run, asked: dict[str, Any]) -> None:
    said = recast(
        "plan", "--model", "h64", "--light", "--batch-size", "6", "--memory", "8GB", "--faces", "50", "--json"
    )
    assert said.code == 0 and said.json == {"parameters": 1}
    assert asked["architecture"] == "h64" and asked["net"].light
    assert asked["options"].batch_size == 6
    assert asked["memory"] == 8 * 10**9 and asked["faces"] == 50


def test_a_preset_names_the_model_and_flags_go_before_it(recast: Run, asked: dict[str, Any]) -> None:
    assert recast("plan", "--preset", "24gb", "--resolution", "256").code == 0
    assert asked["architecture"] == "saehd" and asked["net"].resolution == 256 and asked["net"].ae_dims == 384
    assert asked["options"].batch_size == 12 and asked["options"].schedule
    wrong = recast("plan", "--preset", "24gb", "--model", "h64")
    assert wrong.code == 2 and "preset 24gb is made for saehd, not for h64" in wrong.err


@pytest.mark.parametrize(
    "words, message",
    [
        ((), "no model was named. Add --model NAME or --preset NAME."),
        (("--model", "nobody"), "unknown architecture 'nobody'"),
        (("--preset", "9gb"), "unknown preset '9gb'"),
        (("--model", "mini", "--memory", "much"), "--memory: 'much' is no amount of memory"),
        (("--model", "mini", "--faces", "-1"), "--faces: -1 is less than 0"),
    ],
)
def test_mistakes_are_one_line(recast: Run, asked: dict[str, Any], words: tuple[str, ...], message: str) -> None:
    said = recast("plan", *words)
    assert said.code == 2 and message in said.err and not asked


@pytest.mark.parametrize(
    "text, size", [("", 0), ("8GB", 8 * 10**9), ("1.5 gib", 3 * 2**29), ("500mb", 5 * 10**8), ("123", 123)]
)
def test_amounts_of_memory(text: str, size: int) -> None:
    assert module._bytes(text) == size


def test_no_other_amounts() -> None:
    for text in ("8 apples", "-3GB", "kb"):
        with pytest.raises(UsageError):
            module._bytes(text)


def test_the_last_of_a_flag_counts() -> None:
    assert flag_value(["--model", "a", "--model=b"], "--model") == "b"
    assert flag_value(["x", "--models", "a"], "--model") is None
    assert flag_value(["--model"], "--model") is None


def test_a_real_plan(recast: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "TURNS", 2)
    way = ("--threads", "1", "--precision", "fp32", "--memory-format", "channels_last", "--batch-size", "2")
    said = recast("plan", "--model", "mini", *way, "--json").json
    assert {"parameters", "memory_bytes", "seconds_per_iteration", "largest_batch"} <= set(said)
    assert said["parameters"] == 2_786_832 and said["largest_batch"] > 100
    assert 16 * said["parameters"] < said["memory_bytes"] < 60 * said["parameters"]
    lines = recast("plan", "--model", "mini", *way).out
    assert "mini, 64 px: 2,786,832 parameters" in lines and "largest batch that fits" in lines
