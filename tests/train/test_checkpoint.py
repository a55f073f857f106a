from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from recaster.errors import CheckpointError, MissingError, StorageError
from recaster.files import remove_leftovers
from recaster.nets.architecture import find_architecture
from recaster.options import Options
from recaster.progress import Recorded
from recaster.train import checkpoint
from recaster.train.checkpoint import (
    FOLDER,
    STATE,
    Checkpoint,
    Contents,
    DamagedError,
    State,
    file_of,
    latest,
    load_net,
    open_checkpoint,
    paths_of,
    prune,
    read_state,
    save,
    set_aside,
    set_aside_newer,
)

WEIGHTS, CRITICS, AVERAGE, OPTIMIZER = (file_of(item.name) for item in fields(Contents))


def contents_of(seed: int, **parts: Mapping[str, Tensor]) -> Contents:
    torch.manual_seed(seed)
    weights = {"encoder.0.weight": torch.randn(3, 4), "decoder_src.0.bias": torch.randn(2)}
    moments = {f"all/{name}:mean": torch.randn_like(tensor) for name, tensor in weights.items()}
    return Contents(**{"weights": weights, "optimizer": moments, **parts})


def state_of(iteration: int, **values: Any) -> State:
    return State(
        **{
            "architecture": "tiny-test",
            "iteration": iteration,
            "seconds": 1.5,
            "net_options": {"width": 8},
            "train_options": {"seed": 0},
            "random": {"torch": "AA=="},
            **values,
        }
    )


def saved(folder: Path, *iterations: int) -> None:
    for iteration in iterations:
        averaged = {"average": {"encoder.0.weight": torch.ones(3, 4)}}
        save(folder, state_of(iteration), contents_of(iteration, **averaged))


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def flip_bit(path: Path, place: float = 0.5) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * place)] ^= 1
    path.write_bytes(data)


