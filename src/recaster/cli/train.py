"""``recast train``: a model of two faces. The options of the chosen model stand beside the common ones."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Optional

from cyclopts import Parameter

from recaster.cli.common import Common, Result, choose
from recaster.cli.console import console_progress
from recaster.errors import RecasterError
from recaster.nets.architecture import find_architecture
from recaster.options import Options
from recaster.project.models import chosen_model
from recaster.project.workspace import Workspace
from recaster.train.options import TrainOptions


def train(
    workspace: Path,
    /,
    *,
    model: str | None = None,
    options: Annotated[TrainOptions | None, Parameter(name="*", group="Training")] = None,
    net: Any = None,
    common: Common | None = None,
) -> Result:
    """Train a model on the two facesets, or go on with one; stop with Ctrl-C at any time.

    Parameters
    ----------
    workspace
        The workspace's folder.
    model
        The model: h64, mini ... Its own options are listed by recast train --model NAME --help. Kept for later runs.
    """
    from recaster.project.steps import train as step

    place = Workspace.open(workspace)
    name = chosen_model(place, model)
    net_type = find_architecture(name).options
    values = choose(common, TrainOptions, options, place.options("train", TrainOptions))
    net_values = choose(common, net_type, net, place.options(f"train.{name}", net_type))
    summary = step(place, name, values, net_values, console_progress())
    return Result(summary.figures(), summary.lines())


def command_for(words: Sequence[str]) -> Callable[..., Result]:
    """``train`` with the flags of the model that the words name, or that their workspace remembers."""
    net_type = _net_options(words)
    net: Any = Annotated[Any, Parameter(parse=False)]
    if net_type is not None and net_type.model_fields:
        net = Annotated[Optional[net_type], Parameter(name="*", group="Model")]  # noqa: UP045 - a class known only now

    @wraps(train)
    def command(*arguments: Any, **named: Any) -> Result:
        return train(*arguments, **named)

    signature = inspect.signature(train, eval_str=True)
    parameters = [p.replace(annotation=net) if p.name == "net" else p for p in signature.parameters.values()]
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


def _net_options(words: Sequence[str]) -> type[Options] | None:
    name = None
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == "--model":
            name = following
        elif word.startswith("--model="):
            name = word.removeprefix("--model=")
    try:
        if name is None:
            folder = next(Path(word) for word in words if Workspace(Path(word)).settings_file.is_file())
            name = chosen_model(Workspace.open(folder))
        return find_architecture(name).options
    except (RecasterError, StopIteration, OSError):
        return None  # the command itself says what is wrong
