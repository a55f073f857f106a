from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from recaster.train.average import Average


def make_net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)).to(
        memory_format=torch.channels_last  # type: ignore[call-overload]
    )


def change(net: nn.Module, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for value in net.state_dict().values():
            if value.is_floating_point():
                value.add_(torch.randn(value.shape, generator=generator))
            else:
                value.add_(1)


def copy(values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in values.items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("decay", [0.15, 0.999])
def test_weights_are_averaged_with_a_warm_up(decay: float) -> None:
    net = make_net()
    average = Average(net, decay)
    expected = net.state_dict()["0.weight"].double().numpy().copy()
    for step in range(20):
        change(net, step)
        average.update()
        now = min(decay, (1 + step) / (10 + step))
        expected = now * expected + (1 - now) * net.state_dict()["0.weight"].double().numpy()
    np.testing.assert_allclose(average.state()["0.weight"], expected, rtol=1e-5, atol=1e-6)
    assert average.updates == 20


def test_what_is_not_learned_is_copied() -> None:
    net = make_net()
    average = Average(net, 0.9)
    for step in range(3):
        change(net, step)
        average.update()
    for name in ("1.running_mean", "1.running_var", "1.num_batches_tracked"):
        assert torch.equal(average.state()[name], net.state_dict()[name])
    assert not torch.equal(average.state()["1.weight"], net.state_dict()["1.weight"])


def test_inside_applied_the_net_is_the_average_and_nothing_is_copied() -> None:
    net = make_net()
    average = Average(net, 0.9)
    change(net, 0)
    average.update()
    weights, means = copy(net.state_dict()), copy(average.state())
    places = {value.data_ptr() for value in (*net.state_dict().values(), *average.state().values())}
    parameters = [id(weight) for weight in net.parameters()]
    with pytest.raises(KeyError), average.applied():
        assert same(net.state_dict(), means)
        assert {value.data_ptr() for value in (*net.state_dict().values(), *average.state().values())} == places
        raise KeyError
    assert same(net.state_dict(), weights)
    assert same(average.state(), means)
    assert [id(weight) for weight in net.parameters()] == parameters


def test_training_goes_on_after_applied() -> None:
    net = make_net()
    average = Average(net, 0.9)
    change(net, 0)
    with average.applied():
        net(torch.rand(2, 3, 5, 5))
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    before = copy(net.state_dict())
    net(torch.rand(2, 3, 5, 5)).sum().backward()
    optimizer.step()
    assert not torch.equal(net.state_dict()["0.weight"], before["0.weight"])


def test_an_average_goes_on_from_its_state() -> None:
    net, other = make_net(), make_net()
    straight, first = Average(net, 0.999), Average(other, 0.999)
    for step in range(6):
        change(net, step)
        straight.update()
        change(other, step)
        if step == 3:
            state, updates = copy(first.state()), first.updates
            first = Average(other, 0.999)
            first.restore(state, updates)
        first.update()
    assert same(first.state(), straight.state())


def test_without_a_count_the_warm_up_is_over() -> None:
    net = make_net()
    average = Average(net, 0.9)
    average.restore({name: torch.zeros_like(value) for name, value in net.state_dict().items()})
    average.update()
    torch.testing.assert_close(average.state()["0.weight"], 0.1 * net.state_dict()["0.weight"])


def test_what_a_state_lacks_begins_with_the_net_s_own_weights() -> None:
    net = make_net()
    average = Average(net, 0.9)
    change(net, 0)
    average.restore({"0.weight": torch.zeros(4, 3, 3, 3), "2.weight": torch.zeros(9), "gone": torch.zeros(1)}, 5)
    assert not average.state()["0.weight"].any()
    assert torch.equal(average.state()["2.weight"], net.state_dict()["2.weight"])
    assert average.state().keys() == net.state_dict().keys()


def test_the_state_loads_into_another_net() -> None:
    net, other = make_net(), make_net(1)
    average = Average(net, 0.9)
    change(net, 0)
    average.update()
    other.load_state_dict(average.state())
    assert same(dict(other.state_dict()), average.state())
