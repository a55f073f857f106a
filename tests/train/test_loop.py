from __future__ import annotations

import errno
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from recaster.errors import CheckpointError, Interrupted, MissingError, RecasterError, StorageError, UsageError
from recaster.faces.faceset import FaceSet
from recaster.nets.architecture import Losses, Phase, architectures
from recaster.nets.models.mini import MiniOptions
from recaster.options import Options
from recaster.progress import SILENT, Progress, Recorded
from recaster.train.backup import backups, make_backup
from recaster.train.checkpoint import FOLDER, STATE, file_of, latest, load_net, paths_of
from recaster.train.controls import Controls
from recaster.train.log import LossLine, read_losses
from recaster.train.loop import train
from recaster.train.optimizers import Optimizer
from recaster.train.options import TrainOptions
from recaster.train.summary import TrainSummary

Train = Callable[..., TrainSummary]
WEIGHTS = file_of("weights")
QUIET: dict[str, Any] = {"preview_every": 0, "device": "cpu", "deterministic": True}


class StopAt(Recorded):
    """Asks for a stop in the middle of the training."""

    def __init__(self, iterations: int, error: BaseException | None = None) -> None:
        super().__init__()
        self.left, self.error = iterations, error or Interrupted("the window was closed")

    def advance(self, count: int = 1, **figures: float) -> None:
        if self.stages[-1] == "train":
            self.left -= count
            if self.left == 0:
                raise self.error


Change = Callable[[Callable[[Losses, float], Losses]], None]


@pytest.fixture
def change_losses(tiny: str, monkeypatch: pytest.MonkeyPatch) -> Change:
    """Let a function stand between the losses of the small architecture and the training."""

    def patch(change: Callable[[Losses, float], Losses]) -> None:
        kind = type(architectures.get(tiny))
        usual = kind.phases

        def phases(self: Any, *arguments: Any, **named: Any) -> list[Phase]:
            found = usual(self, *arguments, **named)
            return [replace(p, losses=lambda batch, done, p=p: change(p.losses(batch, done), done)) for p in found]

        monkeypatch.setattr(kind, "phases", phases)

    return patch


@pytest.fixture
def training(facesets: tuple[FaceSet, FaceSet], tiny: str, tiny_options: type[Options]) -> Train:
    def run(
        folder: Path,
        progress: Progress = SILENT,
        net: dict[str, Any] | None = None,
        controls: Controls | None = None,
        **options: Any,
    ) -> TrainSummary:
        chosen = TrainOptions(**{**QUIET, **options})
        return train(*facesets, folder, tiny, chosen, tiny_options(**(net or {})), progress, controls=controls)

    return run


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def losses(folder: Path) -> list[tuple[int, float, float]]:
    return [(line.iteration, line.src, line.dst) for line in read_losses(folder)]


def weights(folder: Path) -> bytes:
    return (paths_of(folder)[-1] / WEIGHTS).read_bytes()


def test_a_training_lowers_the_loss_and_says_what_it_did(tmp_path: Path, training: Train) -> None:
    progress = Recorded()
    summary = training(tmp_path, progress, iterations=120, net={"rate": 0.01})
    lines = losses(tmp_path)
    assert [line[0] for line in lines] == list(range(1, 121))
    assert sum(line[1] for line in lines[-20:]) < 0.7 * sum(line[1] for line in lines[:20])
    assert (summary.iterations, summary.trained, summary.src_faces, summary.dst_faces) == (120, 120, 6, 6)
    assert summary.checkpoint == tmp_path / FOLDER / "00000120"
    assert 0 < summary.waiting < 1 and summary.iterations_per_second > 0
    assert summary.cache == 2 * 6 * 4 * 46**2
    assert progress.figures["src"] == pytest.approx(lines[-1][1], abs=1e-6)
    assert "120 iterations" in summary.lines()[0]
    assert summary.figures()["iterations"] == 120


