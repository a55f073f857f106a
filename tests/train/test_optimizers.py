from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from recaster.nets.architecture import Rule
from recaster.train import optimizers
from recaster.train.optimizers import CHUNK, Optimizer

RATE = 0.01
RULES = {
    "adam": Rule("adam", betas=(0.5, 0.999), eps=1e-7),
    "adabelief": Rule("adabelief", betas=(0.9, 0.999), eps=1e-6),
    "rmsprop": Rule("rmsprop", betas=(0.0, 0.9), eps=1e-6),
}
SHAPES = {"conv": (5, 3, 3, 3), "dense": (1021, 517), "bias": (7,)}
"""The dense weight takes more than one chunk and ends in the middle of one."""

Numbers = dict[str, NDArray[np.float64]]


def make_weights(seed: int = 0, *, channels_last: bool = False) -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    weights = {name: nn.Parameter(torch.randn(shape, generator=generator)) for name, shape in SHAPES.items()}
    if channels_last:
        weights["conv"].data = weights["conv"].data.to(memory_format=torch.channels_last)
    return weights


def give_gradients(weights: dict[str, nn.Parameter], step: int, scale: float = 1.0) -> None:
    generator = torch.Generator().manual_seed(1000 + step)
    for name, shape in SHAPES.items():
        gradient = scale * torch.randn(shape, generator=generator)
        if name in weights:
            weights[name].grad = gradient


def train(weights: dict[str, nn.Parameter], optimizer: Optimizer, first: int, last: int, rate: float = RATE) -> None:
    for step in range(first, last):
        optimizer.zero_grad()
        give_gradients(weights, step)
        optimizer.step(rate)


