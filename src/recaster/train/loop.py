"""Training, from two facesets to a saved model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from recaster.errors import StorageError
from recaster.faces.faceset import FaceSet
from recaster.files import remove_leftovers
from recaster.nets.architecture import Architecture, find_architecture
from recaster.options import Options
from recaster.progress import SILENT, Progress
from recaster.train.allocator import keep_freed_memory
from recaster.train.checkpoint import BACKUPS, FOLDER, latest, prune, set_aside_newer
from recaster.train.controls import Controls
from recaster.train.guidance import advise
from recaster.train.hooks import check_hook
from recaster.train.lock import model_lock
from recaster.train.log import recent_loss
from recaster.train.options import TrainOptions
from recaster.train.parallel import World
from recaster.train.preview import PREVIEWS
from recaster.train.processes import together
from recaster.train.session import Session, reached
from recaster.train.start import find_start, load_samples, open_run
from recaster.train.summary import TrainSummary
from recaster.train.surroundings import memory_errors, own_random_numbers, threads


@dataclass(frozen=True)
class Job:
    """What is to be trained, as values that can be told to another process."""

    src: Path
    dst: Path
    folder: Path
    kind: Architecture
    options: TrainOptions
    net_options: Options | None


def train(
    src: FaceSet,
    dst: FaceSet,
    folder: Path,
    architecture: str,
    options: TrainOptions,
    net_options: Options | None = None,
    progress: Progress = SILENT,
    *,
    controls: Controls | None = None,
) -> TrainSummary:
    """Train the model in ``folder`` until the target of ``options``, from its newest sound checkpoint on.

    Returns at once when the target is reached already. Without ``net_options`` a saved model keeps its own. A stop on
    request (``controls``, ``progress`` raising Interrupted, or Ctrl-C) takes effect between two iterations: the model
    is saved, then Interrupted raised. Raises MissingError without faces, UsageError where the faces are too small for
    the model or an option cannot be what it is, CheckpointError for a saved model that does not fit, StorageError, and
    RecasterError when memory is out, another process trains the model, or it has collapsed too often; GroupError when
    one of several processes is lost.
    """
    job = Job(src.folder, dst.folder, folder, find_architecture(architecture), options, net_options)
    check_hook(options.run if options.every else "")
    with together(options.device, partial(_follow, job)) as world:
        heard = progress if world.leads else SILENT
        try:
            with model_lock(folder, write=world.leads):
                return _train(job, src, dst, heard, controls or Controls(), world)
        except StorageError:
            # Where nothing can be written nothing need be done, if all is done already.
            done = latest(folder)
            if done is None or not reached(options, done.state.iteration, done.state.seconds):
                raise
            return TrainSummary(done.state.iteration, *recent_loss(folder), done.path)


def _follow(job: Job, world: World) -> None:
    """What a process does that was started to help: the same as the leading one, on its share, and silently."""
    _train(job, FaceSet(job.src), FaceSet(job.dst), SILENT, Controls(), world)


def _train(job: Job, src: FaceSet, dst: FaceSet, progress: Progress, controls: Controls, world: World) -> TrainSummary:
    """What is left to do while no other process can change the model."""
    folder, options = job.folder, job.options
    with world.leader_first():
        if world.leads:
            for place in (folder, folder / FOLDER, folder / BACKUPS, folder / PREVIEWS):
                remove_leftovers(place)
        start = find_start(folder, job.kind, options, job.net_options, progress)
        if start.checkpoint is not None and world.leads:
            set_aside_newer(folder, start.checkpoint)
    if start.checkpoint is not None:
        state = start.checkpoint.state
        if reached(options, state.iteration, state.seconds):
            if world.leads:
                prune(folder, options.keep, options.save_every, finished=True)
            return TrainSummary(state.iteration, *recent_loss(folder), start.checkpoint.path)
    keep_freed_memory()
    with (
        threads(options.threads),
        own_random_numbers(world.device, options.seed, deterministic=options.deterministic),
        memory_errors(job.kind, start.net_options, options, world.device),
    ):
        net = job.kind.build(start.net_options)
        if start.checkpoint is None and not options.pretrain:
            mirrored = options.random_flip and options.random_flip_src
            faces = src.table(), dst.table()
            for advice in advise(*faces, framing=net.framing, resolution=net.resolution, mirrored=mirrored):
                progress.note(advice)
        samples = load_samples(src, dst, job.kind, start.net_options, options, net, world.device, progress)
        run = open_run(start, job.kind, options, samples, net, world, progress)
        return Session(run, folder, samples, progress, controls).run_to_the_end()
