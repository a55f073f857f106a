"""Several processes train as one does, and end together. Run as a script, this file is a program that trains so."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from torch import Tensor, nn

from recaster.errors import Interrupted, RecasterError, UsageError
from recaster.faces.faceset import FaceSet
from recaster.media.pictures import write_picture
from recaster.nets.architecture import Batch, Losses, Phase, Rule, SampleNeeds, architectures, weights_of
from recaster.nets.autoencoder import FaceNet, TwoDecoderNet
from recaster.options import Options, option
from recaster.progress import Recorded
from recaster.project.workspace import create_workspace
from recaster.train import processes
from recaster.train.checkpoint import latest
from recaster.train.log import read_losses
from recaster.train.loop import train
from recaster.train.options import TrainOptions
from recaster.train.parallel import ALONE, GroupError, Link, World
from recaster.train.processes import leading, together
from recaster.types import Framing

FaceSets = tuple[FaceSet, FaceSet]

EXACT = "exact-test"
BATCH = 5
"""Two processes share it unevenly."""


class ExactOptions(Options):
    fail: bool = option(False, "Whether the processes that follow fail in the first iteration.")
    slow: float = option(0.0, "Seconds that an iteration takes at least.")
    dropout: float = option(0.0, "Share of values that are dropped.")


class Exact:
    """32 px in float64, so that what differs is no rounding; two phases, the second by a rule with random numbers."""

    name = EXACT
    options = ExactOptions
    default_batch_size = BATCH
    usual_iterations = 10

    def needs(self, options: ExactOptions) -> SampleNeeds:
        return SampleNeeds()

    def pretraining(self, options: ExactOptions) -> ExactOptions:
        return options

    def build(self, options: ExactOptions) -> FaceNet:
        encoder = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.LeakyReLU(0.1), nn.Dropout(options.dropout))
        return TwoDecoderNet(32, Framing.FULL, encoder, _Decoder(), _Decoder()).double()

    def critics(self, options: ExactOptions, net: FaceNet) -> nn.ModuleDict:
        return nn.ModuleDict({"color": nn.Linear(3, 1).double()})

    def phases(
        self, net: FaceNet, critics: nn.ModuleDict, options: ExactOptions, *, random_warp: bool
    ) -> tuple[Phase, ...]:
        rule = Rule("adam", 1e-3, eps=1e-8, clip=0.5, fall=0.5)
        dropped = Rule("adabelief", 1e-2, keep=0.3)
        return (
            Phase("net", weights_of(net), rule, lambda batch, progress: _losses(net, batch, options)),
            Phase("critics", weights_of(critics), dropped, lambda batch, progress: _critic_losses(critics, batch)),
        )


class _Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(8, 4, 4, stride=4)

    def forward(self, code: Tensor) -> tuple[Tensor, Tensor]:
        out = torch.sigmoid(self.up(code))
        return out[:, :3], out[:, 3:]


def _losses(net: FaceNet, batch: Batch, options: ExactOptions) -> Losses:
    if options.fail and parent_process() is not None:
        raise UsageError("the follower's own mistake")
    time.sleep(options.slow)
    out = net.reconstruct(batch.warped_src.double(), batch.warped_dst.double())
    src, dst = (out.src_rgb - batch.target_src).abs().mean(), (out.dst_rgb - batch.target_dst).square().mean()
    return Losses(src + dst, src.detach(), dst.detach())


def _critic_losses(critics: nn.ModuleDict, batch: Batch) -> Losses:
    judged = critics["color"](batch.target_src.double().mean((2, 3)))
    return Losses((judged - 1).square().mean())


class Disturbed(Recorded):
    """Does something to the training at one iteration."""

    def __init__(self, at: int, what: str) -> None:
        super().__init__()
        self._left, self._what = at, what

    def advance(self, count: int = 1, **figures: float) -> None:
        self._left -= "src" in figures
        if self._left or "src" not in figures:
            return
        if self._what == "kill":
            active_children()[0].kill()
        elif self._what == "stop":
            raise Interrupted("enough")
        elif self._what == "fail":
            raise ValueError("the leader's own mistake")


def train_once(
    src: str, dst: str, folder: str, what: str, at: int, options: dict[str, Any], net: dict[str, Any]
) -> None:
    """One training; says in a line of JSON how it ended."""
    torch.set_num_threads(1)
    progress = Disturbed(at, what)
    way = {"precision": "fp32", "memory_format": "contiguous", "compile": "off"}
    chosen = TrainOptions(**{"seed": 7, "preview_every": 0, **way, **options})
    error = ""
    try:
        train(FaceSet(Path(src)), FaceSet(Path(dst)), Path(folder), EXACT, chosen, ExactOptions(**net), progress)
    except (RecasterError, ValueError) as caught:
        error = f"{type(caught).__name__}: {caught}"
    print(json.dumps({"error": error, "children": len(active_children())}), flush=True)


def talk() -> None:
    """What each process of a torchrun does in the test of the world itself; the leading one says what came of it."""
    torch.set_num_threads(1)
    with together("cpu", print) as world:
        weights = [
            torch.zeros(3),
            torch.zeros(2, 4, 5, 5).to(memory_format=torch.channels_last),
            torch.zeros(7).double(),
        ]
        for weight in weights:
            weight.grad = torch.full_like(weight, float(world.rank + 1))
        left_out = torch.zeros(2)
        world.sum_gradients([weights[0], left_out, *weights[1:]])
        drawn = torch.randn(4)
        world.reseed(3, 5)
        own = torch.rand(1).item()
        world.align([drawn, weights[1].fill_(world.rank)])
        order = Path(sys.argv[2])
        with world.leader_first():
            seen = order.exists()
            order.touch()
        found = {
            "part": world.part,
            "leads": world.leads == leading(),
            "sums": [float(weight.grad.mean()) for weight in weights if weight.grad is not None],
            "total": world.total(torch.tensor([world.rank, 0.5])).tolist(),
            "agreed": world.agree(world.rank + 0.25, 2**52 + world.rank),
            "same": world.same(lambda: {"rank": world.rank}),
            "aligned": [drawn.tolist(), float(weights[1].mean())],
            "own": own,
            "seen": seen,
        }
        order.with_name(f"{world.rank}.json").write_text(json.dumps(found), encoding="utf-8")


class Program:
    """This file, run as a program."""

    def __init__(self, facesets: FaceSets, place: Path) -> None:
        self._words = [str(faces.folder) for faces in facesets]
        self.place = place

    def start(self, *runs: Mapping[str, Any]) -> subprocess.Popen[str]:
        """Train several times, one after the other; each run names its folder, and what is not as usual."""
        jobs = [
            [
                *self._words,
                str(self.place / run["folder"]),
                run.get("what", ""),
                run.get("at", 0),
                {"iterations": 30, "device": "cpu,cpu", **run.get("options", {})},
                run.get("net", {}),
            ]
            for run in runs
        ]
        words = [sys.executable, __file__, json.dumps(jobs)]
        return subprocess.Popen(
            words, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def run(self, *runs: Mapping[str, Any]) -> list[str]:
        """The errors of each run; nothing else may be said, and no process may be left."""
        process = self.start(*runs)
        out, said = process.communicate(timeout=100)
        assert process.returncode == 0, said
        ends = [json.loads(line) for line in out.splitlines()]
        assert said == "" and [end["children"] for end in ends] == [0] * len(runs)
        return [end["error"] for end in ends]

    def losses(self, folder: str) -> list[tuple[int, float, float]]:
        return [(line.iteration, line.src, line.dst) for line in read_losses(self.place / folder)]

    def same(self, one: str, other: str, iterations: int = 30) -> bool:
        """Whether two trainings had the same losses and ended with the same weights and moments, but for rounding."""
        curves = [torch.tensor(self.losses(folder), dtype=torch.float64) for folder in (one, other)]
        assert curves[0][:, 0].tolist() == list(range(1, iterations + 1))
        ends = [self._end(folder) for folder in (one, other)]
        assert ends[0].keys() == ends[1].keys()
        return torch.allclose(*curves, rtol=1e-6, atol=0) and all(
            torch.allclose(value, ends[1][name], rtol=1e-7, atol=1e-12) for name, value in ends[0].items()
        )

    def _end(self, folder: str) -> dict[str, Tensor]:
        checkpoint = latest(self.place / folder)
        assert checkpoint is not None
        contents = checkpoint.contents()
        return {**contents.weights, **contents.critics, **contents.optimizer}


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
ONE = {"device": "cpu"}


@pytest.fixture
def program(facesets: FaceSets, tmp_path: Path) -> Program:
    return Program(facesets, tmp_path)


def test_two_processes_learn_what_one_does(program: Program) -> None:
    errors = program.run({"folder": "one", "options": ONE}, {"folder": "two"})
    assert errors == ["", ""]
    assert program.same("one", "two")
    assert program.losses("one")[-1][1] < 0.95 * program.losses("one")[0][1]


def test_three_processes_of_torchrun_speak_with_each_other(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "3"]
    done = subprocess.run(
        [*words, __file__, "talk", str(tmp_path / "order")],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(3)]
    assert [each.pop("part") for each in found] == [[0, 3], [1, 3], [2, 3]]
    assert [each.pop("seen") for each in found] == [False, True, True]
    assert len({each.pop("own") for each in found}) == 3
    assert found[1:] == found[:1] * 2
    drawn, filled = found[0].pop("aligned")
    assert len(drawn) == 4 and filled == 0
    assert found[0] == {
        "leads": True,
        "sums": [6, 6, 6],
        "total": [3, 1.5],
        "agreed": [0.25, 2**52],
        "same": {"rank": 0},
    }


def test_one_process_needs_nobody() -> None:
    weight = torch.zeros(2)
    weight.grad = torch.ones(2)
    ALONE.sum_gradients([weight])
    ALONE.align([weight])
    ALONE.check()
    torch.manual_seed(1)
    ALONE.reseed(0, 0)
    assert torch.initial_seed() == 1
    with ALONE.leader_first():
        assert weight.grad.tolist() == ALONE.total(weight.grad).tolist() == [1, 1]
    assert (ALONE.agree(3, 0.5), ALONE.same(lambda: "alone"), ALONE.part) == ((3, 0.5), "alone", (0, 1))
    with together("cpu", pytest.fail) as world:
        assert world == ALONE and leading()


def test_a_process_that_finds_no_others_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(taken.getsockname()[1])}
        for name, value in {**where, "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(processes, "JOIN", timedelta(seconds=1))
        assert not leading()
        with pytest.raises(GroupError, match="found no others"), together("cpu", pytest.fail):
            pass


def test_a_list_of_devices_needs_one_for_each_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "2", "LOCAL_RANK": "2", "WORLD_SIZE": "3"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="too few"), together("cpu,cpu", pytest.fail):
        pass


def test_nobody_waits_on_an_accelerator_for_a_process_that_is_dead() -> None:
    process = get_context("spawn").Process(target=os._exit, args=(3,), name="process 1 (cuda:1)")
    process.start()
    link = Link(torch.distributed.HashStore(), [process])
    processes._watch(link)
    with pytest.raises(GroupError, match=r"process 1 \(cuda:1\) ended with code 3"):
        World(0, 2, link=link).agree(1)


def test_what_cannot_be_told_to_another_process_is_said() -> None:
    with pytest.raises(GroupError, match="cannot be told to another process"), together("cpu,cpu", lambda world: None):
        pass
    assert not active_children()


@pytest.mark.slow
def test_the_number_of_processes_may_change_from_session_to_session(program: Program) -> None:
    limit = {"folder": "some", "at": 10, "what": "stop"}
    errors = program.run({"folder": "one", "options": ONE}, limit, {**limit, "options": ONE}, {"folder": "some"})
    assert [error.split(":")[0] for error in errors] == ["", "Interrupted", "Interrupted", ""]
    assert program.same("one", "some")


@pytest.mark.slow
def test_what_each_process_draws_for_itself_goes_on_after_a_stop(program: Program) -> None:
    net = {"net": {"dropout": 0.2}}
    program.run({"folder": "whole", **net}, {"folder": "cut", "at": 7, "what": "stop", **net}, {"folder": "cut", **net})
    assert program.same("whole", "cut")


@pytest.mark.slow
def test_a_dead_process_ends_the_training_with_the_model_saved(program: Program) -> None:
    began = time.monotonic()
    errors = program.run({"folder": "m", "at": 12, "what": "kill"}, {"folder": "m"}, {"folder": "one", "options": ONE})
    assert time.monotonic() - began < 60
    assert errors[0].startswith("GroupError: the training has lost a process: process 1 (cpu) was ended by SIGKILL.")
    assert errors[1:] == ["", ""]
    assert program.losses("m")[:12] == program.losses("one")[:12]
    assert [line[0] for line in program.losses("m")] == list(range(1, 31))


@pytest.mark.slow
def test_the_leader_tells_what_went_wrong_elsewhere(program: Program) -> None:
    errors = program.run({"folder": "m", "net": {"fail": True}}, {"folder": "n", "at": 3, "what": "fail"})
    assert errors[0].startswith(
        "GroupError: the training has lost a process: process 1 (cpu): the follower's own mistake."
    )
    assert errors[1] == "ValueError: the leader's own mistake"


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def followers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes that train with it; multiprocessing's tracker of resources is none."""
    return [each for each in psutil.Process(process.pid).children() if "spawn_main" in " ".join(each.cmdline())]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals to groups of processes")
