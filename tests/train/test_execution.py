from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import nn

from recaster.nets.architecture import find_architecture
from recaster.progress import Recorded
from recaster.train import execution as module
from recaster.train.execution import (
    SAFE,
    Execution,
    autocast,
    candidates,
    fastest,
    from_record,
    learn_only,
    measure,
    noise_batch,
    pick_execution,
    prepare,
    uncompiled,
)
from recaster.train.options import TrainOptions

CPU = torch.device("cpu")
LAST = Execution("fp32", "channels_last")
HALF = Execution("bf16", "channels_last")
GRAPHS = Execution("bf16", "channels_last", "graphs", "cuda")
MINI = find_architecture("mini")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def no_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "computes_bf16", lambda device: False)


def ways(device: str, **options: object) -> list[str]:
    return [way.line() for way in candidates(torch.device(device), TrainOptions(**options))]


def test_each_kind_of_device_has_its_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "computes_bf16", lambda device: True)
    assert ways("cpu") == ["fp32, channels_last", "bf16, channels_last", "fp32, contiguous"]
    assert ways("mps") == ["fp32, contiguous", "fp32, channels_last"]
    assert ways("cuda") == [
        "bf16, channels_last",
        "bf16, channels_last, compiled",
        "bf16, channels_last, compiled with graphs",
        "fp32, channels_last",
        "fp32, contiguous",
    ]
    assert "bf16, channels_last, compiled with graphs" not in ways("xpu")
    assert {way.device for way in candidates(torch.device("cuda"), TrainOptions())} == {"cuda"}


@pytest.mark.usefixtures("no_bf16")
def test_a_cpu_without_bf16_stays_with_fp32_and_never_compiles_by_itself() -> None:
    assert ways("cpu") == ["fp32, channels_last", "fp32, contiguous"]
    assert ways("cpu", precision="bf16", memory_format="contiguous") == ["bf16, contiguous"]
    assert ways("cpu", compile="default") == ["fp32, channels_last, compiled", "fp32, contiguous, compiled"]


def test_what_the_user_chose_is_not_measured() -> None:
    assert ways("cuda", precision="fp32", compile="off") == ["fp32, channels_last", "fp32, contiguous"]
    assert ways("cuda", precision="bf16", compile="off", memory_format="contiguous") == ["bf16, contiguous"]
    assert ways("cuda", deterministic=True) == ["fp32, contiguous"]
    assert ways("cuda", deterministic=True, precision="bf16") == ["bf16, contiguous"]


def test_a_record_gives_the_same_execution() -> None:
    assert from_record(GRAPHS.to_mapping()) == GRAPHS
    assert from_record({}) is None
    assert from_record({**GRAPHS.to_mapping(), "precision": "fp4"}) is None


class Clock:
    """A clock that only trials move: each takes what ``seconds`` says, the first of a way ``cold`` more."""

    def __init__(self, seconds: dict[Execution, float], cold: float = 0.0) -> None:
        self.now, self.seconds, self.cold = 0.0, seconds, cold
        self.tried: list[Execution] = []

    def trial(self, way: Execution) -> float:
        took = self.seconds[way] + (self.cold if way not in self.tried else 0.0)
        self.tried.append(way)
        if took < 0:
            raise RuntimeError("cannot compile here")
        self.now += took
        return took

    def measure(self, budget: float, known: dict[Execution, float] | None = None) -> dict[Execution, float]:
        return measure(list(self.seconds), self.trial, budget, known, clock=lambda: self.now)


def test_ways_are_measured_in_turns_and_the_quickest_of_each_counts() -> None:
    clock = Clock({LAST: 0.10, SAFE: 0.12}, cold=1.0)
    assert clock.measure(100.0) == pytest.approx({LAST: 0.10, SAFE: 0.12})
    assert clock.tried == [LAST, SAFE] * 5


def test_a_slow_one_gets_no_second_turn_and_a_broken_one_is_left_out() -> None:
    clock = Clock({LAST: 0.10, HALF: 0.30, SAFE: -1.0})
    assert clock.measure(100.0) == pytest.approx({LAST: 0.10, HALF: 0.30})
    assert clock.tried.count(HALF) == clock.tried.count(SAFE) == 1 and clock.tried.count(LAST) == 5


def test_compiling_takes_time_that_does_not_count() -> None:
    clock = Clock({HALF: 0.20, GRAPHS: 0.05}, cold=30.0)
    assert fastest(clock.measure(1000.0)) == GRAPHS
    assert fastest(Clock({HALF: 0.20, GRAPHS: 0.05}, cold=30.0).measure(40.0)) == HALF


def test_measuring_stops_when_its_time_is_over() -> None:
    clock = Clock({LAST: 6.0, HALF: 3.0, SAFE: 6.0})
    assert clock.measure(8.0) == {LAST: 6.0, HALF: 3.0}
    assert clock.now == 9.0
    clock = Clock({LAST: 6.0, HALF: 3.0, SAFE: 6.0})
    assert clock.measure(2.0, known={LAST: 6.0}) == {LAST: 6.0, HALF: 3.0}
    assert clock.measure(-1.0, known={LAST: 6.0}) == {LAST: 6.0}


