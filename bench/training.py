"""What steps of training cost on a CPU, beside the plain way, and what the optimizers take of that.

    python bench/training.py [--models mini h64 sae saehd] [--seconds 40] [--threads 1] [--precision fp32] [--save]

Both ways train the same network with the same losses, each in a process of its own. Ours deals batches from the decoded
cache, computes in the precision and memory format that measure fastest (``--precision fp32`` leaves the format open
alone), and moves the weights by the model's own rule. The plain way is the classic loop in float32: two worker
processes that read, decode and warp one picture after the other with OpenCV, and torch's Adam as it is, not fused. The
two take turns of some steps each; each rests while it is the other's. Ratios are medians over pairs of turns: of CPU
time, that of the workers included, which a busy machine changes little, and of elapsed time. ``--save`` writes
bench/results/training.json.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from samples import RESULTS, cached_faces, make_files, plain_sample
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from recaster.nets.architecture import Batch, Phase, Rule, find_architecture
from recaster.nets.autoencoder import parameter_count
from recaster.train.allocator import keep_freed_memory
from recaster.train.execution import autocast, learn_only, pick_execution, prepare
from recaster.train.feed import Feed
from recaster.train.optimizers import Optimizer
from recaster.train.options import TrainOptions
from recaster.train.samples import FaceSamples

CPU = torch.device("cpu")
TRAINING = TrainOptions(device="cpu", color_transfer="none")
"""The plain way does not match colors either."""


@dataclass(frozen=True)
class Case:
    """A model, faces of each person in a batch, and steps in one turn."""

    architecture: str
    batch: int
    steps: int
    options: dict[str, Any] = field(default_factory=dict)
    precision: str = "auto"


CASES = {
    "mini": Case("mini", 4, 10),
    "h64": Case("h64", 4, 2),
    "sae": Case("sae", 2, 2, {"architecture": "df", "resolution": 128}),
    "saehd": Case("saehd", 1, 2, {"architecture": "df", "resolution": 128}),
}


@dataclass(frozen=True)
class Turn:
    """Seconds that some steps took: elapsed, of CPUs, and of those elapsed how many they waited for samples."""

    elapsed: float
    cpu: float
    waited: float


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--seconds", type=float, default=40, help="for each model; two pairs of turns at the least")
    parser.add_argument("--threads", type=int, default=1, help="of the network; waiting ones count as CPU time")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="of recaster")
    parser.add_argument("--save", action="store_true", help="write bench/results/training.json")
    arguments = parser.parse_args()
    machine = f"{platform.machine()} {platform.system()}"
    report: dict[str, Any] = {"machine": machine, "threads": arguments.threads, "steps": {}}
    print("CPU s a step  M weights  batch  recaster   plain  ratio  elapsed  waiting for samples")
    with tempfile.TemporaryDirectory() as folder:
        files = make_files(Path(folder))
        for name in arguments.models:
            case = replace(CASES[name], precision=arguments.precision)
            report["steps"][name] = row = time_steps(case, files, arguments.threads, arguments.seconds)
            cpu, waiting = row["cpu_seconds"], row["waiting"]
            print(f"{name:<13}{row['parameters'] / 1e6:>10.1f}{row['batch']:>7}{cpu['recaster']:>10.3f}", end="")
            print(f"{cpu['plain']:>8.3f}{row['ratio']:>7.2f}{row['elapsed_ratio']:>9.2f}", end="")
            print(f"  {waiting['recaster']:.1%}, plain {waiting['plain']:.1%}; {row['execution']}", flush=True)
    torch.set_num_threads(arguments.threads)
    report["optimizers"] = time_optimizers()
    if arguments.save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "training.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    return 0


def time_steps(case: Case, files: list[Path], threads: int, seconds: float) -> dict[str, Any]:
    """Both ways in turns until ``seconds`` are spent."""
    ways = {"recaster": start(Ours, case, files, threads), "plain": start(Plain, case, files, threads)}
    facts = {name: way.recv() for name, way in ways.items()}
    turns: dict[str, list[Turn]] = {name: [] for name in ways}
    began = time.perf_counter()
    while len(turns["plain"]) < 3 or time.perf_counter() - began < seconds:
        for name, way in ways.items():
            way.send(True)
            turns[name].append(way.recv())
    for way in ways.values():
        way.send(False)
    ours, plain = (times[1:] for times in turns.values())  # the first turn of all fetches memory
    return {
        "batch": case.batch,
        "turns": len(plain),
        **facts["recaster"],
        "cpu_seconds": {
            name: statistics.median(turn.cpu for turn in times[1:]) / case.steps for name, times in turns.items()
        },
        "ratio": statistics.median(b.cpu / a.cpu for a, b in zip(ours, plain, strict=True)),
        "elapsed_ratio": statistics.median(b.elapsed / a.elapsed for a, b in zip(ours, plain, strict=True)),
        "waiting": {
            name: sum(turn.waited for turn in times[1:]) / sum(turn.elapsed for turn in times[1:])
            for name, times in turns.items()
        },
    }


def start(way: type[Ours] | type[Plain], case: Case, files: list[Path], threads: int) -> Connection:
    """A process that makes one turn whenever it is told so; it begins with facts about what it trains."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    context.Process(target=serve, args=(there, way, case, files, threads)).start()
    return here


def serve(connection: Connection, way: type[Ours] | type[Plain], case: Case, files: list[Path], threads: int) -> None:
    """The work of such a process."""
    torch.set_num_threads(threads)
    one_thread()
    training = way(case, files)
    connection.send(training.facts)
    while connection.recv():
        clocks = time.perf_counter(), time.process_time()
        elsewhere, waited = training.turn()
        own = time.process_time() - clocks[1]
        connection.send(Turn(time.perf_counter() - clocks[0], own + elsewhere, waited))