def replace_text(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "weights cut": lambda path: cut(path / WEIGHTS),
    "weights flipped": lambda path: flip_bit(path / WEIGHTS),
    "weights missing": lambda path: (path / WEIGHTS).unlink(),
    "weights empty": lambda path: (path / WEIGHTS).write_bytes(b""),
    "average flipped": lambda path: flip_bit(path / AVERAGE, 0.9),
    "average missing": lambda path: (path / AVERAGE).unlink(),
    "optimizer cut": lambda path: cut(path / OPTIMIZER),
    "optimizer flipped": lambda path: flip_bit(path / OPTIMIZER, 0.01),
    "optimizer missing": lambda path: (path / OPTIMIZER).unlink(),
    "state cut": lambda path: cut(path / STATE),
    "state flipped": lambda path: flip_bit(path / STATE),
    "state missing": lambda path: (path / STATE).unlink(),
    "state of zeros": lambda path: (path / STATE).write_bytes(bytes(500)),
    "state of another": lambda path: replace_text(path / STATE, '"iteration": 20', '"iteration": 21'),
    "state with more": lambda path: replace_text(path / STATE, '"iteration": 20', '"new": 1, "iteration": 20'),
    "state without a file": lambda path: replace_text(path / STATE, WEIGHTS, "other.safetensors"),
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
    with pytest.raises(DamagedError, match="00000020: the checkpoint is damaged"):
        open_checkpoint(paths_of(tmp_path)[-1])


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    saved(tmp_path, 10)
    (path,) = paths_of(tmp_path)
    chance = random.Random(0)
    for _ in range(60):
        file = chance.choice([name for name in path.iterdir() if name.name != STATE])
        data = bytearray(file.read_bytes())
        place = chance.randrange(8 * len(data))
        data[place // 8] ^= 1 << place % 8
        whole = file.read_bytes()
        file.write_bytes(data)
        with pytest.raises(DamagedError):
            open_checkpoint(path)
        file.write_bytes(whole)
    open_checkpoint(path)


def test_when_all_are_damaged_it_says_so(tmp_path: Path) -> None:
    saved(tmp_path, 10, 20)
    for path in paths_of(tmp_path):
        cut(path / STATE)
    with pytest.raises(CheckpointError, match=r"all checkpoints are damaged.*recast model restore"):
        latest(tmp_path)


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert latest(tmp_path) is None
    (tmp_path / FOLDER / ".00000010.part").mkdir(parents=True)
    (tmp_path / FOLDER / "mine").mkdir()
    assert latest(tmp_path) is None


def test_a_model_of_which_only_backups_are_left_is_not_begun_anew(tmp_path: Path) -> None:
    saved(tmp_path, 10)
    (tmp_path / "backups").mkdir()
    paths_of(tmp_path)[0].rename(tmp_path / "backups" / "00000010")
    with pytest.raises(CheckpointError, match=r"no checkpoint is left.*recast model restore"):
        latest(tmp_path)
    (tmp_path / FOLDER).rmdir()  # as the message says
    assert latest(tmp_path) is None


def test_what_a_training_deletes_meanwhile_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path, 10)
    (old,) = paths_of(tmp_path)
    read = checkpoint.read_state

    def overtaken(path: Path) -> State:
        if path == old and old.exists():
            saved(tmp_path, 20)
            shutil.rmtree(old)
        return read(path)

    monkeypatch.setattr(checkpoint, "read_state", overtaken)
    progress = Recorded()
    found = latest(tmp_path, progress)
    assert found is not None and (found.state.iteration, progress.notes) == (20, [])


def test_all_comes_back_bit_by_bit(tmp_path: Path) -> None:
    folder = tmp_path / "モデル 1"
    contents = contents_of(1, critics={"gan.0": torch.randn(5)}, average={"encoder.0.weight": torch.randn(3, 4)})
    state = state_of(
        7,
        history=[{"iteration": 3, "changed": {"seed": [0, 1]}}],
        numbers={"all": {"steps": 2**40, "kind": "adam"}},
        rate=0.25,
        rollbacks=2,
        execution={"precision": "bf16"},
        pretrained=True,
        batch_size=4,
    )
    save(folder, state, contents)
    found = latest(folder)
    assert found is not None
    back = found.contents()
    for part in fields(Contents):
        assert same(getattr(back, part.name), getattr(contents, part.name)), part.name
    kept = msgspec.structs.replace(found.state, files={}, sha256="")
    assert kept == state
    assert read_state(found.path) == found.state


def test_empty_parts_have_no_file(tmp_path: Path) -> None:
    path = save(tmp_path, state_of(10), contents_of(0))
    assert {item.name for item in path.iterdir()} == {WEIGHTS, OPTIMIZER, STATE}
    found = open_checkpoint(path).contents()
    assert not found.critics and not found.average
    path = save(tmp_path, state_of(20), Contents({"weight": torch.ones(2)}))
    assert {item.name for item in path.iterdir()} == {WEIGHTS, OPTIMIZER, STATE}
    assert not open_checkpoint(path).contents().optimizer


def test_equal_models_are_saved_as_equal_files(tmp_path: Path) -> None:
    for name in ("one", "other"):
        save(tmp_path / name, state_of(5), contents_of(3))
    one, other = (
        {item.name: item.read_bytes() for item in paths_of(tmp_path / name)[0].iterdir()} for name in ("one", "other")
    )
    assert one == other


def test_saving_the_same_iteration_again_replaces_it(tmp_path: Path) -> None:
    saved(tmp_path, 10, 20)
    save(tmp_path, state_of(20, seconds=9.0), contents_of(5))
    assert [path.name for path in (tmp_path / FOLDER).iterdir() if path.name != "00000010"] == ["00000020"]
    found = latest(tmp_path)
    assert found is not None and found.state.seconds == 9.0
    assert same(found.contents().weights, contents_of(5).weights)


def save_in_format_1(folder: Path, iteration: int, contents: Contents) -> Path:
    """As the first version did: the optimizer's tensors by number, and the hash over its own fields."""
    path = folder / FOLDER / f"{iteration:08d}"
    path.mkdir(parents=True)
    save_file(dict(contents.weights), path / WEIGHTS)
    save_file({f"{row}.exp_avg": torch.randn(2) for row in range(2)}, path / OPTIMIZER)
    files = {
        name: {"size": (path / name).stat().st_size, "sha256": hashlib.sha256((path / name).read_bytes()).hexdigest()}
        for name in (WEIGHTS, OPTIMIZER)
    }
    document = {
        "architecture": "tiny-test",
        "iteration": iteration,
        "seconds": 12.25,
        "net_options": {"width": 5},
        "train_options": {"seed": 0, "match_colors": True},
        "random": {"feed": {"src": {"epoch": "AA==", "position": 3}}, "torch": "AA=="},
        "history": [],
        "numbers": {"0.step": 3},
        "files": files,
        "format": 1,
        "sha256": "",
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    document["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    (path / STATE).write_text(json.dumps(document, indent=1) + "\n")
    return path


def test_the_first_format_is_read_without_its_optimizer(tmp_path: Path) -> None:
    contents = contents_of(2)
    save_in_format_1(tmp_path, 30, contents)
    found = latest(tmp_path)
    assert found is not None and (found.state.format, found.state.iteration, found.state.seconds) == (1, 30, 12.25)
    assert (found.state.rate, found.state.numbers, found.state.pretrained) == (1.0, {}, False)
    progress = Recorded()
    back = found.contents(progress)
    assert same(back.weights, contents.weights) and not back.optimizer
    assert len(progress.notes) == 1 and "the optimizer starts anew" in progress.notes[0]


def test_a_net_of_the_first_format_is_loaded(tmp_path: Path, tiny: str, tiny_options: type[Options]) -> None:
    net = find_architecture(tiny).build(tiny_options(width=5))
    save_in_format_1(tmp_path, 30, Contents(net.state_dict()))
    assert same(load_net(tmp_path, torch.device("cpu")).net.state_dict(), net.state_dict())


@pytest.mark.parametrize("light", [True, False])
def test_the_names_in_an_h64_of_the_first_format(tmp_path: Path, light: bool) -> None:
    """The encoder's have stayed."""
    architecture = find_architecture("h64")
    with torch.device("meta"):
        now = architecture.build(architecture.options(light=light)).state_dict()
    decoder = [f"{body}.{stage}.conv" for body in ("body", "mask_body") for stage in range(3)]
    then = [name for name in now if not name.startswith("decoder_")]
    for person in ("src", "dst"):
        then += [f"decoder_{person}.{part}.{kind}" for part in (*decoder, "rgb", "mask") for kind in ("weight", "bias")]
    path = save_in_format_1(tmp_path, 5, Contents({name: torch.ones(1) for name in then}))
    replace_text(path / STATE, "tiny-test", "h64")
    document = json.loads((path / STATE).read_text())
    state = msgspec.convert(document, State)
    assert set(Checkpoint(path, state).contents().weights) == set(now)


def test_damage_in_the_first_format_is_found(tmp_path: Path) -> None:
    path = save_in_format_1(tmp_path, 30, contents_of(2))
    replace_text(path / STATE, "12.25", "12.5")
    with pytest.raises(DamagedError, match="has changed"):
        read_state(path)


def test_a_newer_format_is_no_damage(tmp_path: Path) -> None:
    saved(tmp_path, 10, 20)
    path = paths_of(tmp_path)[-1] / STATE
    values = json.loads(path.read_text())
    path.write_text(json.dumps({"format": 99, "new": values}))
    with pytest.raises(CheckpointError, match=r"format 99, newer than 2.*Update"):
        latest(tmp_path)


@pytest.mark.parametrize("part", ["weights", "optimizer", "flush"])
def test_a_full_disk_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    saved(tmp_path, 10)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    write = checkpoint.write_tensors

    def refuse(path: Path, tensors: Any = None) -> Any:
        if path.name == file_of(part) or part == "flush":
            path.open("ab").close()
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, tensors)

    monkeypatch.setattr(
        *(("recaster.files.flush_to_disk",) if part == "flush" else (checkpoint, "write_tensors")), refuse
    )
    for iteration in (20, 10):
        with pytest.raises(StorageError, match="the disk is full"):
            saved(tmp_path, iteration)
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
        assert [path.name for path in (tmp_path / FOLDER).iterdir()] == ["00000010"]
    found = latest(tmp_path)
    assert found is not None and found.state.iteration == 10


def test_a_really_full_disk(tmp_path: Path) -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only an administrator of Linux can mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        big = Contents({"weight": torch.randn(400_000)})  # 1.6 MB: one fits, two do not
        save(disk, state_of(10), big)
        for _ in range(2):
            with pytest.raises(StorageError, match="the disk is full"):
                save(disk, state_of(20), big)
        assert [path.name for path in (disk / FOLDER).iterdir()] == ["00000010"]
        prune(disk, 1, 0)
        found = latest(disk)
        assert found is not None and same(found.contents().weights, big.weights)
        shutil.rmtree(found.path)
        save(disk, state_of(20), big)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


KILLED = """
import sys, time, torch
from pathlib import Path
from recaster.train import checkpoint
from recaster.train.checkpoint import Contents, State, save

torch.set_num_threads(1)
folder, stage = Path(sys.argv[1]), sys.argv[2]
weights = {f"layer{i}.weight": torch.full((200_000,), float(i)) for i in range(10)}

def stop():
    print("now", flush=True)
    time.sleep(60)

def state(iteration):
    return State(architecture="x", iteration=iteration, seconds=0, net_options={}, train_options={}, random={})

save(folder, state(1), Contents(weights, optimizer=weights))
print("saved 1", flush=True)
if stage == "any moment":
    for iteration in range(2, 100_000):
        save(folder, state(iteration), Contents(weights, optimizer=weights))
        print("saved", iteration, flush=True)
write = checkpoint.write_tensors
def half(path, tensors):
    if path.name == f"{stage}.safetensors":
        path.write_bytes(b"half")
        stop()
    return write(path, tensors)
checkpoint.write_tensors = half
if stage == "rename":
    Path.replace = lambda self, target: stop()
save(folder, state(2), Contents(weights, optimizer=weights))
"""


def start(folder: Path, stage: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", KILLED, str(folder), stage]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def kill(process: subprocess.Popen[str]) -> list[str]:
    """Kill it without a warning; what it said since."""
    if os.name == "posix":
        process.send_signal(signal.SIGKILL)
    else:
        process.kill()
    return process.communicate()[0].splitlines()


@pytest.mark.parametrize("stage", ["weights", "optimizer", "rename"])
def test_killed_in_the_middle_of_a_save_the_one_before_is_there(tmp_path: Path, stage: str) -> None:
    process = start(tmp_path, stage)
    assert process.stdout is not None
    assert [process.stdout.readline().strip() for _ in range(2)] == ["saved 1", "now"]
    kill(process)
    assert len(list((tmp_path / FOLDER).iterdir())) == 2, "the kill came too late to be one in the middle"
    progress = Recorded()
    found = latest(tmp_path, progress)
    assert found is not None and (found.state.iteration, progress.notes) == (1, [])
    remove_leftovers(tmp_path / FOLDER)
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == ["00000001"]


def check_a_kill_at_any_moment(folder: Path, chance: random.Random) -> None:
    process = start(folder, "any moment")
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "saved 1"
    time.sleep(chance.uniform(0, 0.3))
    said = ["saved 1", *kill(process)]
    last = max(int(line.split()[1]) for line in said if line.startswith("saved "))
    found = latest(folder)
    assert found is not None and last <= found.state.iteration <= last + 1
    assert float(found.contents().weights["layer7.weight"][-1]) == 7


def test_killed_at_any_moment_the_last_save_is_there(tmp_path: Path) -> None:
    check_a_kill_at_any_moment(tmp_path, random.Random(1))


@pytest.mark.slow
def test_killed_at_many_moments_the_last_save_is_there(tmp_path: Path) -> None:
    for seed in range(10):
        check_a_kill_at_any_moment(tmp_path / str(seed), random.Random(seed))


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


def test_what_is_set_aside_is_not_lost(tmp_path: Path) -> None:
    for _ in range(3):
        saved(tmp_path, 20)
        set_aside(paths_of(tmp_path)[0])
    asides = sorted(path.name for path in (tmp_path / FOLDER).iterdir())
    assert asides == ["00000020.replaced", "00000020.replaced-2", "00000020.replaced-3"]
    saved(tmp_path, 10, 20)
    set_aside_newer(tmp_path, open_checkpoint(paths_of(tmp_path)[0]))
    assert names(tmp_path) == [10] and (tmp_path / FOLDER / "00000020.damaged").is_dir()


def test_a_net_is_loaded_from_what_the_checkpoint_says(tmp_path: Path, tiny: str, tiny_options: type[Options]) -> None:
    net = find_architecture(tiny).build(tiny_options(width=5))
    save(tmp_path, state_of(40, net_options={"width": 5}), Contents(net.state_dict()))
    before = torch.get_rng_state()
    loaded = load_net(tmp_path, torch.device("cpu"))
    assert torch.equal(torch.get_rng_state(), before)
    assert (loaded.architecture, loaded.iteration, loaded.net_options) == (tiny, 40, tiny_options(width=5))
    assert not loaded.net.training and not any(weight.requires_grad for weight in loaded.net.parameters())
    assert same(loaded.net.state_dict(), net.state_dict())


def test_the_average_is_what_is_loaded_for_the_swap(tmp_path: Path, tiny: str, tiny_options: type[Options]) -> None:
    net = find_architecture(tiny).build(tiny_options())
    average = {name: weight.detach() + 1 for name, weight in net.named_parameters()}
    save(tmp_path, state_of(40), Contents(net.state_dict(), average=average))
    assert same(load_net(tmp_path, torch.device("cpu")).net.state_dict(), {**net.state_dict(), **average})
    found = latest(tmp_path)
    assert found is not None
    found.load_weights(other := find_architecture(tiny).build(tiny_options()))
    assert same(other.state_dict(), net.state_dict()), "training goes on from the weights themselves"


def test_there_may_be_nothing_to_load(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"no trained model.*Train one"):
        load_net(tmp_path, torch.device("cpu"))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    saved(tmp_path, 10)
    found = latest(tmp_path)
    assert found is not None
    with pytest.raises(CheckpointError, match="do not fit"):
        found.load_weights(nn.Linear(2, 2))


def test_a_file_that_goes_after_the_check_is_said_in_one_line(tmp_path: Path) -> None:
    saved(tmp_path, 10)
    found = latest(tmp_path)
    assert found is not None
    shutil.rmtree(found.path)
    with pytest.raises(CheckpointError, match="cannot be read any more"):
        found.contents()
