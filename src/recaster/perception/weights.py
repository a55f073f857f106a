"""Where the pretrained weights are, and how a network gets them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from recaster.errors import MissingError
from recaster.perception.manifest import notice_file, read_manifest, weights_file

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS = Path(__file__).with_name("weights")
"""Filled when Recaster is built, from the packages that the manifest names."""


def weight_path(name: str, folder: Path = WEIGHTS) -> Path:
    """The weights file of network ``name``. Raises MissingError when the build left it out."""
    return _present(weights_file(folder, name))


def notice_path(name: str, folder: Path = WEIGHTS) -> Path:
    """The licence notice of network ``name``. Raises MissingError like weight_path."""
    return _present(notice_file(folder, name))


def notices() -> dict[str, str]:
    """The licence notices of all networks of the manifest, by name. Raises MissingError."""
    return {name: notice_path(name).read_text(encoding="utf-8") for name in read_manifest()}


def load_tensors(name: str) -> dict[str, Tensor]:
    """The tensors of network ``name``, on the CPU, sorted by name. Raises MissingError."""
    from safetensors.torch import load_file

    return dict(sorted(load_file(weight_path(name)).items()))


def fill(modules: Iterable[nn.Module], tensors: Mapping[str, Tensor], section: str = "") -> None:
    """Copy the numbered tensors of ``section``, in their order, into the parameters of ``modules``, in theirs.

    A module must create its layers in the order in which they are applied. Kernels are laid out channels last, in which
    these networks are fastest. Raises ValueError where count or shape disagree: the weights are another network's.
    """
    import torch

    prefix = f"{section}." if section else ""
    values = [tensor for name, tensor in sorted(tensors.items()) if name.removeprefix(prefix).isdecimal()]
    parameters = [parameter for module in modules for parameter in module.parameters()]
    if [tuple(p.shape) for p in parameters] != [tuple(v.shape) for v in values]:
        raise ValueError(f"the weights {section!r} do not fit the network")
    for parameter, value in zip(parameters, values, strict=True):
        layout = torch.channels_last if value.dim() == 4 else torch.contiguous_format
        parameter.data = value.to(parameter.dtype).contiguous(memory_format=layout)


def _present(path: Path) -> Path:
    if path.is_file():
        return path
    raise MissingError(
        "pretrained weights are not installed",
        where=path,
        mend="Run `python3 dev.py check` in a checkout, or install Recaster again: the build fetches them.",
    )