def values(weights: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in weights.items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def reference(rule: Rule, steps: int) -> tuple[Numbers, Numbers]:
    """The rules as they are written on paper, in float64: weights, and the last step's change."""
    weights = {name: weight.detach().double().numpy().copy() for name, weight in make_weights().items()}
    m = {name: np.zeros_like(weight) for name, weight in weights.items()}
    s = {name: np.zeros_like(weight) for name, weight in weights.items()}
    changes: Numbers = {}
    b1, b2 = rule.betas
    for t in range(1, steps + 1):
        carrier = make_weights()
        give_gradients(carrier, t - 1)
        gradients = {name: weight.grad.double().numpy() for name, weight in carrier.items() if weight.grad is not None}
        norm = np.sqrt(sum((g**2).sum() for g in gradients.values()))
        for name, g in gradients.items():
            if rule.clip and norm > rule.clip:
                g = g * rule.clip / norm
            m[name] = b1 * m[name] + (1 - b1) * g
            if rule.kind == "adam":
                s[name] = b2 * s[name] + (1 - b2) * g**2
                change = -RATE * (m[name] / (1 - b1**t)) / (np.sqrt(s[name] / (1 - b2**t)) + rule.eps)
            elif rule.kind == "adabelief":
                s[name] = b2 * s[name] + (1 - b2) * (g - m[name]) ** 2
                change = -RATE * m[name] / (np.sqrt(s[name]) + rule.eps)
            else:
                s[name] = b2 * s[name] + (1 - b2) * g**2
                change = -RATE * g / (np.sqrt(s[name]) + rule.eps)
            changes[name] = change
            weights[name] = weights[name] + change
    return weights, changes


@pytest.mark.parametrize("clip", [0.0, 1.0])
@pytest.mark.parametrize("kind", RULES)
def test_weights_follow_the_rule_as_it_is_on_paper(kind: str, clip: float) -> None:
    rule = replace(RULES[kind], clip=clip)
    weights = make_weights()
    train(weights, Optimizer(weights, rule), 0, 4)
    expected, _ = reference(rule, 4)
    for name, weight in weights.items():
        np.testing.assert_allclose(weight.detach().numpy(), expected[name], rtol=1e-5, atol=2e-6)


def test_adam_is_torch_s_adam() -> None:
    weights, others = make_weights(), make_weights()
    theirs = torch.optim.Adam(others.values(), lr=RATE, betas=(0.5, 0.999), eps=1e-7, foreach=False)
    train(weights, Optimizer(weights, RULES["adam"]), 0, 5)
    for step in range(5):
        give_gradients(others, step)
        theirs.step()
    for name, weight in weights.items():
        torch.testing.assert_close(weight, others[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", RULES)
def test_of_the_changes_of_a_step_the_share_asked_for_is_made_whole_and_others_in_the_next(kind: str) -> None:
    rule = replace(RULES[kind], keep=0.3)
    weights = make_weights()
    optimizer = Optimizer(weights, rule)
    made = []
    for step in range(3):
        before = values(weights)
        train(weights, optimizer, step, step + 1)
        _, full = reference(rule, step + 1)
        moved = {name: weight.detach() - before[name] for name, weight in weights.items()}
        kept = {name: change != 0 for name, change in moved.items()}
        for name, change in moved.items():
            expected = np.where(kept[name], full[name], 0)
            np.testing.assert_allclose(change, expected, rtol=1e-4, atol=2e-6)
        made.append(kept["dense"])
    for kept in made:
        # 1 % is 13 standard deviations of the share among half a million.
        assert float(kept.float().mean()) == pytest.approx(0.3, abs=0.01)
        rows, columns = kept.float().mean(1), kept.float().mean(0)
        assert float(rows.std()) == pytest.approx((0.21 / kept.shape[1]) ** 0.5, rel=0.1)
        assert float(columns.std()) == pytest.approx((0.21 / kept.shape[0]) ** 0.5, rel=0.1)
    assert float((made[0] & made[1]).float().mean()) == pytest.approx(0.09, abs=0.005)
    assert float((made[1] & made[2]).float().mean()) == pytest.approx(0.09, abs=0.005)


def test_equal_seeds_draw_the_same_and_others_others() -> None:
    def result(seed: int) -> dict[str, Tensor]:
        weights = make_weights()
        train(weights, Optimizer(weights, replace(RULES["adabelief"], keep=0.3), seed=seed), 0, 2)
        return values(weights)

    assert same(result(1), result(1))
    assert not same(result(1), result(2))


@pytest.mark.parametrize("keep", [1.0, 0.3])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("kind", RULES)
def test_on_a_cpu_all_modes_give_the_same_bits(kind: str, channels_last: bool, keep: float) -> None:
    results = []
    for mode in (1, 2, 3):
        weights = make_weights(channels_last=channels_last)
        train(weights, Optimizer(weights, replace(RULES[kind], keep=keep, clip=1.0), mode=mode), 0, 3)
        results.append(values(weights))
    assert same(results[0], results[1])
    assert same(results[0], results[2])


@pytest.mark.parametrize("mode", [2, 3])
@pytest.mark.parametrize("kind", RULES)
def test_moments_that_visit_the_device_come_back(kind: str, mode: int, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = make_weights()
    train(weights, Optimizer(weights, RULES[kind]), 0, 3)
    monkeypatch.setattr(optimizers, "_move_to", lambda place, tensor: tensor.to(place, copy=True))
    visited = make_weights()
    train(visited, Optimizer(visited, RULES[kind], mode=mode), 0, 3)
    assert same(values(weights), values(visited))


@pytest.mark.parametrize("kind", RULES)
def test_whole_groups_of_tensors_give_what_chunks_give(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = make_weights()
    train(weights, Optimizer(weights, RULES[kind]), 0, 3)
    monkeypatch.setattr(optimizers, "HOST", torch.device("meta"))  # no weight is there, so none is taken in chunks
    monkeypatch.setattr(optimizers, "GROUP", 1000)
    grouped = make_weights()
    train(grouped, Optimizer(grouped, RULES[kind]), 0, 3)
    for name, weight in weights.items():
        torch.testing.assert_close(weight, grouped[name], rtol=1e-6, atol=1e-6)


def test_elsewhere_than_on_a_cpu_the_share_kept_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimizers, "HOST", torch.device("meta"))
    weights = make_weights()
    before = values(weights)
    train(weights, Optimizer(weights, replace(RULES["adabelief"], keep=0.3)), 0, 1)
    moved = weights["dense"].detach() != before["dense"]
    assert float(moved.float().mean()) == pytest.approx(0.3, abs=0.01)


def test_what_changes_can_be_drawn_in_ram(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = []
    real = torch.empty

    def empty(*shape: Any, **kwargs: Any) -> Tensor:
        devices.append(kwargs.get("device", torch.device("cpu")))
        return real(*shape, **kwargs)

    monkeypatch.setattr(torch, "empty", empty)
    generator = Optimizer({"a": nn.Parameter(torch.empty(3, device="meta"))}, Rule(draw_on_host=True))._random()
    chosen = optimizers._chosen(torch.empty_like(torch.ones(100, 50), device="meta"), 0.3, generator)
    assert (chosen.device.type, tuple(chosen.shape)) == ("meta", (100, 50))
    assert devices[-1] == torch.device("cpu")


def test_memory_order_does_not_matter() -> None:
    plain, other = make_weights(), make_weights(channels_last=True)
    for weights in (plain, other):
        train(weights, Optimizer(weights, RULES["adabelief"]), 0, 3)
    assert other["conv"].is_contiguous(memory_format=torch.channels_last)
    for name, weight in plain.items():
        torch.testing.assert_close(weight, other[name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("mode", [1, 2, 3])
@pytest.mark.parametrize("kind", RULES)
def test_five_steps_are_three_then_a_save_then_two(kind: str, mode: int, tmp_path: Path) -> None:
    rule = replace(RULES[kind], keep=0.5, clip=1.0)
    straight = make_weights()
    train(straight, Optimizer(straight, rule, mode=mode, seed=7), 0, 5)
    weights = make_weights()
    optimizer = Optimizer(weights, rule, mode=mode, seed=7)
    train(weights, optimizer, 0, 3)
    save_file(values(weights), tmp_path / "weights.safetensors")
    tensors, numbers = optimizer.state()
    save_file(tensors, tmp_path / "optimizer.safetensors")
    text = json.dumps(numbers)

    resumed = make_weights(seed=99)
    for name, value in load_file(tmp_path / "weights.safetensors").items():
        resumed[name].data.copy_(value)
    again = Optimizer(resumed, rule, mode=mode, seed=7)
    assert again.restore(load_file(tmp_path / "optimizer.safetensors"), json.loads(text)) == []
    train(resumed, again, 3, 5)
    assert same(values(resumed), values(straight))


@pytest.mark.parametrize("kind", RULES)
def test_a_state_goes_on_in_another_memory_order(kind: str) -> None:
    straight = make_weights()
    train(straight, Optimizer(straight, RULES[kind]), 0, 5)
    weights = make_weights(channels_last=True)
    optimizer = Optimizer(weights, RULES[kind])
    train(weights, optimizer, 0, 3)
    tensors, numbers = optimizer.state()
    assert all(tensor.is_contiguous() for tensor in tensors.values())
    again = Optimizer(weights, RULES[kind])
    again.restore(tensors, numbers)
    weights["conv"].data = weights["conv"].data.contiguous()
    train(weights, again, 3, 5)
    for name, weight in straight.items():
        torch.testing.assert_close(weight, weights[name], rtol=1e-6, atol=1e-6)


def test_a_restored_state_does_not_hang_on_the_one_it_came_from() -> None:
    weights, others = make_weights(), make_weights()
    first = Optimizer(weights, RULES["rmsprop"])
    train(weights, first, 0, 1)
    second = Optimizer(others, RULES["rmsprop"])
    second.restore(*first.state())
    before = {name: value.clone() for name, value in second.state()[0].items()}
    train(weights, first, 1, 2)
    assert same(second.state()[0], before)


def test_weights_without_moments_begin_afresh_and_moments_without_weights_go() -> None:
    weights = make_weights()
    optimizer = Optimizer(weights, RULES["adam"])
    train(weights, optimizer, 0, 3)
    tensors, numbers = optimizer.state()
    del tensors["bias:square"]
    tensors["conv:mean"] = tensors["conv:mean"][:2]
    tensors["gone:mean"] = tensors["gone:square"] = torch.ones(3)

    fresh = Optimizer(make_weights(), RULES["adam"])
    assert fresh.restore(tensors, numbers) == ["conv", "bias"]
    assert {name.split(":")[0] for name in fresh.state()[0]} == {"dense"}


def test_moments_of_another_kind_are_not_taken_for_these() -> None:
    weights = make_weights()
    optimizer = Optimizer(weights, RULES["adam"])
    train(weights, optimizer, 0, 3)
    assert Optimizer(weights, RULES["rmsprop"]).restore(*optimizer.state()) == list(SHAPES)


def test_a_weight_that_joins_later_gets_full_bias_correction() -> None:
    weights = make_weights()
    optimizer = Optimizer(weights, RULES["adam"])
    for step in range(10):
        give_gradients({name: weights[name] for name in ("conv", "dense")}, step)
        optimizer.step(RATE)
    before = values(weights)
    train(weights, optimizer, 10, 11)
    torch.testing.assert_close(
        (weights["bias"].detach() - before["bias"]).abs(), torch.full((7,), RATE), rtol=1e-3, atol=0
    )


def test_weights_without_gradient_stay_and_keep_no_moments() -> None:
    weights = make_weights()
    before = values(weights)
    optimizer = Optimizer(weights, replace(RULES["adabelief"], clip=1.0))
    optimizer.step(RATE)
    assert same(values(weights), before)
    give_gradients({"bias": weights["bias"]}, 0)
    optimizer.step(RATE)
    assert torch.equal(weights["dense"], before["dense"])
    assert set(optimizer.state()[0]) == {"bias:mean", "bias:deviation"}
    assert Optimizer({}, RULES["adam"]).gradient_norm() == 0


def test_the_norm_is_that_of_all_gradients_before_clipping() -> None:
    weights = make_weights()
    optimizer = Optimizer(weights, replace(RULES["adabelief"], clip=1.0))
    give_gradients(weights, 0)
    expected = float(torch.cat([weight.grad.flatten().double() for weight in weights.values()]).norm())  # type: ignore[union-attr]
    assert float(optimizer.gradient_norm()) == pytest.approx(expected, rel=1e-5)
    optimizer.step(RATE)
    assert float(optimizer.gradient_norm()) == pytest.approx(expected, rel=1e-5)
    clipped = torch.cat([weight.grad.flatten() for weight in weights.values()]).norm()  # type: ignore[union-attr]
    assert float(clipped) == pytest.approx(1, rel=1e-4)
    optimizer.zero_grad()
    give_gradients(weights, 1, scale=1e-5)
    assert float(optimizer.gradient_norm()) < 0.1


def test_small_gradients_are_not_clipped_and_none_of_zero_do_harm() -> None:
    weights = make_weights()
    optimizer = Optimizer(weights, replace(RULES["rmsprop"], clip=1.0))
    give_gradients(weights, 0, scale=1e-5)
    before = weights["dense"].grad.clone()  # type: ignore[union-attr]
    optimizer.step(RATE)
    assert torch.equal(weights["dense"].grad, before)  # type: ignore[arg-type]
    for weight in weights.values():
        weight.grad = torch.zeros_like(weight)
    optimizer.step(RATE)
    assert all(bool(weight.isfinite().all()) for weight in weights.values())


@pytest.mark.parametrize("clip", [0.0, 1.0])
@pytest.mark.parametrize("kind", RULES)
def test_a_gradient_that_is_no_number_shows(kind: str, clip: float) -> None:
    weights = make_weights()
    optimizer = Optimizer(weights, replace(RULES[kind], clip=clip, keep=0.5))
    give_gradients(weights, 0)
    weights["dense"].grad[3, 4] = float("nan")  # type: ignore[index]
    assert optimizer.gradient_norm().isnan()
    optimizer.step(RATE)
    assert weights["dense"][3, 4].isnan()


@pytest.mark.parametrize("kind", RULES)
def test_memory_is_where_it_should_be(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, torch.device]] = []
    real = torch.zeros_like

    def zeros_like(like: Tensor, **kwargs: Any) -> Tensor:
        made.append((like.numel(), kwargs.get("device", like.device)))
        return real(like, **kwargs)

    monkeypatch.setattr(torch, "zeros_like", zeros_like)
    weights = {name: nn.Parameter(weight.to("meta")) for name, weight in make_weights().items()}
    kept = 2 if kind != "rmsprop" else 1
    for mode, device in ((1, "meta"), (2, "cpu"), (3, "cpu")):
        made.clear()
        optimizer = Optimizer(weights, RULES[kind], mode=mode)
        for name in weights:
            optimizer._kept(name)
        assert {place for _, place in made} == {torch.device(device)}
        assert sum(count for count, _ in made) == kept * sum(weight.numel() for weight in weights.values())


def test_only_one_tensor_at_a_time_visits_the_device() -> None:
    weights = make_weights()
    for mode, expected in ((1, [3]), (2, [1, 1, 1]), (3, [1, 1, 1])):
        optimizer = Optimizer(weights, RULES["adam"], mode=mode)
        give_gradients(weights, 0)
        assert [len(group) for group in optimizer._groups()] == expected


def test_no_more_memory_than_a_few_chunks_is_needed_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = 0
    real: Callable[..., list[Tensor]] = torch._foreach_sqrt

    def watched(tensors: list[Tensor]) -> list[Tensor]:
        nonlocal largest
        largest = max(largest, sum(tensor.numel() for tensor in tensors))
        return real(tensors)

    monkeypatch.setattr(torch, "_foreach_sqrt", watched)
    weights = make_weights()
    train(weights, Optimizer(weights, RULES["adabelief"]), 0, 1)
    assert largest == CHUNK
