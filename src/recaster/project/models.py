"""Which model a workspace trains, and under which name."""

from __future__ import annotations

import re

from recaster.errors import UsageError
from recaster.nets.architecture import find_architecture
from recaster.project.workspace import Workspace
from recaster.train.options import TrainOptions

CPU_MODEL, GPU_MODEL = "mini", "saehd"

_FORBIDDEN = frozenset('<>:"/\\|?*.')
"""Not in names of folders on some system; a dot parts names of tables in ``recast.toml``."""
_RESERVED = re.compile(r"(?i)con|prn|aux|nul|(com|lpt)[0-9]")
"""Windows keeps these for devices."""
_LONGEST = 200


def chosen_model(workspace: Workspace, name: str | None = None) -> str:
    """The architecture to train: ``name``, else the one this workspace remembers, else one that suits this machine.

    Raises UsageError for an unknown name.
    """
    chosen = name or workspace.section("workspace").get("model") or _suitable()
    return find_architecture(str(chosen)).name


def chosen_name(workspace: Workspace, name: str | None = None) -> str:
    """What the training run, and so its folder in ``model/``, is called: ``name``, else what this workspace remembers,
    else the name of the architecture. Raises UsageError for what cannot be a name.
    """
    table = workspace.section("workspace")
    return checked_name(str(name or table.get("name") or table.get("model") or chosen_model(workspace)))


def checked_name(name: str) -> str:
    """``name``, if it can be that of a folder on every system and of a table in ``recast.toml``. Raises UsageError."""
    sound = name.isprintable() and not _FORBIDDEN & set(name) and name == name.strip() and not name.startswith("-")
    if not name or not sound or _RESERVED.fullmatch(name) or len(name.encode()) > _LONGEST:
        raise UsageError(
            f"{name!r} cannot be the name of a model",
            mend=f"Use letters, digits, - and _, up to {_LONGEST} bytes, and none of {' '.join(sorted(_FORBIDDEN))}",
        )
    if name in TrainOptions.model_fields:
        raise UsageError(f"{name!r} is the name of an option, so it cannot be that of a model")
    return name


def remember_model(workspace: Workspace, name: str) -> None:
    """Make ``name`` the workspace's model for later runs."""
    workspace.store("workspace", {"model": name}, known={"model"})


def _suitable() -> str:
    from recaster.device import working_devices

    return CPU_MODEL if working_devices() == ["cpu"] else GPU_MODEL
