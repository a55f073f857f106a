"""Which pretrained networks there are, and where each comes from. Standard library only: the build reads it too."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

MANIFEST = Path(__file__).with_name("manifest.toml")

CONVERSION = 1
"""Raised when a converter writes other tensors than before: weights made by an older one are made again."""


@dataclass(frozen=True)
class Pretrained:
    """One pretrained network.

    ``carrier`` is the package that contains it as ``NAME==VERSION``, ``files`` its files in there with their hex
    SHA-256, ``license`` an SPDX identifier, ``license_file`` the licence's text in the carrier.
    """

    name: str
    purpose: str
    carrier: str
    license: str
    license_file: str
    authors: str
    training_data: str
    files: Mapping[str, str]

    @property
    def stamp(self) -> str:
        """What converted weights record about their origin; equal stamps mean equal weights."""
        origin = {**asdict(self), "files": dict(self.files), "conversion": CONVERSION}
        return json.dumps(origin, sort_keys=True)


def read_manifest(path: Path = MANIFEST) -> dict[str, Pretrained]:
    """All networks by name, in the order of the file."""
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    return {name: Pretrained(name=name, **table) for name, table in tables.items()}


def weights_file(folder: Path, name: str) -> Path:
    """Where the converted weights of network ``name`` lie in ``folder``."""
    return folder / f"{name}.safetensors"


def notice_file(folder: Path, name: str) -> Path:
    """Where the licence notice of network ``name`` lies in ``folder``."""
    return folder / f"{name}.notice.txt"
