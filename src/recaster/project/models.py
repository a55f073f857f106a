"""Which model a workspace trains."""

from __future__ import annotations

from recaster.nets.architecture import find_architecture
from recaster.project.workspace import Workspace

CPU_MODEL, GPU_MODEL = "mini", "h64"


def chosen_model(workspace: Workspace, name: str | None = None) -> str:
    """The model to train: ``name``, else the one this workspace remembers, else one that suits this machine.

    Raises UsageError for an unknown name.
    """
    chosen = name or workspace.section("workspace").get("model") or _suitable()
    return find_architecture(str(chosen)).name


def remember_model(workspace: Workspace, name: str) -> None:
    """Make ``name`` the workspace's model for later runs."""
    workspace.store("workspace", {"model": name}, known={"model"})


def _suitable() -> str:
    from recaster.device import working_devices

    return CPU_MODEL if working_devices() == ["cpu"] else GPU_MODEL