class Ours:
    """Training as the product does it."""

    def __init__(self, case: Case, files: list[Path]) -> None:
        keep_freed_memory()
        self.net, self.critics, self.phases = build(case)
        architecture = find_architecture(case.architecture)
        options = architecture.options(**case.options)
        training = TRAINING.with_values(precision=case.precision)
        self.execution = pick_execution(architecture, options, training, self.net, CPU, case.batch)
        prepare(self.net.children(), self.execution)
        samples = face_samples(self.net.resolution)
        self.feed = Feed(samples, samples, TRAINING, architecture.needs(options), case.batch, CPU)
        self.optimizers = [Optimizer(phase.weights, phase.rule) for phase in self.phases]
        self.steps = case.steps
        self.facts = {"parameters": parameter_count(self.net), "execution": self.execution.line()}

    def turn(self) -> tuple[float, float]:
        """Some steps; CPU seconds of other processes, and those in which samples were waited for."""
        waited = self.feed.waited
        for step in range(self.steps):
            batch = self.feed.next(step)
            for phase, optimizer in zip(self.phases, self.optimizers, strict=True):
                learn_only((self.net, self.critics), phase.weights.values())
                optimizer.zero_grad()
                with autocast(CPU, self.execution):
                    total = phase.losses(batch, 0.0).total
                total.backward()
                optimizer.step(phase.rule.learning_rate)
        return 0.0, self.feed.waited - waited


class Plain:
    """The classic loop."""

    def __init__(self, case: Case, files: list[Path]) -> None:
        self.net, _, self.phases = build(case)
        self.loader = DataLoader(
            PlainFaces(files, self.net.resolution, case.batch * case.steps),
            case.batch,
            num_workers=2,
            persistent_workers=True,
            worker_init_fn=one_thread,
        )
        self.optimizers = [
            torch.optim.Adam(phase.weights.values(), phase.rule.learning_rate, foreach=False) for phase in self.phases
        ]
        self.facts: dict[str, Any] = {}

    def turn(self) -> tuple[float, float]:
        """Some steps; CPU seconds of other processes, and those in which samples were waited for."""
        elsewhere = waited = 0.0
        began = time.perf_counter()
        for *streams, seconds in self.loader:
            elsewhere += float(seconds.sum())
            waited += time.perf_counter() - began
            batch = Batch(*streams)
            for phase, optimizer in zip(self.phases, self.optimizers, strict=True):
                optimizer.zero_grad()
                phase.losses(batch, 0.0).total.backward()
                optimizer.step()
            began = time.perf_counter()
        return elsewhere, waited


class PlainFaces(Dataset[list[Tensor]]):
    """One sample of each person at a time: warped picture, target and mask, and the CPU seconds that they took."""

    def __init__(self, files: list[Path], resolution: int, length: int) -> None:
        self.files, self.resolution, self.length = files, resolution, length
        self.generator = np.random.default_rng(0)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> list[Tensor]:
        began = time.process_time()
        paths = [self.files[row] for row in self.generator.integers(0, len(self.files), 2)]
        pictures = [picture for path in paths for picture in plain_sample(path, self.resolution, self.generator)[:3]]
        tensors = [torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1))) for picture in pictures]
        return [*tensors, torch.tensor(time.process_time() - began)]


def one_thread(worker: int = 0) -> None:
    """For OpenCV."""
    cv2.setNumThreads(1)


def build(case: Case) -> tuple[Any, nn.ModuleDict, list[Phase]]:
    """The network, its critics and the phases of a step."""
    torch.manual_seed(0)
    architecture = find_architecture(case.architecture)
    options = architecture.options(**case.options)
    net = architecture.build(options).train()
    critics = architecture.critics(options, net)
    return net, critics, list(architecture.phases(net, critics, options, random_warp=True))


def face_samples(resolution: int) -> FaceSamples:
    """The decoded cache as a faceset."""
    pictures = cached_faces(resolution)
    ones = np.ones(len(pictures), np.float32)
    return FaceSamples(pictures, torch.ones(len(pictures)), 0 * ones, ones, resolution, CPU)


def time_optimizers(rounds: int = 7) -> dict[str, float]:
    """CPU milliseconds of one step over all weights of SAEHD, in turns."""
    keep_freed_memory()
    net, _, _ = build(CASES["saehd"])
    weights = dict(net.named_parameters())
    for weight in weights.values():
        weight.grad = torch.randn_like(weight)
    belief = Rule("adabelief", betas=(0.9, 0.999), eps=1e-6)
    loop, fused = (torch.optim.Adam(weights.values(), 1e-9, foreach=False, fused=fused) for fused in (False, True))
    ours = {
        "adam": Rule("adam"),
        "adabelief": belief,
        "rmsprop": Rule("rmsprop", betas=(0.0, 0.9), eps=1e-6),
        "adabelief, clipped": replace(belief, clip=1.0),
        "adabelief, learning-rate dropout": replace(belief, keep=0.3),
    }
    steps: dict[str, Callable[[], object]] = {"torch's Adam": loop.step, "torch's Adam, fused": fused.step}
    for name, rule in ours.items():
        steps[name] = partial(Optimizer(weights, rule).step, 1e-9)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 1):
        for name, step in steps.items():
            began = time.process_time()
            step()
            times[name].append(time.process_time() - began)
    print(f"\noptimizers, CPU ms a step over {parameter_count(net) / 1e6:.1f} M weights")
    medians = {name: 1e3 * statistics.median(values[1:]) for name, values in times.items()}
    for name, value in medians.items():
        print(f"{name:<36}{value:>8.1f}")
    return medians


if __name__ == "__main__":
    sys.exit(main())