def test_a_reached_target_does_nothing(tmp_path: Path, training: Train) -> None:
    training(tmp_path, iterations=8, preview_every=4)
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in files(tmp_path)}
    progress = Recorded()
    summary = training(tmp_path, progress, iterations=8, preview_every=4)
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in files(tmp_path)} == before
    assert (summary.iterations, summary.trained) == (8, 0) and progress.stages == []
    assert "Nothing to do" in summary.lines()[0]


@pytest.mark.parametrize("error", [None, KeyboardInterrupt()])
def test_a_stopped_training_goes_on_bit_by_bit(tmp_path: Path, training: Train, error: BaseException | None) -> None:
    options = {
        "iterations": 30,
        "preview_every": 10,
        "preview_history": True,
        "save_every": 10,
        "color_transfer": "match",
    }
    training(tmp_path / "whole", **options)
    with pytest.raises(Interrupted, match="saved at iteration 7"):
        training(tmp_path / "parts", StopAt(7, error), **options)
    assert [path.name for path in paths_of(tmp_path / "parts")] == ["00000000", "00000007"]
    with pytest.raises(Interrupted, match="saved at iteration 18"):
        training(tmp_path / "parts", StopAt(11), **options)
    training(tmp_path / "parts", **options)
    assert files(tmp_path / "parts") == files(tmp_path / "whole")
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    for name in files(tmp_path / "whole"):
        if name.endswith(".jpg"):
            assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_the_mini_network_goes_on_with_the_same_loss(tmp_path: Path, facesets: tuple[FaceSet, FaceSet]) -> None:
    def run(folder: Path, progress: Progress = SILENT) -> None:
        train(*facesets, folder, "mini", TrainOptions(iterations=4, batch_size=1, **QUIET), MiniOptions(), progress)

    run(tmp_path / "whole")
    with pytest.raises(Interrupted):
        run(tmp_path / "parts", StopAt(2))
    run(tmp_path / "parts")
    for whole, parts in zip(losses(tmp_path / "whole"), losses(tmp_path / "parts"), strict=True):
        assert parts == pytest.approx(whole, abs=1e-4)
    assert load_net(tmp_path / "parts", torch.device("cpu")).architecture == "mini"


def test_equal_seeds_train_equal_models(tmp_path: Path, training: Train) -> None:
    torch.manual_seed(123)
    drawn = torch.get_rng_state()
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        training(tmp_path / name, iterations=4, seed=seed)
    assert losses(tmp_path / "a") == losses(tmp_path / "b") != losses(tmp_path / "c")
    assert torch.equal(torch.get_rng_state(), drawn), "the caller's random numbers are its own"


def test_saves_come_on_time_and_the_last_stay(tmp_path: Path, training: Train) -> None:
    seen: list[list[int]] = []

    class Watch(Recorded):
        def advance(self, count: int = 1, **figures: float) -> None:
            if self.stages[-1] == "train":
                seen.append([int(path.name) for path in paths_of(tmp_path)])

    training(tmp_path, Watch(), iterations=12, save_every=4, keep=2, save_every_minutes=1e-7)
    assert seen[0] == [0] and seen[2] == [1, 2]
    assert seen[10] == [4, 8, 9, 10]
    assert [path.name for path in paths_of(tmp_path)] == ["00000008", "00000012"]


def test_previews_are_kept_on_request(tmp_path: Path, training: Train) -> None:
    training(tmp_path / "one", iterations=6, preview_every=2)
    assert [name for name in files(tmp_path / "one") if "preview" in name] == ["preview.jpg"]
    training(tmp_path / "all", iterations=6, preview_every=2, preview_history=True)
    assert [name for name in files(tmp_path / "all") if "preview/" in name] == [
        f"preview/{iteration:08d}.jpg" for iteration in (2, 4, 6)
    ]


