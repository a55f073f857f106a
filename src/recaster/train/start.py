"""How a session of training begins: from nothing, from its newest checkpoint, or from what was pretrained."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from recaster.errors import CheckpointError, UsageError
from recaster.faces.faceset import FaceSet
from recaster.files import flush_to_disk, storage_errors
from recaster.nets.architecture import Architecture
from recaster.options import Options, from_mapping, is_fixed
from recaster.progress import Progress
from recaster.train.checkpoint import BACKUPS, FOLDER, STATE, Checkpoint, State, latest
from recaster.train.execution import pick_execution
from recaster.train.feed import Feed
from recaster.train.log import NAME as LOSSES
from recaster.train.options import TrainOptions
from recaster.train.parallel import World
from recaster.train.run import Run
from recaster.train.samples import FaceSamples
from recaster.train.schedule import options_at, parse_schedule
from recaster.train.surgery import take_weights

if TYPE_CHECKING:
    from recaster.nets.autoencoder import FaceNet

PRETRAINED = "pretrained"
"""Folder inside a model's own that keeps what was there before its pretraining ended."""


@dataclass(frozen=True)
class Start:
    """Where a session begins: at ``checkpoint``, or at iteration 0 with the weights of ``basis`` where there is one."""

    checkpoint: Checkpoint | None
    basis: Checkpoint | None
    net_options: Options


def find_start(
    folder: Path, architecture: Architecture, options: TrainOptions, net_options: Options | None, progress: Progress
) -> Start:
    """What lies in a model's folder; without ``net_options`` they are those of the saved model.

    Raises CheckpointError for another architecture, UsageError where an option has changed that is chosen only once.
    """
    checkpoint = latest(folder, progress)
    if checkpoint is not None and checkpoint.state.pretrained and not options.pretrain:
        _end_pretraining(folder)
        checkpoint = None
    basis = latest(folder / PRETRAINED, progress) if checkpoint is None and not options.pretrain else None
    saved = checkpoint or basis
    if saved is None:
        return Start(None, None, net_options or architecture.options())
    if saved.state.architecture != architecture.name:
        raise CheckpointError(
            f"the saved model is a {saved.state.architecture}, not a {architecture.name}",
            where=saved.path,
            mend="Train under another --name, or choose that model.",
        )
    chosen = net_options or from_mapping(architecture.options, saved.state.net_options, where=saved.path / STATE)
    check_unchanged(architecture, saved.state, chosen, folder)
    return Start(checkpoint, basis, chosen)


def check_unchanged(architecture: Architecture, state: State, chosen: Options, folder: Path) -> None:
    """Raise UsageError where an option of the saved model differs from the one ``chosen`` that is chosen only once."""
    was = from_mapping(architecture.options, state.net_options, where=folder)
    for name, field in architecture.options.model_fields.items():
        old, new = getattr(was, name), getattr(chosen, name)
        if is_fixed(field) and old != new:
            raise UsageError(
                f"{name} was {old} when the model was made and cannot be {new} now",
                where=folder,
                mend="Leave it as it was, or train a new model under another --name.",
            )


def _end_pretraining(folder: Path) -> None:
    """Put the pretrained saves and their losses aside; from then on a session begins with their weights."""
    place = folder / PRETRAINED
    with storage_errors(place):
        place.mkdir(parents=True, exist_ok=True)
        # The checkpoints last: as long as they are here, this has not happened yet. What an interrupted move has
        # brought there already stays; only what comes takes the place of an earlier pretraining.
        for name in (LOSSES, BACKUPS, FOLDER):
            if (folder / name).exists():
                if (place / name).is_dir():
                    shutil.rmtree(place / name)
                (folder / name).replace(place / name)
        flush_to_disk(place)
        flush_to_disk(folder)


def open_run(
    start: Start,
    architecture: Architecture,
    options: TrainOptions,
    samples: tuple[FaceSamples, FaceSamples],
    net: FaceNet,
    world: World,
    progress: Progress,
) -> Run:
    """A run that is ready for its next step; ``net`` has fresh weights."""
    batch_size = options.batch_size or architecture.default_batch_size
    device, own_size = world.device, -(-batch_size // world.size)
    src, dst = samples

    def make_feed(now: TrainOptions, net_now: Any) -> Feed:
        return Feed(src, dst, now, architecture.needs(net_now), batch_size, device, world.part)

    if start.checkpoint is None:
        _begin(start, net, options, progress)
    _rehearse(architecture, options, start.net_options, net)
    remembered = start.checkpoint.state.execution if start.checkpoint is not None else None
    execution = world.same(
        lambda: pick_execution(
            architecture,
            start.net_options,
            options,
            net,
            device,
            own_size,
            remembered=remembered,
            progress=progress,
        )
    )
    run = Run(
        architecture=architecture,
        net_options=start.net_options,
        options=options,
        device=device,
        net=net,
        make_feed=make_feed,
        execution=execution,
        world=world,
        progress=progress,
    )
    if start.checkpoint is None:
        run.configure()
        return run
    run.restore(start.checkpoint)
    if options.learning_rate != start.checkpoint.state.train_options.get("learning_rate", 0.0):
        # Whoever chooses another rate has judged anew what the model bears.
        run.rate, run.rollbacks = 1.0, 0
    run.note_changes(start.checkpoint.state)
    return run


def _rehearse(architecture: Architecture, options: TrainOptions, net_options: Options, net: FaceNet) -> None:
    """Find a mistake in the schedule now, and not in the night it comes due. Raises UsageError."""
    for event in parse_schedule(options.schedule):
        _, net_then = options_at(event.iteration, options, net_options)
        with torch.device("meta"):
            architecture.critics(net_then, net)


def _begin(start: Start, net: FaceNet, options: TrainOptions, progress: Progress) -> None:
    """Weights of a new model: fresh ones, those that pretraining left, or another model's."""
    if start.basis is not None:
        weights = start.basis.contents().weights
        common = {name: value for name, value in weights.items() if name.split(".", 1)[0] not in net.personal}
        net.load_state_dict(common, strict=False)
        fresh = f"; {', '.join(net.personal)} begin anew" if net.personal else ""
        progress.note(f"beginning with what {start.basis.state.iteration} iterations of pretraining have taught{fresh}")
    if options.weights_from:
        progress.note(take_weights(net, Path(options.weights_from)).line())


def load_samples(
    src: FaceSet,
    dst: FaceSet,
    architecture: Architecture,
    net_options: Options,
    options: TrainOptions,
    net: FaceNet,
    device: torch.device,
    progress: Progress,
) -> tuple[FaceSamples, FaceSamples]:
    """The faces of both people; while pretraining, those of many people for both."""
    features = architecture.needs(net_options).features or _features_later(architecture, net_options, options)

    def load(faces: FaceSet, title: str, *, leave_out: bool = False) -> FaceSamples:
        return FaceSamples.load(
            faces,
            net.framing,
            net.resolution,
            device,
            features=features,
            faces_on=options.faces_on,
            leave_out=leave_out,
            title=title,
            progress=progress,
        )

    if options.pretrain:
        many = load(FaceSet(Path(options.pretrain)), "load faces")
        return many, many
    src_samples, dst_samples = load(src, "load source", leave_out=True), load(dst, "load target")
    return src_samples.for_target(dst_samples), dst_samples


def _features_later(architecture: Architecture, net_options: Options, options: TrainOptions) -> bool:
    """Whether the schedule turns on what needs masks of eyes and mouth."""
    _, at_end = options_at(2**62, options, net_options)
    return architecture.needs(at_end).features
