from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from recaster.errors import CheckpointError, Interrupted, MissingError, RecasterError, StorageError, UsageError
from recaster.faces.faceset import FaceSet
from recaster.nets.architecture import architectures, find_architecture
from recaster.nets.mini import MiniOptions
from recaster.options import Options
from recaster.progress import SILENT, Progress, Recorded
from recaster.train.checkpoint import FOLDER, STATE, WEIGHTS, latest, load_net, paths_of
from recaster.train.log import LossLine, read_losses
from recaster.train.loop import TrainSummary, train
from recaster.train.options import TrainOptions

Train = Callable[..., TrainSummary]
QUIET: dict[str, Any] = {"preview_every": 0, "device": "cpu"}


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


@pytest.fixture
def training(facesets: tuple[FaceSet, FaceSet], tiny: str, tiny_options: type[Options]) -> Train:
    def run(
        folder: Path, progress: Progress = SILENT, net: dict[str, Any] | None = None, **options: Any
    ) -> TrainSummary:
        return train(
            *facesets, folder, tiny, TrainOptions(**{**QUIET, **options}), tiny_options(**(net or {})), progress
        )

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
    options = {"iterations": 30, "preview_every": 10, "preview_history": True, "save_every": 10, "match_colors": True}
    training(tmp_path / "whole", **options)
    with pytest.raises(Interrupted, match="saved at iteration 7"):
        training(tmp_path / "parts", StopAt(7, error), **options)
    assert files(tmp_path / "parts")[:3] == [
        f"checkpoints/00000007/{name}" for name in ("optimizer.safetensors", STATE, WEIGHTS)
    ]
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
    assert seen[0] == [1] and seen[2] == [2, 3]
    assert seen[9] == [4, 8, 9, 10]
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


def test_a_network_of_other_options_is_refused(tmp_path: Path, training: Train) -> None:
    training(tmp_path, iterations=3)
    with pytest.raises(CheckpointError, match="do not fit"):
        training(tmp_path, iterations=6, net={"width": 4})


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


def test_a_full_disk_stops_the_training_with_the_last_save_intact(
    tmp_path: Path, training: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    training(tmp_path, iterations=4)
    kept = weights(tmp_path)

    def refuse(tensors: Any, path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("recaster.train.checkpoint.save_file", refuse)
        with pytest.raises(StorageError, match="the disk is full"):
            training(tmp_path, iterations=8)
    assert weights(tmp_path) == kept
    assert files(tmp_path)[:3] == [f"checkpoints/00000004/{name}" for name in ("optimizer.safetensors", STATE, WEIGHTS)]
    assert training(tmp_path, iterations=8).iterations == 8


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_it(
    tmp_path: Path, training: Train, tiny: str, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    usual = type(find_architecture(tiny)).losses

    def broken(self: Any, net: Any, batch: Any, options: Any, progress: float) -> Any:
        found = usual(self, net, batch, options, progress)
        return type(found)(found.total * value, found.src, found.dst) if progress > 0.55 else found

    monkeypatch.setattr(type(architectures.get(tiny)), "losses", broken)
    with pytest.raises(RecasterError, match=r"the loss became (nan|inf) at iteration 7.*last save is kept"):
        training(tmp_path, iterations=10, save_every=2)
    found = latest(tmp_path)
    assert found is not None and found.state.iteration == 6
    assert bool(
        torch.cat([w.flatten() for w in load_net(tmp_path, torch.device("cpu")).net.parameters()]).isfinite().all()
    )


def test_weights_that_are_no_numbers_are_not_saved(
    tmp_path: Path, training: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    def poison(self: torch.optim.Adam) -> None:
        with torch.no_grad():
            self.param_groups[0]["params"][0].fill_(float("nan"))

    monkeypatch.setattr(torch.optim.Adam, "step", poison)
    with pytest.raises(RecasterError, match="a weight is not a finite number at iteration 1"):
        training(tmp_path, iterations=1)
    assert paths_of(tmp_path) == []


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried ..."),
        MemoryError(),
    ],
)
def test_memory_that_is_out_becomes_one_line(
    tmp_path: Path, training: Train, tiny: str, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(*arguments: Any) -> None:
        raise error

    monkeypatch.setattr(type(architectures.get(tiny)), "losses", full)
    with pytest.raises(RecasterError, match=r"not enough memory on cpu for 5 faces.*Lower batch_size \(now 5\)"):
        training(tmp_path, iterations=3, batch_size=5)


def test_other_faults_of_torch_are_not_called_memory(
    tmp_path: Path, training: Train, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*arguments: Any) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(type(architectures.get(tiny)), "losses", wrong)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        training(tmp_path, iterations=3)


def test_ctrl_c_waits_for_the_end_of_the_iteration(
    tmp_path: Path, training: Train, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = type(find_architecture(tiny)).losses

    def pressed(self: Any, net: Any, batch: Any, options: Any, progress: float) -> Any:
        if progress > 0.45:
            os.kill(os.getpid(), signal.SIGINT)
        return usual(self, net, batch, options, progress)

    monkeypatch.setattr(type(architectures.get(tiny)), "losses", pressed)
    with pytest.raises(Interrupted, match="saved at iteration 6"):
        training(tmp_path, iterations=10)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert len(losses(tmp_path)) == 6 and paths_of(tmp_path)[-1].name == "00000006"


def test_the_learning_rate_follows_the_architecture(
    tmp_path: Path, training: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []
    usual = torch.optim.Adam.step

    def step(self: torch.optim.Adam, closure: Any = None) -> Any:
        seen.append(self.param_groups[0]["lr"])
        return usual(self)

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    with pytest.raises(Interrupted):
        training(tmp_path, StopAt(2), iterations=4, net={"rate": 0.1})
    training(tmp_path, iterations=4, net={"rate": 0.1})
    assert seen == pytest.approx([0.1, 0.0875, 0.075, 0.0625])


def test_a_folder_s_history_is_plain_json(tmp_path: Path, training: Train) -> None:
    training(tmp_path, iterations=2)
    state = json.loads((paths_of(tmp_path)[-1] / STATE).read_text())
    assert state["iteration"] == 2 and state["net_options"] == {"width": 8, "rate": 0.001}
    assert LossLine(**json.loads((tmp_path / "loss.jsonl").read_text().splitlines()[0])).iteration == 1


def test_threads_are_set_for_the_training_only(tmp_path: Path, training: Train) -> None:
    before, seen = torch.get_num_threads(), []

    class Watch(Recorded):
        def advance(self, count: int = 1, **figures: float) -> None:
            seen.append(torch.get_num_threads())

    training(tmp_path, Watch(), iterations=1, threads=2)
    assert set(seen) == {2} and torch.get_num_threads() == before