def test_ctrl_c_in_a_terminal_saves_and_ends_all(program: Program) -> None:
    process = program.start({"folder": "m", "net": {"slow": 0.1}})
    wait_for(lambda: len(program.losses("m")) > 2)
    others = followers(process)
    os.killpg(process.pid, signal.SIGINT)
    out, said = process.communicate(timeout=30)
    assert json.loads(out)["error"].startswith("Interrupted: training stopped and saved at iteration")
    assert said == "" and len(others) == 1 and not others[0].is_running()
    checkpoint = latest(program.place / "m")
    assert checkpoint is not None and checkpoint.state.iteration == program.losses("m")[-1][0]


@pytest.mark.slow
def test_followers_do_not_outlive_their_leader(program: Program) -> None:
    process = program.start({"folder": "m", "net": {"slow": 0.1}})
    wait_for(lambda: len(program.losses("m")) > 2)
    others = followers(process)
    process.kill()
    process.communicate()
    assert len(others) == 1
    _, alive = psutil.wait_procs(others, timeout=5)
    assert not alive
    assert latest(program.place / "m") is not None


@pytest.mark.slow
def test_the_command_line_speaks_with_one_voice(facesets: FaceSets, tmp_path: Path, own_settings: Path) -> None:
    clips = [tmp_path / side for side in ("src", "dst")]
    for clip in clips:
        write_picture(clip / "00001.jpg", np.full((32, 32, 3), 90, np.uint8))
    workspace = create_workspace(tmp_path / "film", *clips)
    for side, faces in zip(("src", "dst"), facesets, strict=True):
        shutil.copytree(faces.folder, workspace.folder / f"data_{side}" / "aligned", dirs_exist_ok=True)
    words = ["-m", "recaster", "train", str(workspace.folder), "--model", "mini", "--batch-size", "3", "--precision"]
    words += ["fp32", "--memory-format", "contiguous", "--json", "--iterations"]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for call in ([*torchrun, *words, "4", "--device", "cpu"], [*words, "6", "--device", "cpu,cpu"]):
        done = subprocess.run([sys.executable, *call], env=ENVIRONMENT, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["iterations"] in {4, 6}
        assert done.stderr.count("likeness of the src person") == 1
    assert [line.iteration for line in read_losses(workspace.model("mini"))] == [1, 2, 3, 4, 5, 6]
    failed = subprocess.run(
        [sys.executable, *torchrun, *words, "8", "--freeze", "nose"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert failed.returncode != 0 and failed.stderr.count("recast: ") == 1


if __name__ in {"__main__", "__mp_main__"} and EXACT not in architectures:
    architectures.add(EXACT)(Exact())
if __name__ == "__main__":
    if sys.argv[1] == "talk":
        talk()
    for each in json.loads(sys.argv[1]) if sys.argv[1] != "talk" else ():
        train_once(*each)
    sys.exit(0)