def test_options_may_change_and_the_change_is_kept(tmp_path: Path, training: Train) -> None:
    training(tmp_path, iterations=5)
    progress = Recorded()
    training(tmp_path, progress, iterations=9, batch_size=3, random_warp=False, net={"rate": 0.002})
    assert any("batch_size 0 -> 3" in note and "rate 0.001 -> 0.002" in note for note in progress.notes)
    found = latest(tmp_path)
    assert found is not None
    assert found.state.history == [
        {
            "iteration": 5,
            "changed": {
                "batch_size": [0, 3],
                "iterations": [5, 9],
                "random_warp": [True, False],
                "rate": [0.001, 0.002],
            },
        }
    ]
    assert [line[0] for line in losses(tmp_path)] == list(range(1, 10))


def test_another_architecture_is_refused(tmp_path: Path, training: Train, facesets: tuple[FaceSet, FaceSet]) -> None:
    training(tmp_path, iterations=3)
    with pytest.raises(CheckpointError, match="a tiny-test, not a mini"):
        train(*facesets, tmp_path, "mini", TrainOptions(iterations=6, **QUIET), MiniOptions())
    with pytest.raises(UsageError, match="unknown architecture"):
        train(*facesets, tmp_path, "nothing", TrainOptions(), MiniOptions())


def test_a_damaged_checkpoint_costs_only_what_came_after_the_one_before(tmp_path: Path, training: Train) -> None:
    training(tmp_path / "whole", iterations=12, save_every=4)
    with pytest.raises(Interrupted):
        training(tmp_path / "hurt", StopAt(8), iterations=12, save_every=4)
    path = paths_of(tmp_path / "hurt")[-1] / WEIGHTS
    path.write_bytes(path.read_bytes()[:100])
    progress = Recorded()
    training(tmp_path / "hurt", progress, iterations=12, save_every=4, keep=1)
    assert any("00000008" in note and "damaged" in note for note in progress.notes)
    assert losses(tmp_path / "hurt") == losses(tmp_path / "whole")
    assert [path.name for path in paths_of(tmp_path / "hurt")] == ["00000012"]
    assert (tmp_path / "hurt" / FOLDER / "00000008.damaged").is_dir()


def test_it_stops_when_the_time_is_up_and_stays_stopped(tmp_path: Path, training: Train) -> None:
    summary = training(tmp_path, minutes=0.002)
    assert 0 < summary.iterations == len(losses(tmp_path))
    assert training(tmp_path, minutes=0.002).trained == 0
    found = latest(tmp_path)
    assert found is not None and found.state.seconds >= 0.12


def test_one_face_of_each_is_enough(tmp_path: Path, tiny: str, tiny_options: type[Options], make_faceset: Any) -> None:
    src, dst = make_faceset(tmp_path / "src", 1), make_faceset(tmp_path / "dst", 1)
    progress = Recorded()
    train(src, dst, tmp_path / "model", tiny, TrainOptions(iterations=3, device="cpu"), tiny_options(), progress)
    assert sum("only one face" in note for note in progress.notes) == 2
    assert len(losses(tmp_path / "model")) == 3


def test_no_faces_is_an_error_and_leaves_nothing(tmp_path: Path, tiny: str, tiny_options: type[Options]) -> None:
    with pytest.raises(MissingError):
        train(FaceSet(tmp_path), FaceSet(tmp_path), tmp_path / "model", tiny, TrainOptions(), tiny_options())
    assert not (tmp_path / "model").exists()


