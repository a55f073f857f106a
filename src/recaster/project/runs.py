"""Which training run of a workspace is meant, and with which options.

A workspace holds as many runs as one likes, each in ``model/<name>/``. ``recast.toml`` remembers the last one as
``[workspace] name`` and ``model``, what holds for all runs in ``[train]``, and what was chosen for one in
``[train.<name>]``: options of the training and of its network side by side, since no two share a name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recaster.errors import CheckpointError, UsageError
from recaster.nets.architecture import Architecture, find_architecture
from recaster.options import Options, from_mapping
from recaster.project.models import chosen_model, chosen_name
from recaster.project.workspace import Workspace
from recaster.train.options import TrainOptions
from recaster.train.presets import Preset, find_preset

if TYPE_CHECKING:
    from recaster.train.checkpoint import State


COMMAND = "run"
"""The training option that is a command of the user's."""


@dataclass(frozen=True)
class ChosenRun:
    """A run called ``name`` of one architecture, with all its options."""

    name: str
    architecture: Architecture
    options: TrainOptions
    net_options: Options


def choose_run(
    workspace: Workspace,
    name: str | None = None,
    model: str | None = None,
    preset: str | None = None,
    given: Mapping[str, Any] | None = None,
    net_given: Mapping[str, Any] | None = None,
) -> ChosenRun:
    """The run that is meant: what is ``given`` now, else what is remembered, else what the saved model was made with.

    Raises UsageError for unknown names and values out of range.
    """
    ready = find_preset(preset) if preset else None
    if ready is not None and model not in {None, ready.model}:
        raise UsageError(f"preset {preset} is made for {ready.model}, not for {model}", mend="Give one of the two.")
    model = ready.model if ready is not None else model
    name = chosen_name(workspace, name or model)
    kind = find_architecture(model or saved_architecture(workspace, name) or chosen_model(workspace))
    return ChosenRun(
        name,
        kind,
        _training(workspace, name, kind, ready, given or {}),
        _network(workspace, name, kind, ready, net_given or {}),
    )


def remember_run(workspace: Workspace, run: ChosenRun) -> None:
    """Make this the workspace's run, and keep what was chosen for it."""
    model = run.architecture.name
    name = {} if run.name == model else {"name": run.name}
    workspace.store("workspace", {"model": model, **name}, known={"model", "name"})
    for_all = from_mapping(TrainOptions, _for_all(workspace)).to_mapping()
    chosen = run.options.to_mapping()
    training = {name: value for name, value in chosen.items() if value != for_all.get(name) and name != COMMAND}
    workspace.store(f"train.{run.name}", {**training, **run.net_options.changed()})


def saved_architecture(workspace: Workspace, name: str) -> str | None:
    """What the saved model called ``name`` is; None where none is saved."""
    state = _saved(workspace, name)
    return None if state is None else state.architecture


def _saved(workspace: Workspace, name: str) -> State | None:
    from recaster.train.checkpoint import paths_of, read_state

    folder = workspace.model(name)
    for path in reversed(paths_of(folder) or paths_of(folder / "pretrained")):
        try:
            return read_state(path)
        except CheckpointError:
            continue  # training says what is wrong with it
    return None


def _training(
    workspace: Workspace, name: str, kind: Architecture, preset: Preset | None, given: Mapping[str, Any]
) -> TrainOptions:
    own, _ = _own(workspace, name, kind)
    ready = preset.training if preset is not None else {}
    return from_mapping(TrainOptions, {**_for_all(workspace), **own, **ready, **given})


def _network(
    workspace: Workspace, name: str, kind: Architecture, preset: Preset | None, given: Mapping[str, Any]
) -> Options:
    _, own = _own(workspace, name, kind)
    ready = preset.net if preset is not None else {}
    state = _saved(workspace, name)
    if state is None or state.architecture != kind.name:
        return from_mapping(kind.options, {**own, **ready, **given})
    chosen = from_mapping(kind.options, {**state.net_options, **own, **ready, **given})
    from recaster.train.start import check_unchanged

    # Here too, and not only when the training begins: what cannot be must not be remembered.
    check_unchanged(kind, state, chosen, workspace.model(name))
    return chosen


def _refuse_command(values: Mapping[str, Any], where: str) -> None:
    """A workspace may come from somebody else: what it says is read, and nothing in it is run."""
    if COMMAND in values:
        raise UsageError(
            "a command is not taken from a file, which may be somebody else's",
            where=where,
            mend=f"Delete {COMMAND} there, and give it on the command line: --{COMMAND}.",
        )


def _for_all(workspace: Workspace) -> dict[str, Any]:
    values = {name: value for name, value in workspace.section("train").items() if not isinstance(value, dict)}
    _refuse_command(values, f"{workspace.settings_file} [train]")
    from_mapping(TrainOptions, values, where=f"{workspace.settings_file} [train]")
    return values


def _own(workspace: Workspace, name: str, kind: Architecture) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is remembered of one run: of the training, and of the network."""
    where = f"{workspace.settings_file} [train.{name}]"
    values = workspace.section(f"train.{name}")
    _refuse_command(values, where)
    training = {key: value for key, value in values.items() if key in TrainOptions.model_fields}
    net = {key: value for key, value in values.items() if key not in training}
    from_mapping(TrainOptions, training, where=where)
    from_mapping(kind.options, net, where=where)
    return training, net
