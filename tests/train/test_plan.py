from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch

from recaster.device import free_memory
from recaster.errors import RecasterError, UsageError
from recaster.nets.architecture import find_architecture
from recaster.train import plan as module
from recaster.train.options import TrainOptions
from recaster.train.plan import Line, Plan, make_plan

MINI = find_architecture("mini")
GB = 10**9


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(module, "TURNS", 2)
    monkeypatch.setattr(module, "STEPPING", 20.0)
    yield


def plan(memory: int = 0, faces: int = 0, **train: object) -> Plan:
    fixed = {"threads": 1, "device": "cpu", "precision": "fp32", "memory_format": "channels_last"}
    return make_plan(MINI, MINI.options(), TrainOptions(**{**fixed, **train}), memory=memory, faces=faces)


def test_a_plan_has_the_numbers_that_were_asked_for() -> None:
    found = plan()
    figures = found.figures()
    assert figures["parameters"] == 2_786_832
    assert figures["memory_bytes"] == sum(figures["memory"].values())
    assert (
        figures["memory"]["weights"] + figures["memory"]["gradients"] + figures["memory"]["optimizer"] == 16 * 2_786_832
    )
    assert 4 * 5e6 < figures["memory"]["activations"] < 4 * 8e6
    assert 0.005 < figures["seconds_per_iteration"] < 20
    assert figures["batch_size"] == figures["measured_batch"] == 4
    assert figures["largest_batch"] == 1024 and figures["fits"] and figures["advice"] == []
    assert figures["execution"]["precision"] == "fp32"
    assert any("4 faces of each person" in line for line in found.lines())


def test_memory_is_repeatable_and_grows_with_the_batch() -> None:
    first, again, larger, parts = plan(), plan(), plan(batch_size=8), plan(batch_size=8, accumulate=2)
    assert first.memory == again.memory
    assert larger.memory.activations == pytest.approx(2 * first.memory.activations, rel=0.05)
    assert parts.memory.activations == pytest.approx(first.memory.activations, rel=0.1)


def test_the_largest_batch_is_what_a_budget_is_enough_for() -> None:
    budget = 110_000_000
    found = plan(memory=budget, batch_size=2)
    assert 6 <= found.largest_batch <= 14 and found.fits
    at_limit, each = plan(batch_size=found.largest_batch).memory.total, found.memory.activations / 2
    assert at_limit <= module.MARGIN * budget < at_limit + 1.2 * each
    assert plan(memory=budget, batch_size=2, accumulate=2).largest_batch == pytest.approx(
        2 * found.largest_batch, abs=2
    )
    assert plan(memory=budget, batch_size=2, faces=300).largest_batch < found.largest_batch


def test_what_does_not_fit_comes_with_advice() -> None:
    found = plan(memory=100_000_000, batch_size=32)
    assert not found.fits and 1 <= found.largest_batch < 32
    assert any(line.startswith("--accumulate") and "not enough" not in line for line in found.advice)
    assert all(" instead of " in line for line in found.advice)
    assert found.figures()["advice"] == list(found.advice)


def test_what_does_not_fit_at_all_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_measured", None)
    found = plan(memory=20_000_000)
    assert found.largest_batch == found.measured_batch == 0 and math.isnan(found.seconds)
    assert found.memory.total > 20_000_000 and found.parameters == 2_786_832
    assert "time: not measured, not even one face fits" in found.lines()


def test_slow_steps_are_measured_small_and_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = plan(batch_size=8)
    monkeypatch.setattr(module, "STEPPING", 0.0005)
    found = plan(batch_size=8)
    assert (whole.measured_batch, found.measured_batch) == (8, 1)
    assert "scaled from 1" in "\n".join(found.lines()) and "scaled" not in "\n".join(whole.lines())
    assert found.memory.total == pytest.approx(whole.memory.total, rel=0.15)
    assert whole.seconds / 4 < found.seconds < 20 * whole.seconds


def test_several_devices_share_the_batch() -> None:
    one, two = plan(batch_size=8), plan(batch_size=8, device="cpu,cpu")
    assert two.batch_size == 8 and two.memory.activations < 0.7 * one.memory.activations
    with pytest.raises(UsageError, match="does not work here"):
        plan(device="cuda:77")


def test_options_count_as_they_are_at_the_end_of_the_schedule() -> None:
    assert plan(schedule=("ema=0.99 at 500",)).memory.weights == 2 * 4 * 2_786_832


def test_memory_that_runs_out_while_measuring_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def out(self: object, count: int) -> tuple[int, float]:
        raise RecasterError("there is not enough memory") from torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(module._Steps, "measure", out)
    assert plan().largest_batch == 0

    def broken(self: object, count: int) -> tuple[int, float]:
        raise RecasterError("something else")

    monkeypatch.setattr(module._Steps, "measure", broken)
    with pytest.raises(RecasterError, match="something else"):
        plan()


def test_random_numbers_of_the_caller_stay_as_they_are() -> None:
    before = torch.get_rng_state()
    plan()
    assert torch.equal(torch.get_rng_state(), before)


def test_lines_through_measured_sizes() -> None:
    line = Line.through({1: 150, 4: 450})
    assert (line.base, line.each) == (50.0, 100.0)
    assert line.at(10) == 1050 and line.room(1050) == 10 and line.room(1049) == 9
    assert line.room(-5) == 0 and line.room(10**9) == 1024
    assert Line.through({2: 100}) == Line(0.0, 50.0)
    assert free_memory(torch.device("cpu")) > 0


def test_a_model_of_several_phases_is_measured() -> None:
    sae = find_architecture("sae")
    options = sae.options(resolution=64, ae_dims=32, e_ch_dims=21, d_ch_dims=10)
    found = make_plan(sae, options, TrainOptions(batch_size=2, device="cpu", deterministic=True), faces=10)
    assert found.memory.weights == 4 * found.parameters
    assert found.seconds > 0 and found.largest_batch > 2