def test_a_small_advantage_decides_nothing() -> None:
    assert fastest({}) is None
    assert fastest({LAST: 1.00, SAFE: 0.97}) == LAST
    assert fastest({LAST: 1.00, SAFE: 0.90}) == SAFE


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler imports deprecated parts of torch
def test_preparing_changes_the_layout_and_neither_names_nor_values() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 2))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    weight = net[0].weight
    prepare(net.children(), Execution("fp32", "channels_last", "default"))
    assert net[0].weight is weight and weight.is_contiguous(memory_format=torch.channels_last)
    assert net[0]._compiled_call_impl is not None
    assert list(net.state_dict()) == list(before)
    with uncompiled():
        seen = net(torch.ones(1, 3, 8, 8))
    prepare(net.children(), SAFE)
    assert weight.is_contiguous() and net[0]._compiled_call_impl is None
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    torch.testing.assert_close(net(torch.ones(1, 3, 8, 8)), seen)


def test_the_precision_holds_inside_the_context_only() -> None:
    layer, x = nn.Linear(4, 4), torch.ones(1, 4)
    with autocast(CPU, HALF):
        assert layer(x).dtype == torch.bfloat16
    with autocast(CPU, SAFE):
        assert layer(x).dtype == torch.float32


def test_noise_has_the_shape_of_samples() -> None:
    batch = noise_batch(2, 64, CPU, features=True)
    assert batch.warped_src.shape == batch.target_dst.shape == (2, 3, 64, 64)
    assert batch.mask_src.shape == (2, 1, 64, 64)
    assert batch.features_dst is not None and batch.features_dst.shape == (2, 1, 64, 64)
    assert noise_batch(1, 64, CPU, features=False).features_src is None


def test_only_the_weights_of_a_phase_learn() -> None:
    net = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    learn_only((net,), net["a"].parameters())
    assert [name for name, weight in net.named_parameters() if weight.requires_grad] == ["a.weight", "a.bias"]


def ticking(monkeypatch: pytest.MonkeyPatch, seconds: Callable[[Execution], float]) -> list[tuple[Execution, int]]:
    """Let trials take what ``seconds`` says without computing; gives the list of what was tried."""
    tried: list[tuple[Execution, int]] = []

    def trial(self: object, way: Execution, count: int) -> float:
        tried.append((way, count))
        return seconds(way) * count

    monkeypatch.setattr(module.Trial, "__call__", trial)
    return tried


def test_a_net_is_as_before_after_it_was_measured() -> None:
    net = MINI.build(MINI.options())
    before = {name: value.clone() for name, value in net.state_dict().items()}
    random = torch.get_rng_state()
    progress = Recorded()
    chosen = pick_execution(MINI, MINI.options(), TrainOptions(), net, CPU, 2, seconds=1.0, progress=progress)
    assert chosen in candidates(CPU, TrainOptions())
    assert len(progress.notes) == 1 and progress.notes[0].startswith(f"computing in {chosen.line()}, of what was")
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert all(weight.grad is None and weight.requires_grad for weight in net.parameters())
    assert all(weight.is_contiguous() for weight in net.parameters())


def test_the_fastest_is_picked(monkeypatch: pytest.MonkeyPatch) -> None:
    net = MINI.build(MINI.options())
    for winner in candidates(CPU, TrainOptions()):
        ticking(monkeypatch, lambda way, winner=winner: 0.01 if way == winner else 0.02)
        assert pick_execution(MINI, MINI.options(), TrainOptions(), net, CPU, 4) == winner


def test_a_checkpoint_is_followed_on_its_kind_of_device(monkeypatch: pytest.MonkeyPatch) -> None:
    net = MINI.build(MINI.options())
    tried = ticking(monkeypatch, lambda way: 0.01)

    def pick(remembered: Execution, **options: object) -> Execution:
        return pick_execution(
            MINI, MINI.options(), TrainOptions(**options), net, CPU, 4, remembered=remembered.to_mapping()
        )

    assert pick(HALF) == HALF and pick(SAFE) == SAFE
    assert pick(Execution("bf16", "contiguous", "default")).compile == "default"
    assert not tried
    assert pick(HALF, precision="fp32").precision == "fp32"
    assert pick(HALF, deterministic=True) == SAFE
    assert pick(GRAPHS) in candidates(CPU, TrainOptions()) and tried


def test_short_trainings_and_slow_models_are_hardly_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    net = MINI.build(MINI.options())
    monkeypatch.setattr(module.time, "perf_counter", itertools.count(0.0, 50.0).__next__)
    first = candidates(CPU, TrainOptions())[0]
    tried = ticking(monkeypatch, lambda way: 50.0)
    assert pick_execution(MINI, MINI.options(), TrainOptions(), net, CPU, 4) == first
    assert tried == [(first, 1)]
    monkeypatch.undo()
    tried = ticking(monkeypatch, lambda way: 0.1)
    assert pick_execution(MINI, MINI.options(), TrainOptions(iterations=5), net, CPU, 4) == first
    assert tried == [(first, 1)]


def test_memory_that_is_out_leaves_the_first_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def trial(self: object, way: Execution, count: int) -> float:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(module.Trial, "__call__", trial)
    net = MINI.build(MINI.options())
    assert pick_execution(MINI, MINI.options(), TrainOptions(), net, CPU, 4) == candidates(CPU, TrainOptions())[0]


def test_compiling_is_not_tried_without_time_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    net = MINI.build(MINI.options())
    compiled = Execution("fp32", "channels_last", "default")
    monkeypatch.setattr(module, "candidates", lambda device, options: [LAST, compiled, SAFE])
    tried = ticking(monkeypatch, lambda way: 0.01)
    pick_execution(MINI, MINI.options(), TrainOptions(), net, CPU, 4, seconds=30.0)
    assert {way for way, _ in tried} == {LAST, SAFE}
    pick_execution(MINI, MINI.options(), TrainOptions(), net, CPU, 4, seconds=90.0)
    assert {way for way, _ in tried} == {LAST, SAFE, compiled}
