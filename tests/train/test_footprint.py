from __future__ import annotations

import gc

import pytest
import torch
from torch import nn

from recaster.train import footprint as module
from recaster.train.footprint import Footprint

CPU = torch.device("cpu")
KB = 1024


def numbers(count: int) -> torch.Tensor:
    return torch.ones(count, 256)


def test_what_is_freed_makes_room() -> None:
    footprint = Footprint(CPU)
    with footprint.watch([]):
        a = numbers(4)
        del a
        b = numbers(3)
        c = b + 1
        del b, c
    assert footprint.passing() == 6 * KB


def test_views_and_changes_in_place_take_nothing() -> None:
    footprint = Footprint(CPU)
    with footprint.watch([]):
        a = numbers(4)
        a.add_(1)
        views = a.view(-1), a[:2], a.t()
        del views
    assert footprint.passing() == 4 * KB
    del a


def test_gradients_are_left_out_also_when_they_are_gone_by_then() -> None:
    weight = nn.Parameter(torch.ones(8, 256))
    footprint = Footprint(CPU)
    with footprint.watch([weight]):
        for _ in range(3):
            (2 * weight).sum().backward()
            weight.grad = None
    gc.collect()
    assert footprint.passing() <= 8 * KB + 16  # the product of the way forward, and not its gradient as well
    assert not weight._post_accumulate_grad_hooks


def test_other_devices_do_not_count() -> None:
    footprint = Footprint(torch.device("meta"))
    with footprint.watch([]):
        a, b = numbers(4), torch.ones(2, 256, device="meta")
    assert footprint.passing() == 2 * KB
    del a, b


def test_an_accelerator_counts_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    peaks = iter([100, 700])
    monkeypatch.setattr(module, "reset_peak_memory", lambda device: True)
    monkeypatch.setattr(module, "peak_memory", lambda device: next(peaks))
    footprint = Footprint(torch.device("cuda"))
    with footprint.watch([]):
        pass
    assert footprint.counted and footprint.taken() == 600
