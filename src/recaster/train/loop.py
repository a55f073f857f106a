"""The training loop: it goes on where it was, saves on time, and leaves the same files however often it was stopped."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from recaster.device import choose_device
from recaster.errors import Interrupted, RecasterError
from recaster.faces.faceset import FaceSet
from recaster.files import remove_leftovers
from recaster.media.pictures import write_picture
from recaster.nets.architecture import find_architecture
from recaster.options import Options
from recaster.progress import SILENT, Progress
from recaster.train.checkpoint import FOLDER, latest, paths_of, prune, set_aside_newer
from recaster.train.feed import Feed
from recaster.train.log import LossLog, recent_loss
from recaster.train.options import TrainOptions
from recaster.train.preview import preview_faces, render_preview
from recaster.train.run import Run, check_architecture, open_run
from recaster.train.samples import FaceSamples

PREVIEW = "preview.jpg"
PREVIEWS = "preview"


@dataclass(frozen=True)
class TrainSummary:
    """What a session of training came to.

    ``iterations`` counts all sessions, ``trained`` this one, which took ``seconds``, the share ``waiting`` of them for
    batches. The losses are means over the last iterations. ``cache`` is what the faces took on the device, bytes.
    """

    iterations: int
    loss_src: float
    loss_dst: float
    checkpoint: Path
    trained: int = 0
    seconds: float = 0.0
    waiting: float = 0.0
    src_faces: int = 0
    dst_faces: int = 0
    cache: int = 0

    @property
    def iterations_per_second(self) -> float:
        """Speed of this session, previews and saves included."""
        return self.trained / self.seconds if self.seconds else 0.0

    def figures(self) -> dict[str, Any]:
        """All numbers by name."""
        return {**asdict(self), "iterations_per_second": self.iterations_per_second}

    def lines(self) -> list[str]:
        """The same for people."""
        if not self.trained:
            return [f"Nothing to do: the model has been trained as far as asked ({self.iterations} iterations)."]
        return [
            f"{self.iterations} iterations, {self.trained} of them now ({self.iterations_per_second:.2f}/s)",
            f"loss: src {self.loss_src:.4f}, dst {self.loss_dst:.4f}",
            f"faces: src {self.src_faces}, dst {self.dst_faces} ({self.cache / 1e6:.0f} MB)",
            f"saved: {self.checkpoint}",
        ]


def train(
    src: FaceSet,
    dst: FaceSet,
    folder: Path,
    architecture: str,
    options: TrainOptions,
    net_options: Options,
    progress: Progress = SILENT,
) -> TrainSummary:
    """Train the model in ``folder`` until the target of ``options``, from its newest sound checkpoint on.

    Returns at once when the target is reached already. A stop on request (``progress`` raising Interrupted, or Ctrl-C)
    takes effect between two iterations: the model is saved, then Interrupted raised. Raises MissingError without
    faces, UsageError where the faces are too small for the model, CheckpointError for a saved model that does not fit,
    StorageError, and RecasterError when memory is out or the loss is no number any more.
    """
    kind = find_architecture(architecture)
    for place in (folder, folder / FOLDER, folder / PREVIEWS):
        remove_leftovers(place)
    checkpoint = latest(folder, progress)
    if checkpoint is not None:
        check_architecture(checkpoint, kind)
        set_aside_newer(folder, checkpoint)
        if _reached(options, checkpoint.state.iteration, checkpoint.state.seconds):
            prune(folder, options.keep, options.save_every, finished=True)
            return TrainSummary(checkpoint.state.iteration, *recent_loss(folder), checkpoint.path)
    device = choose_device(options.device)
    batch_size = options.batch_size or kind.default_batch_size
    with _threads(options.threads), _own_random_numbers(device, options.seed), _memory_errors(device, batch_size):
        net = kind.build(net_options)
        frame = net.framing, net.resolution, device
        src_samples = FaceSamples.load(src, *frame, leave_out=True, title="load source", progress=progress)
        dst_samples = FaceSamples.load(dst, *frame, title="load target", progress=progress)
        feed = Feed(src_samples.for_target(dst_samples), dst_samples, options, batch_size)
        run = open_run(kind, net_options, options, device, feed, net)
        if checkpoint is not None:
            run.resume(checkpoint, progress)
        return _session(run, folder, src_samples, dst_samples, progress)


def _session(run: Run, folder: Path, src: FaceSamples, dst: FaceSamples, progress: Progress) -> TrainSummary:
    options, first, began = run.options, run.iteration, time.monotonic()
    faces = preview_faces(src), preview_faces(dst)
    log = LossLog(folder, first)
    saved, save_time = first, began

    def save() -> None:
        nonlocal saved, save_time
        if run.iteration > saved:
            log.sync()
            run.save(folder)
            saved = run.iteration
            prune(folder, options.keep, options.save_every)
        save_time = time.monotonic()

    try:
        with progress.stage("train", options.iterations or None, "iterations", done=first), _stop_request() as check:
            try:
                while not _reached(options, run.iteration, run.seconds):
                    line = run.step()
                    log.add(line)
                    if run.iteration == first + 1 or _due(options.preview_every, run.iteration):
                        _preview(run, faces, folder)
                    late = 0 < 60 * options.save_every_minutes <= time.monotonic() - save_time
                    if late or _due(options.save_every, run.iteration):
                        save()
                    progress.advance(src=line.src, dst=line.dst)
                    check()
            except (Interrupted, KeyboardInterrupt) as error:
                save()
                raise Interrupted(f"training stopped and saved at iteration {run.iteration}") from error
            _preview(run, faces, folder)
            save()
        prune(folder, options.keep, options.save_every, finished=True)
    finally:
        log.close()
    spent = time.monotonic() - began
    loss_src, loss_dst = recent_loss(folder)
    return TrainSummary(
        iterations=run.iteration,
        loss_src=loss_src,
        loss_dst=loss_dst,
        checkpoint=paths_of(folder)[-1],
        trained=run.iteration - first,
        seconds=spent,
        waiting=run.waited / spent,
        src_faces=len(src),
        dst_faces=len(dst),
        cache=src.memory + dst.memory,
    )


def _reached(options: TrainOptions, iteration: int, seconds: float) -> bool:
    enough = 0 < options.iterations <= iteration
    return enough or 0 < 60 * options.minutes <= seconds


def _due(every: int, iteration: int) -> bool:
    return every > 0 and iteration % every == 0


def _preview(run: Run, faces: tuple[torch.Tensor, torch.Tensor], folder: Path) -> None:
    if not run.options.preview_every:
        return
    picture = render_preview(run.net, *faces, run.iteration)
    write_picture(folder / PREVIEW, picture)
    if run.options.preview_history and _due(run.options.preview_every, run.iteration):
        write_picture(folder / PREVIEWS / f"{run.iteration:08d}.jpg", picture)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _own_random_numbers(device: torch.device, seed: int) -> Iterator[None]:
    """Networks draw from torch's global generators: seed them here, and give them back to the caller as they were."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextmanager
def _stop_request() -> Iterator[Callable[[], None]]:
    """Ctrl-C inside the block waits for the yielded check: in the middle of a step it would leave half a step.

    Nothing changes where the program handles Ctrl-C by itself.
    """
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        asked.set()

    def check() -> None:
        if asked.is_set():
            raise KeyboardInterrupt

    usual = threading.current_thread() is threading.main_thread() and (
        signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if usual:
        signal.signal(signal.SIGINT, ask)
    try:
        yield check
    finally:
        if usual:
            signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def _memory_errors(device: torch.device, batch_size: int) -> Iterator[None]:
    """Turn every way in which torch says that memory is out into one line."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        words = ("out of memory", "can't allocate memory", "not enough memory")
        if not isinstance(error, MemoryError) and not any(word in str(error).lower() for word in words):
            raise
        raise RecasterError(
            f"there is not enough memory on {device} for {batch_size} faces of each person at once",
            mend=f"Lower batch_size (now {batch_size}), take a smaller or lighter model, or use fewer faces.",
        ) from error
