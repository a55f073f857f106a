"""What a signed file says: the C2PA manifest, the words of it that are Recaster's own, and the library's settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from recaster.provenance.likeness import Disclosure
from recaster.provenance.xmp import COMPOSITE

LIKENESS = "org.recaster.likeness"
RECIPE = "org.recaster.recipe"

_TARGET = "target"
_FACESET = "faceset"


@dataclass(frozen=True)
class Recipe:
    """What a clip was made with, as hashes: nothing here names a person or a file. Empty fields are left out."""

    settings_sha256: str = ""
    faceset_sha256: str = ""
    model: str = ""
    iteration: int | None = None


def library_settings(roots: bytes = b"") -> dict[str, Any]:
    """Settings of the C2PA library: no network, no thumbnails; ``roots`` (PEM) are the signers to trust."""
    settings: dict[str, Any] = {
        "version": 1,
        "builder": {"thumbnail": {"enabled": False}},
        "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_trust": True},
    }
    if roots:
        settings["trust"] = {"user_anchors": roots.decode("ascii")}
    return settings


def target_ingredient(sha256: str) -> dict[str, str]:
    """The clip whose face was replaced. Its title is fixed: file names tend to hold people's names."""
    return {"title": "Target clip", "relationship": "parentOf", "label": _TARGET, "instance_id": f"urn:sha256:{sha256}"}


def manifest(
    *,
    version: str,
    title: str,
    recipe: Recipe,
    likeness: Sequence[Disclosure],
    target_sha256: str = "",
    file_sha256: str = "",
    when: datetime,
) -> dict[str, Any]:
    """The manifest definition (C2PA specification, assertions "Actions" and "Ingredient").

    With ``target_sha256`` it opens the ingredient of :func:`target_ingredient`, which the caller adds. With
    ``file_sha256`` it binds a whole file that cannot hold it.
    """
    assertions: list[dict[str, Any]] = [
        _assertion("c2pa.actions.v2", {"actions": _actions(version, recipe, bool(target_sha256), when)}),
        _assertion(RECIPE, _filled({**asdict(recipe), "target_sha256": target_sha256})),
        _assertion(
            LIKENESS, {"likenesses": [_filled(asdict(item)) for item in likeness or [Disclosure("not stated")]]}
        ),
    ]
    if file_sha256:
        binding = {"name": "whole file", "alg": "sha256", "hash": list(bytes.fromhex(file_sha256)), "pad": []}
        assertions.append(_assertion("c2pa.hash.data", binding))
    return {
        "claim_generator_info": [{"name": "Recaster", "version": version}],
        "title": title,
        "assertions": assertions,
        "ingredients": [_faceset_ingredient(recipe.faceset_sha256)] if recipe.faceset_sha256 else [],
    }


def _actions(version: str, recipe: Recipe, has_target: bool, when: datetime) -> list[dict[str, Any]]:
    """A manifest begins with what was opened or, without that, with the creation."""
    first: dict[str, Any] = (
        {"action": "c2pa.opened", "parameters": {"ingredientIds": [_TARGET]}}
        if has_target
        else {"action": "c2pa.created", "digitalSourceType": COMPOSITE}
    )
    edit: dict[str, Any] = {
        "action": "c2pa.edited",
        "when": when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "softwareAgent": {"name": "Recaster", "version": version},
        "digitalSourceType": COMPOSITE,
        "description": "A face was replaced by one that a trained model made.",
    }
    if recipe.faceset_sha256:
        edit["parameters"] = {"ingredientIds": [_FACESET]}
    return [first, edit]


def _faceset_ingredient(sha256: str) -> dict[str, str]:
    return {
        "title": "Faceset",
        "label": _FACESET,
        "relationship": "componentOf",
        "format": "application/octet-stream",
        "instance_id": f"urn:sha256:{sha256}",
        "description": "The face pictures the model learned from, by hash only.",
    }


def _assertion(label: str, data: Mapping[str, Any]) -> dict[str, Any]:
    return {"label": label, "data": data, "created": True}


def _filled(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in {None, ""}}
