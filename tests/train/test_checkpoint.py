from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from recaster.errors import CheckpointError, MissingError, StorageError
from recaster.nets.architecture import find_architecture
from recaster.options import Options
from recaster.progress import Recorded
from recaster.train import checkpoint
from recaster.train.checkpoint import FOLDER, OPTIMIZER, STATE, WEIGHTS, State, latest, load_net, paths_of, prune, save


def net_and_optimizer(seed: int = 0) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        net(torch.randn(5, 3)).square().sum().backward()
        optimizer.step()
    return net, optimizer


def state_of(iteration: int, **values: Any) -> State:
    return State(
        architecture="tiny-test",
        iteration=iteration,
        seconds=1.5,
        net_options={"width": 8},
        train_options={"seed": 0},
        random={"torch": "AA=="},
        **values,
    )


def saved(folder: Path, *iterations: int) -> None:
    for iteration in iterations:
        save(folder, state_of(iteration), *net_and_optimizer(iteration))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def flip_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "weights cut": lambda path: cut(path / WEIGHTS),
    "weights flipped": lambda path: flip_bit(path / WEIGHTS),
    "weights missing": lambda path: (path / WEIGHTS).unlink(),
    "weights empty": lambda path: (path / WEIGHTS).write_bytes(b""),
    "optimizer cut": lambda path: cut(path / OPTIMIZER),
    "optimizer flipped": lambda path: flip_bit(path / OPTIMIZER),
    "optimizer missing": lambda path: (path / OPTIMIZER).unlink(),
    "state cut": lambda path: cut(path / STATE),
    "state flipped": lambda path: flip_bit(path / STATE),
    "state missing": lambda path: (path / STATE).unlink(),
    "state of zeros": lambda path: (path / STATE).write_bytes(bytes(500)),
    "state of another": lambda path: (path / STATE).write_text(
        (path / STATE).read_text().replace('"iteration": 20', '"iteration": 21')
    ),
    "folder empty": lambda path: (shutil.rmtree(path), path.mkdir()),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_checkpoint_is_skipped_with_a_note(tmp_path: Path, name: str) -> None:
    saved(tmp_path, 10, 20)
    DAMAGE[name](paths_of(tmp_path)[-1])
    progress = Recorded()
    found = latest(tmp_path, progress)
    assert found is not None and found.state.iteration == 10
    assert len(progress.notes) == 1
    assert "00000020" in progress.notes[0] and "damaged" in progress.notes[0]


def test_when_all_are_damaged_it_says_so(tmp_path: Path) -> None:
    saved(tmp_path, 10, 20)
    for path in paths_of(tmp_path):
        cut(path / STATE)
    with pytest.raises(CheckpointError, match="all checkpoints are damaged"):
        latest(tmp_path)


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert latest(tmp_path) is None
    (tmp_path / FOLDER / ".00000010.part").mkdir(parents=True)
    (tmp_path / FOLDER / "mine").mkdir()
    assert latest(tmp_path) is None


def test_weights_and_moments_come_back_bit_by_bit(tmp_path: Path) -> None:
    folder = tmp_path / "モデル 1"
    net, optimizer = net_and_optimizer()
    save(folder, state_of(7, history=[{"iteration": 3, "changed": {"seed": [0, 1]}}]), net, optimizer)
    found = latest(folder)
    assert found is not None and found.state.history[0]["iteration"] == 3
    other, other_optimizer = net_and_optimizer(1)
    found.load_weights(other)
    found.load_optimizer(other_optimizer)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))
    for row, moments in optimizer.state_dict()["state"].items():
        for kind, value in moments.items():
            assert torch.equal(other_optimizer.state_dict()["state"][row][kind], value)


def test_an_optimizer_s_plain_numbers_come_back_too(tmp_path: Path) -> None:
    class Counting(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            super().step()
            for parameter in self.param_groups[0]["params"]:
                self.state[parameter]["count"] = self.state[parameter].get("count", 0) + 1

    net, _ = net_and_optimizer()
    optimizer = Counting(net.parameters(), lr=0.1, momentum=0.9)
    optimizer.step()
    optimizer.step()
    save(tmp_path, state_of(1), net, optimizer)
    found = latest(tmp_path)
    assert found is not None
    other = Counting(net.parameters(), lr=0.1, momentum=0.9)
    found.load_optimizer(other)
    count = other.state_dict()["state"][0]["count"]
    assert count == 2 and isinstance(count, int)


def test_a_newer_format_is_no_damage(tmp_path: Path) -> None:
    saved(tmp_path, 10, 20)
    path = paths_of(tmp_path)[-1] / STATE
    values = json.loads(path.read_text())
    path.write_text(json.dumps({"format": 99, "new": values}))
    with pytest.raises(CheckpointError, match=r"format 99, newer than 1.*Update"):
        latest(tmp_path)


def test_pickles_are_not_written(tmp_path: Path) -> None:
    saved(tmp_path, 10)
    assert {path.name for path in paths_of(tmp_path)[0].iterdir()} == {WEIGHTS, OPTIMIZER, STATE}


@pytest.mark.parametrize("stage", ["weights", "flush"])
def test_a_full_disk_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    saved(tmp_path, 10)
    full = OSError(errno.ENOSPC, "No space left on device")

    def refuse(*arguments: Any) -> None:
        raise full

    def refuse_in_rust(tensors: Any, path: Path) -> None:
        path.write_bytes(b"half of it")
        raise checkpoint.SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    if stage == "weights":
        monkeypatch.setattr(checkpoint, "save_file", refuse_in_rust)
    else:
        monkeypatch.setattr("recaster.files.flush_to_disk", refuse)
    with pytest.raises(StorageError, match="the disk is full"):
        saved(tmp_path, 20)
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == ["00000010"]
    found = latest(tmp_path)
    assert found is not None and found.state.iteration == 10


def names(folder: Path) -> list[int]:
    return [int(path.name) for path in paths_of(folder)]


def test_pruning_keeps_the_last_of_each_kind(tmp_path: Path) -> None:
    for iteration in (5, 10, 13, 20, 27, 30, 31, 33):
        (tmp_path / FOLDER / f"{iteration:08d}").mkdir(parents=True)
    prune(tmp_path, 2, 10)
    assert names(tmp_path) == [20, 30, 31, 33]
    prune(tmp_path, 2, 10, finished=True)
    assert names(tmp_path) == [30, 33]
    prune(tmp_path, 2, 0, finished=True)
    assert names(tmp_path) == [33]


def test_a_net_is_loaded_from_what_the_checkpoint_says(tmp_path: Path, tiny: str, tiny_options: type[Options]) -> None:
    architecture = find_architecture(tiny)
    net = architecture.build(tiny_options(width=5))
    state = state_of(40)
    state.net_options["width"] = 5
    save(tmp_path, state, net, architecture.optimizer(net, tiny_options()))
    loaded = load_net(tmp_path, torch.device("cpu"))
    assert (loaded.architecture, loaded.iteration, loaded.net_options) == (tiny, 40, tiny_options(width=5))
    assert not loaded.net.training and not any(weight.requires_grad for weight in loaded.net.parameters())
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), loaded.net.parameters(), strict=True))


def test_there_may_be_nothing_to_load(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"no trained model.*Train one"):
        load_net(tmp_path, torch.device("cpu"))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    saved(tmp_path, 10)
    found = latest(tmp_path)
    assert found is not None
    with pytest.raises(CheckpointError, match="do not fit"):
        found.load_weights(nn.Linear(2, 2))