def refuse(*arguments: Any, **named: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_costs_nothing_once_there_is_room_again(
    tmp_path: Path, training: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    training(tmp_path, iterations=4)
    kept = weights(tmp_path)

    class Freed(Recorded):
        """The disk is full from the first iteration on, until the save of iteration 6 has failed."""

        def advance(self, count: int = 1, **figures: float) -> None:
            super().advance(count)
            if self.stages[-1] == "train" and self.done == 1 + 12:
                full.setattr("recaster.train.checkpoint.write_tensors", refuse)

        def note(self, text: str) -> None:
            super().note(text)
            if "the disk is full" in text:
                assert weights(tmp_path) == kept
                full.undo()

    with pytest.MonkeyPatch.context() as full:
        progress = Freed()
        summary = training(tmp_path, progress, iterations=8, save_every=2)
    said = [note for note in progress.notes if "the disk is full" in note]
    assert len(said) == 1 and "The last checkpoint stays; the next try is in 60 s" in said[0]
    assert summary.iterations == 8 and latest(tmp_path).state.iteration == 8  # type: ignore[union-attr]


def test_a_disk_that_stays_full_is_an_error_at_the_end_with_the_last_save_intact(
    tmp_path: Path, training: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    training(tmp_path, iterations=4)
    kept = weights(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("recaster.train.checkpoint.write_tensors", refuse)
        with pytest.raises(StorageError, match="the disk is full"):
            training(tmp_path, iterations=8)
    assert weights(tmp_path) == kept
    assert training(tmp_path, iterations=8).iterations == 8


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_rolls_back_three_times_and_then_stops(
    tmp_path: Path, training: Train, change_losses: Change, value: float
) -> None:
    change_losses(lambda found, done: replace(found, src=found.src * value) if done > 0.55 else found)  # type: ignore[operator]
    progress = Recorded()
    with pytest.raises(RecasterError, match=r"the loss became (nan|inf) at iteration 7, after 3 rollbacks.*is kept"):
        training(tmp_path, progress, iterations=10, save_every=2)
    back = [note for note in progress.notes if "going on from the checkpoint" in note]
    # The newest save first; when that fails again the one before it, from which a new one is made at the lower rate.
    assert [int(note.split("checkpoint of iteration ")[1].split()[0]) for note in back] == [6, 4, 6]
    assert "times 0.5 (1 of 3)" in back[0] and "times 0.125 (3 of 3)" in back[2]
    found = latest(tmp_path)
    assert found is not None
    values = torch.cat([w.flatten() for w in load_net(tmp_path, torch.device("cpu")).net.parameters()])
    assert bool(values.isfinite().all())


def test_a_training_that_recovers_goes_on_at_a_lower_rate(
    tmp_path: Path, training: Train, change_losses: Change
) -> None:
    failures = iter([True])

    def once(found: Losses, done: float) -> Losses:
        return replace(found, total=found.total * float("nan")) if done > 0.55 and next(failures, False) else found

    change_losses(once)
    progress = Recorded()
    summary = training(tmp_path, progress, iterations=12, save_every=2)
    assert (summary.iterations, summary.rollbacks) == (12, 1)
    assert "1 times" in " ".join(summary.lines())
    state = latest(tmp_path).state  # type: ignore[union-attr]
    assert (state.rate, state.rollbacks) == (0.5, 1)
    assert state.history[-1]["rate"] == 0.5 and "weight" in state.history[-1]["reason"] + "weight"
    assert [line[0] for line in losses(tmp_path)] == list(range(1, 13))


def test_a_collapse_of_the_picture_rolls_back(tmp_path: Path, training: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter([0.5, 0.8, 0.01, 0.8, 0.8, 0.8, 0.8, 0.8])
    monkeypatch.setattr("recaster.train.session.contrast", lambda *arguments: next(found))
    progress = Recorded()
    summary = training(tmp_path, progress, iterations=8, preview_every=2, save_every=2)
    assert summary.rollbacks == 1 and summary.iterations == 8
    assert any(
        "preview has become flat at iteration 4: going on from the checkpoint of iteration 2" in note
        for note in progress.notes
    )


def test_a_jump_of_the_loss_rolls_back(
    tmp_path: Path, training: Train, change_losses: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recaster.train.guard.WARM_UP", 10)
    jumped = iter([True] * 40)

    def jump(found: Losses, done: float) -> Losses:
        return replace(found, src=found.src * 30) if done > 0.7 and next(jumped, False) else found  # type: ignore[operator]

    change_losses(jump)
    progress = Recorded()
    summary = training(tmp_path, progress, iterations=60, save_every=20)
    assert summary.rollbacks >= 1 and summary.iterations == 60
    assert any("the loss rose from" in note for note in progress.notes)


def test_weights_that_are_no_numbers_are_never_saved(
    tmp_path: Path, training: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    def poison(self: Any, learning_rate: float) -> None:
        for weight in self._weights.values():
            with torch.no_grad():
                weight.fill_(float("nan"))

    monkeypatch.setattr("recaster.train.run.Optimizer.step", poison)
    with pytest.raises(RecasterError, match="after 3 rollbacks"):
        training(tmp_path, iterations=3, save_every=1)
    assert [path.name for path in paths_of(tmp_path)] == ["00000000"]


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried ..."),
    RuntimeError("could not create a primitive"),
    MemoryError(),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_memory_that_is_out_becomes_one_line(
    tmp_path: Path, training: Train, change_losses: Change, error: Exception
) -> None:
    def full(found: Losses, done: float) -> Losses:
        raise error

    change_losses(full)
    with pytest.raises(RecasterError, match=r"not enough memory on cpu for 5 faces.*--auto-batch.*recast plan"):
        training(tmp_path, iterations=3, batch_size=5)


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_with_auto_batch_it_goes_on_in_parts(
    tmp_path: Path, training: Train, tiny: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = type(architectures.get(tiny))
    usual, sizes = kind.phases, []

    def phases(self: Any, *arguments: Any, **named: Any) -> list[Phase]:
        def small_only(phase: Phase, batch: Any, done: float) -> Losses:
            if len(batch.target_src) > 2:
                raise error
            sizes.append(len(batch.target_src))
            return phase.losses(batch, done)

        found = usual(self, *arguments, **named)
        return [replace(p, losses=lambda batch, done, p=p: small_only(p, batch, done)) for p in found]

    monkeypatch.setattr(kind, "phases", phases)
    progress = Recorded()
    training(tmp_path, progress, iterations=2, batch_size=5, auto_batch=True)
    assert sizes == [2, 1, 1, 1] * 2 or sizes == [2, 2, 1] * 2
    assert [note for note in progress.notes if "memory is out with 5 faces at once" in note]
    sizes.clear()
    training(tmp_path, iterations=3, batch_size=5, auto_batch=True)
    assert max(sizes) <= 2, "what fitted is remembered"


def test_parts_of_a_batch_teach_what_the_whole_teaches(tmp_path: Path, training: Train) -> None:
    for name, parts in (("whole", 1), ("parts", 3)):
        training(tmp_path / name, iterations=5, batch_size=6, accumulate=parts, net={"dropout": 0.0})
    for whole, parts in zip(losses(tmp_path / "whole"), losses(tmp_path / "parts"), strict=True):
        assert parts == pytest.approx(whole, rel=1e-4)


def test_other_faults_of_torch_are_not_called_memory(tmp_path: Path, training: Train, change_losses: Change) -> None:
    def wrong(found: Losses, done: float) -> Losses:
        raise RuntimeError("shapes do not match")

    change_losses(wrong)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        training(tmp_path, iterations=3)


def test_ctrl_c_waits_for_the_end_of_the_iteration(tmp_path: Path, training: Train, change_losses: Change) -> None:
    def pressed(found: Losses, done: float) -> Losses:
        if done > 0.45:
            os.kill(os.getpid(), signal.SIGINT)
        return found

    change_losses(pressed)
    with pytest.raises(Interrupted, match="saved at iteration 6"):
        training(tmp_path, iterations=10)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert len(losses(tmp_path)) == 6 and paths_of(tmp_path)[-1].name == "00000006"


def test_the_learning_rate_follows_the_rule(tmp_path: Path, training: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    monkeypatch.setattr("recaster.train.run.Optimizer.step", lambda self, rate: seen.append(rate))
    with pytest.raises(Interrupted):
        training(tmp_path, StopAt(3), iterations=4, net={"rate": 0.1})
    training(tmp_path, iterations=4, net={"rate": 0.1})
    assert seen == pytest.approx([0.1, 0.1, 0.1, 0.05])
    seen.clear()
    training(tmp_path / "own", iterations=2, learning_rate=0.3)
    assert seen == pytest.approx([0.3, 0.3])


def test_a_folder_s_history_is_plain_json(tmp_path: Path, training: Train) -> None:
    training(tmp_path, iterations=2)
    state = json.loads((paths_of(tmp_path)[-1] / STATE).read_text())
    assert state["iteration"] == 2 and state["net_options"]["width"] == 8
    assert LossLine(**json.loads((tmp_path / "loss.jsonl").read_text().splitlines()[0])).iteration == 1


def test_threads_are_set_for_the_training_only(tmp_path: Path, training: Train) -> None:
    before, seen = torch.get_num_threads(), []

    class Watch(Recorded):
        def advance(self, count: int = 1, **figures: float) -> None:
            seen.append(torch.get_num_threads())

    training(tmp_path, Watch(), iterations=1, threads=2)
    assert seen[-1] == 2 and torch.get_num_threads() == before


class AskAt(Recorded):
    """Sends a request to the controls after some iterations."""

    def __init__(self, controls: Controls, requests: dict[int, Any]) -> None:
        super().__init__()
        self.controls, self.requests, self.count = controls, requests, 0
        self.pictures: list[Any] = []

    def advance(self, count: int = 1, **figures: float) -> None:
        if self.stages[-1] == "train":
            self.count += count
            if self.count in self.requests:
                self.controls.request(self.requests[self.count])

    def picture(self, name: str, image: Any) -> None:
        self.pictures.append(image)


def test_requests_from_another_thread_are_granted_between_iterations(tmp_path: Path, training: Train) -> None:
    controls = Controls()
    progress = AskAt(controls, {3: "save", 4: "backup", 5: "preview", 7: "stop"})
    with pytest.raises(Interrupted, match="saved at iteration 7"):
        training(tmp_path, progress, controls=controls, iterations=50, keep=9, preview_every=100)
    assert [path.name for path in paths_of(tmp_path)] == ["00000000", "00000003", "00000004", "00000007"]
    assert [backup.name for backup in backups(tmp_path)] == ["00000004"]
    assert len(progress.pictures) == 2
    assert (progress.pictures[0] != progress.pictures[1]).any()


def test_the_schedule_changes_options_at_its_iterations(
    tmp_path: Path, training: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []
    usual = Optimizer.step

    def step(self: Any, rate: float) -> None:
        seen.append(rate)
        usual(self, rate)

    monkeypatch.setattr("recaster.train.run.Optimizer.step", step)
    schedule = ("rate=0.01 at 3", "random_warp=false at 4", "learning_rate=0.5 at 6")
    progress = Recorded()
    training(tmp_path, progress, iterations=8, schedule=schedule, net={"rate": 0.1, "fall": 0.0})
    assert seen == pytest.approx([0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.5, 0.5])
    assert sum("schedule at iteration" in note for note in progress.notes) == 3
    assert [entry for entry in latest(tmp_path).state.history if "scheduled" in entry] == [  # type: ignore[union-attr]
        {"iteration": 3, "scheduled": {"rate": [0.1, 0.01]}},
        {"iteration": 4, "scheduled": {"random_warp": [True, False]}},
        {"iteration": 6, "scheduled": {"learning_rate": [0.0, 0.5]}},
    ]


def test_a_scheduled_training_goes_on_bit_by_bit(tmp_path: Path, training: Train) -> None:
    options = {
        "iterations": 20,
        "schedule": ("random_warp=false at 8", "ema=0.9 at 10", "random_flip=false at 15"),
        "save_every": 20,
    }
    training(tmp_path / "whole", **options)
    for stop in (5, 4, 3, 5):
        with pytest.raises(Interrupted):
            training(tmp_path / "parts", StopAt(stop), **options)
    training(tmp_path / "parts", **options)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    average = "average.safetensors"
    assert (paths_of(tmp_path / "parts")[-1] / average).read_bytes() == (
        paths_of(tmp_path / "whole")[-1] / average
    ).read_bytes()


def test_frozen_parts_do_not_learn(tmp_path: Path, training: Train) -> None:
    before = training(tmp_path / "a", iterations=1).checkpoint
    after = training(tmp_path / "a", iterations=5, freeze=("encoder", "decoder_dst")).checkpoint
    first, last = (load_file(path / WEIGHTS) for path in ((before if before.exists() else after), after))
    frozen_then = training(tmp_path / "b", iterations=1).checkpoint
    first = load_file(frozen_then / WEIGHTS)
    assert all(torch.equal(first[name], last[name]) for name in first if not name.startswith("decoder_src"))
    assert not torch.equal(first["decoder_src.up.weight"], last["decoder_src.up.weight"])
    with pytest.raises(UsageError, match="nose"):
        training(tmp_path / "c", iterations=1, freeze=("nose",))


def test_a_new_model_may_begin_with_another_s_weights(tmp_path: Path, training: Train) -> None:
    given = training(tmp_path / "teacher", iterations=3, seed=1).checkpoint
    progress = Recorded()
    training(
        tmp_path / "pupil", progress, iterations=1, seed=2, weights_from=str(tmp_path / "teacher"), learning_rate=0.0
    )
    assert any("teacher" in note for note in progress.notes)
    taught = load_file(given / WEIGHTS)
    begun = load_file(training(tmp_path / "pupil", iterations=1).checkpoint / WEIGHTS)
    difference = max(float((taught[name] - begun[name]).abs().max()) for name in taught)
    assert difference < 2e-3, "one step from where the teacher was"


def test_pretraining_ends_with_a_new_count_and_fresh_personal_parts(
    tmp_path: Path, training: Train, facesets: tuple[FaceSet, FaceSet], monkeypatch: pytest.MonkeyPatch, tiny: str
) -> None:
    crowd = str(facesets[0].folder)
    training(tmp_path, iterations=6, pretrain=crowd)
    common = load_file(paths_of(tmp_path)[-1] / WEIGHTS)
    assert latest(tmp_path).state.pretrained  # type: ignore[union-attr]
    progress = Recorded()
    summary = training(tmp_path, progress, iterations=4)
    assert (summary.iterations, summary.trained) == (4, 4)
    assert any("6 iterations of pretraining" in note for note in progress.notes)
    assert [line[0] for line in losses(tmp_path)] == [1, 2, 3, 4]
    assert latest(tmp_path / "pretrained").state.iteration == 6  # type: ignore[union-attr]
    begun = load_file(paths_of(tmp_path)[-1] / WEIGHTS)
    assert max(float((common[name] - begun[name]).abs().max()) for name in common) < 5e-3
    with pytest.raises(MissingError, match=r"nobody"):
        training(tmp_path / "x", iterations=1, pretrain=str(tmp_path / "nobody"))


@pytest.mark.parametrize("moved", [(), ("loss.jsonl",), ("loss.jsonl", "backups")])
def test_the_end_of_a_pretraining_loses_nothing_when_it_is_killed(
    tmp_path: Path, training: Train, facesets: tuple[FaceSet, FaceSet], moved: tuple[str, ...]
) -> None:
    crowd = str(facesets[0].folder)
    training(tmp_path, iterations=4, pretrain=crowd)
    make_backup(tmp_path, paths_of(tmp_path)[-1], 3)
    (tmp_path / "pretrained").mkdir()
    for name in moved:
        (tmp_path / name).rename(tmp_path / "pretrained" / name)
    assert training(tmp_path, iterations=2).trained == 2
    assert len(losses(tmp_path / "pretrained")) == 4
    assert [path.name for path in backups(tmp_path / "pretrained")] == ["00000004"]
    assert backups(tmp_path) == []


def test_another_learning_rate_forgets_what_collapses_had_lowered(
    tmp_path: Path, training: Train, change_losses: Change
) -> None:
    failures = iter([True])

    def once(found: Losses, done: float) -> Losses:
        return replace(found, total=found.total * float("nan")) if done > 0.55 and next(failures, False) else found

    change_losses(once)
    training(tmp_path, iterations=12, save_every=2)
    training(tmp_path, iterations=14)
    assert latest(tmp_path).state.rate == 0.5  # type: ignore[union-attr]
    training(tmp_path, iterations=16, learning_rate=1e-4)
    state = latest(tmp_path).state  # type: ignore[union-attr]
    assert (state.rate, state.rollbacks) == (1.0, 0)


def test_a_refused_save_is_tried_again_even_without_saves_by_time(
    tmp_path: Path, training: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recaster.train.session.RETRY_SECONDS", 0.0)
    controls = Controls()
    seen: list[str] = []

    class Freed(AskAt):
        def note(self, text: str) -> None:
            if "the disk is full" in text:
                full.undo()

        def advance(self, count: int = 1, **figures: float) -> None:
            super().advance(count)
            if self.stages[-1] == "train":
                seen.append(paths_of(tmp_path)[-1].name)
                if self.count == 2:
                    full.setattr("recaster.train.checkpoint.write_tensors", refuse)

    with pytest.MonkeyPatch.context() as full:
        training(tmp_path, Freed(controls, {3: "save"}), controls=controls, iterations=8, save_every_minutes=0)
    assert seen[:3] == ["00000000"] * 3 and seen[5] == "00000004"


def test_hooks_run_with_the_folder_and_the_iteration(tmp_path: Path, training: Train) -> None:
    script = tmp_path / "hook.py"
    script.write_text(
        "import pathlib, sys; pathlib.Path(sys.argv[1], 'hooks.txt').open('a').write(sys.argv[2] + chr(10))"
    )
    training(tmp_path / "model", iterations=5, every=2, run=f'"{sys.executable}" "{script}"')
    assert (tmp_path / "model" / "hooks.txt").read_text().split() == ["2", "4"]
    with pytest.raises(UsageError, match="no-such-program"):
        training(tmp_path / "other", iterations=1, every=1, run="no-such-program")


def test_options_that_are_chosen_once_cannot_change(tmp_path: Path, training: Train) -> None:
    training(tmp_path, iterations=2)
    with pytest.raises(UsageError, match=r"width was 8 when the model was made and cannot be 4 now.*another --name"):
        training(tmp_path, iterations=4, net={"width": 4})


def test_a_saved_model_knows_its_options(
    tmp_path: Path, facesets: tuple[FaceSet, FaceSet], tiny: str, training: Train
) -> None:
    training(tmp_path, iterations=2, net={"width": 4})
    train(*facesets, tmp_path, tiny, TrainOptions(iterations=4, **QUIET))
    assert load_net(tmp_path, torch.device("cpu")).net_options.model_dump()["width"] == 4


def test_a_limit_in_minutes_tells_how_many_iterations_to_expect(tmp_path: Path, training: Train) -> None:
    guesses: list[int] = []

    class Watch(Recorded):
        def expect(self, total: int) -> None:
            guesses.append(total)

    summary = training(tmp_path, Watch(), minutes=0.03)
    assert guesses and guesses[-1] == pytest.approx(summary.iterations, rel=0.3, abs=30)


def test_two_processes_do_not_train_one_model(tmp_path: Path, training: Train) -> None:
    class Second(Recorded):
        def advance(self, count: int = 1, **figures: float) -> None:
            if self.stages[-1] == "train" and not self.notes:
                self.notes.append("tried")
                with pytest.raises(RecasterError, match="is being trained"):
                    training(tmp_path, iterations=3)

    assert training(tmp_path, Second(), iterations=2).iterations == 2
