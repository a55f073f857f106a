from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from recaster import device as devices
from recaster.errors import UsageError

CPU = torch.device("cpu")
GB = 10**9


class Cards:
    """Stands for torch's driver of two accelerators of which the second has more memory; one may be broken."""

    def __init__(self, broken: str = "") -> None:
        self.broken = broken
        self.peaks: list[str] = []

    def get_device_properties(self, device: torch.device) -> Any:
        return SimpleNamespace(total_memory=(8 * GB, 24 * GB)[device.index])

    def mem_get_info(self, device: torch.device) -> tuple[int, int]:
        return 5 * GB, 8 * GB

    def memory_reserved(self, device: torch.device) -> int:
        return 3 * GB

    def memory_allocated(self, device: torch.device) -> int:
        return 2 * GB

    def reset_peak_memory_stats(self, device: torch.device) -> None:
        self.peaks.append(str(device))

    def max_memory_allocated(self, device: torch.device) -> int:
        return 4 * GB


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> Cards:
    found = Cards()
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("xpu"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    monkeypatch.setattr(torch, "get_device_module", lambda device: found if device.type == "xpu" else torch.cpu)
    monkeypatch.setattr(devices, "_computes", lambda name: name != found.broken)
    return found


@pytest.fixture
def no_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)


@pytest.mark.usefixtures("no_cards")
def test_without_an_accelerator_the_cpu_is_chosen() -> None:
    assert devices.found_devices() == devices.working_devices() == ["cpu"]
    assert devices.choose_device() == devices.choose_device("cpu") == CPU
    with pytest.raises(UsageError, match=r"'cuda:3' does not work here. Choose one of: auto, cpu\."):
        devices.choose_device("cuda:3")


@pytest.mark.usefixtures("cards")
def test_the_accelerator_with_most_memory_is_the_best() -> None:
    assert devices.found_devices() == ["xpu:1", "xpu:0", "cpu"]
    assert devices.choose_device() == devices.choose_device("xpu") == torch.device("xpu:1")
    assert devices.choose_device("xpu:0") == torch.device("xpu:0")
    assert devices.choose_device("CPU ") == CPU


def test_one_that_cannot_compute_is_found_but_not_chosen(cards: Cards) -> None:
    cards.broken = "xpu:1"
    assert "xpu:1" in devices.found_devices() and "xpu:1" not in devices.working_devices()
    assert devices.choose_device("auto") == torch.device("xpu:0")
    with pytest.raises(UsageError, match="'xpu:1' does not work"):
        devices.choose_device("xpu:1")


@pytest.mark.usefixtures("cards")
def test_lists_of_devices() -> None:
    assert devices.choose_devices("cpu,cpu") == [CPU, CPU]
    assert devices.choose_devices("xpu:0, xpu:1") == [torch.device("xpu:0"), torch.device("xpu:1")]
    assert devices.choose_devices("auto") == [torch.device("xpu:1")]
    for wrong in ("xpu:0,cpu", "xpu:0,xpu:0", "xpu:0,", ""):
        with pytest.raises(UsageError):
            devices.choose_devices(wrong)


def test_a_device_is_probed_by_computing() -> None:
    assert devices._computes("cpu")
    assert not devices._computes("cuda:99")


def test_memory_of_an_accelerator(cards: Cards) -> None:
    card = torch.device("xpu:0")
    assert devices.total_memory(card) == 8 * GB
    assert devices.free_memory(card) == 6 * GB  # the driver's 5, and what this process holds unused
    assert devices.reset_peak_memory(card) and cards.peaks == ["xpu:0"]
    assert devices.peak_memory(card) == 4 * GB


def test_memory_of_the_cpu() -> None:
    free, total = devices.free_memory(CPU), devices.total_memory(CPU)
    assert 10**8 < free < total < 10**14
    assert not devices.reset_peak_memory(CPU)
    assert not devices.reset_peak_memory(torch.device("meta"))
    devices.synchronize(CPU)
    devices.forget_unused_memory(CPU)


def test_a_container_limits_the_memory_of_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "CONTROL_GROUP", tmp_path)
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.stat").write_text("anon 400000\nfile 900000\n")
    assert devices.total_memory(CPU) == 1_000_000
    assert devices.free_memory(CPU) == 600_000
    (tmp_path / "memory.max").write_text("max\n")
    assert devices.free_memory(CPU) > 1_000_000


def test_bf16_on_a_cpu_is_what_its_flags_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True}, raising=False)
    assert not devices.computes_bf16(CPU)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True}, raising=False)
    assert devices.computes_bf16(CPU)
    assert devices.computes_bf16(torch.device("cuda")) and not devices.computes_bf16(torch.device("mps"))
