"""``recast model``: saved models listed, put aside, brought back, renamed, deleted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter, validators

from recaster.cli.common import Common, Result, plain
from recaster.cli.console import console_progress
from recaster.errors import UsageError
from recaster.project.workspace import Workspace

Action = Literal["list", "backup", "restore", "exchange", "rename", "delete", "timelapse"]


def model(
    action: Action,
    workspace: Path,
    new: str | None = None,
    /,
    *,
    name: str | None = None,
    backup: int | None = None,
    yes: Annotated[bool, Parameter(negative="")] = False,
    rate: Annotated[float | None, Parameter(validator=validators.Number(gte=1, lte=60))] = None,
    common: Common | None = None,
) -> Result:
    """List a workspace's saved models, or do something with one of them.

    backup puts the newest checkpoint aside; restore goes back to a backup or an older checkpoint and sets newer ones
    aside, deleting none. exchange makes what was learned of the source belong to the target, for a workspace whose two
    clips are exchanged. timelapse makes a signed film of the preview history.

    Parameters
    ----------
    action
        What to do.
    workspace
        The workspace's folder.
    new
        For rename: the new name.
    name
        Which model; the one this workspace trains by default.
    backup
        For restore: the iteration of the backup or checkpoint to go back to; the newest backup by default.
    yes
        For delete: do it.
    rate
        For timelapse: pictures a second, 12 by default.
    """
    given = {"NEW": new, "--backup": backup, "--yes": yes or None, "--rate": rate}
    for flag, value in given.items():
        if value is not None and flag not in _TAKES.get(action, ()):
            raise UsageError(f"{action} takes no {flag}", mend="See recast model --help.")
    place = Workspace.open(workspace)
    if action == "rename":
        return _rename(place, name, new)
    if action == "delete":
        return _delete(place, name, yes)
    if action == "restore":
        return _restore(place, name, backup)
    if action == "timelapse":
        return _timelapse(place, name, rate)
    return _OTHERS[action](place, name)


_TAKES = {"rename": {"NEW"}, "restore": {"--backup"}, "delete": {"--yes"}, "timelapse": {"--rate"}}


def _list(place: Workspace, name: str | None) -> Result:
    from recaster.project.modelcare import list_models

    found = [model for model in list_models(place) if name in {None, model.name}]
    lines = [
        f"{'*' if model.chosen else ' '} {model.name}: {model.architecture}, iteration {model.iteration},"
        f" {model.bytes / 1e6:.0f} MB, checkpoints: {_numbers(model.checkpoints)}, backups: {_numbers(model.backups)}"
        for model in found
    ]
    return Result({"models": plain(found)}, lines or ["no saved models"])


def _backup(place: Workspace, name: str | None) -> Result:
    from recaster.project.modelcare import backup_model

    made = backup_model(place, name, console_progress())
    return Result({"backup": made}, [f"backup: {made}"])


def _restore(place: Workspace, name: str | None, backup: int | None) -> Result:
    from recaster.project.modelcare import restore_model

    done = restore_model(place, name, backup, console_progress())
    lines = [f"restored iteration {done.iteration} from {done.source}", f"newest checkpoint: {done.checkpoint}"]
    return Result(plain(done), lines + [f"set aside: {path}" for path in done.replaced])


def _exchange(place: Workspace, name: str | None) -> Result:
    from recaster.project.modelcare import exchange_people

    done = exchange_people(place, name, console_progress())
    lines = [
        f"exchanged source and target in {done.checkpoint}",
        f"as it was: {done.backup}",
        *(f"set aside: {path}" for path in done.replaced),
        "Now exchange the clips too: data_src and data_dst, each with its folder of faces.",
    ]
    return Result(plain(done), lines)


def _rename(place: Workspace, name: str | None, new: str | None) -> Result:
    from recaster.project.modelcare import rename_model

    if new is None:
        raise UsageError("rename needs the new name", mend="recast model rename WORKSPACE NEW [--name OLD]")
    made = rename_model(place, new, name)
    return Result({"folder": made, "name": made.name}, [f"renamed: {made}"])


def _delete(place: Workspace, name: str | None, yes: bool) -> Result:
    from recaster.project.modelcare import delete_model

    gone = delete_model(place, name, sure=yes)
    return Result({"deleted": gone.name, "bytes": gone.bytes}, [f"deleted {gone.name}: {gone.bytes / 1e6:.0f} MB"])


def _timelapse(place: Workspace, name: str | None, rate: float | None) -> Result:
    from recaster.project.modelcare import make_timelapse

    made = make_timelapse(place, name, rate or 12.0, console_progress())
    return Result({"timelapse": made}, [f"time-lapse: {made}"])


_OTHERS: dict[str, Callable[[Workspace, str | None], Result]] = {
    "list": _list,
    "backup": _backup,
    "exchange": _exchange,
}


def _numbers(iterations: tuple[int, ...]) -> Any:
    return ", ".join(map(str, iterations)) or "none"
