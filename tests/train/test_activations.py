from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from recaster.nets.architecture import find_architecture
from recaster.nets.autoencoder import FaceNet
from recaster.nets.blocks import Decoder, Down, Residual, ResidualDecoder, Up
from recaster.train.activations import blocks_of, keep_few_activations


def build(name: str) -> FaceNet:
    torch.manual_seed(0)
    architecture = find_architecture(name)
    return architecture.build(architecture.options())


def run(module: nn.Module, *inputs: Tensor, autocast: bool = False) -> tuple[list[Tensor], int]:
    """The gradients of a step, and how many bytes were kept for them between forward and backward, weights aside."""
    kept: dict[int, int] = {}
    weights = {weight.untyped_storage().data_ptr() for weight in module.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    forward = module.reconstruct if isinstance(module, FaceNet) else module
    module.zero_grad()
    with saved_tensors_hooks(pack, lambda tensor: tensor):
        with torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext():
            out = forward(*inputs)
        values = [out] if isinstance(out, Tensor) else list(out) if isinstance(out, tuple) else list(vars(out).values())
        loss = sum(value.float().square().mean() for value in values if value is not None)
    loss.backward()
    return [weight.grad for weight in module.parameters() if weight.grad is not None], sum(kept.values())


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        lambda: Down(4, 8),
        lambda: Up(4, 8),
        lambda: Residual(4),
        lambda: Decoder(4, (8, 4), (4, 4), 5),
        lambda: ResidualDecoder(4, (8, 4)),
    ],
)
def test_blocks_have_the_same_gradients_to_the_bit(make: Callable[[], nn.Module], autocast: bool) -> None:
    torch.manual_seed(0)
    plain = make()
    few = copy.deepcopy(plain)
    keep_few_activations(few)
    inputs, others = (torch.rand(2, 4, 16, 16, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    inputs.requires_grad_()
    others.requires_grad_()
    expected, _ = run(plain, inputs, autocast=autocast)
    gradients, _ = run(few, others, autocast=autocast)
    assert len(gradients) == len(expected)
    assert all(torch.equal(a, b) for a, b in zip(gradients, expected, strict=True))
    assert inputs.grad is not None and others.grad is not None
    assert torch.equal(inputs.grad, others.grad)


def test_a_model_has_the_same_gradients_and_names_with_less_memory() -> None:
    plain, few = build("mini"), build("mini")
    keep_few_activations(few)
    pictures = torch.rand(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(1)).unbind()
    expected, much = run(plain, *pictures)
    gradients, little = run(few, *pictures)
    assert all(torch.equal(a, b) for a, b in zip(gradients, expected, strict=True))
    assert little < 0.6 * much
    assert list(few.state_dict()) == list(plain.state_dict())
    few.load_state_dict(plain.state_dict())


def test_random_numbers_are_drawn_once() -> None:
    block = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Dropout(0.5), nn.Conv2d(8, 8, 3))
    few = copy.deepcopy(block)
    keep_few_activations(few)
    assert list(blocks_of(few)) == [few]
    results = []
    for module in (block, few):
        torch.manual_seed(5)
        results.append((run(module, torch.ones(1, 3, 9, 9))[0], torch.rand(3)))
    assert all(torch.equal(a, b) for a, b in zip(results[0][0], results[1][0], strict=True))
    assert torch.equal(results[0][1], results[1][1])


def test_blocks_are_the_innermost_modules_with_convolutions() -> None:
    decoder = ResidualDecoder(4, (8, 4))
    assert [type(block) for block in blocks_of(decoder)] == [Up, Residual, Up, Residual]

    class Towers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)])

    net = nn.Sequential(nn.Linear(2, 2), Towers(), nn.ReLU())
    assert [type(block) for block in blocks_of(net)] == [Towers]


def test_asking_twice_computes_no_value_three_times() -> None:
    calls = []

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            calls.append(torch.is_grad_enabled())
            return self.conv(x).relu()

    net = nn.Sequential(Block())
    keep_few_activations(net)
    keep_few_activations(net)
    run(net, torch.ones(1, 1, 2, 2))
    assert len(calls) == 2
    with torch.no_grad():
        net(torch.ones(1, 1, 2, 2))
    assert len(calls) == 3


def test_a_copy_computes_with_its_own_weights() -> None:
    net = nn.Sequential(Up(3, 2))
    keep_few_activations(net)
    other = copy.deepcopy(net)
    with torch.no_grad():
        for weight in other.parameters():
            weight.zero_()
    assert not other(torch.ones(1, 3, 4, 4)).any()
    assert net(torch.ones(1, 3, 4, 4)).any()
