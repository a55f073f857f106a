"""What a file says about its own making, and whether that can be believed.

Reads the C2PA credentials of any program, inside the file or beside it, and the IPTC digital source type. Nothing is
fetched from a network.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import c2pa

from recaster.errors import InputError
from recaster.provenance.container import Container, sniff
from recaster.provenance.likeness import Disclosure
from recaster.provenance.manifest import LIKENESS, library_settings
from recaster.provenance.sign import SIDECAR_MEDIA_TYPE, sidecar_path
from recaster.provenance.xmp import SYNTHETIC, digital_source_type

EXIT_CODES: Mapping[str, int] = {"signed": 0, "unsigned": 3, "altered": 4}
"""What ``recast verify`` exits with; 1 and 2 stay for files that cannot be read and mistakes in the call."""

_ABOUT_SIGNER = frozenset({"signingCredential.untrusted", "signingCredential.expired"})
"""Failures that say who signed is not vouched for, and nothing about the file's content."""

_LONGEST_TEXT = 200

_REMAINS = (b"jumdc2pa\x00\x11\x00\x10\x80\x00\x00\xaa\x00\x38\x9b\x71", b"self#jumbf=")
"""In every C2PA manifest store (C2PA specification, use of JUMBF), also where it is broken: the head
of its outermost box, and the beginning of its inner references."""

_ELSEWHERE = "its credentials lie at a network address, which is not fetched"

_DAMAGED = "the file or its credentials are damaged, or it was cut short"

_WORDS = {
    "assertion.dataHash.mismatch": "its bytes differ from those that were signed",
    "assertion.bmffHash.mismatch": "its bytes differ from those that were signed",
    "assertion.boxesHash.mismatch": "its bytes differ from those that were signed",
    "assertion.hashedURI.mismatch": "its credentials were changed after signing",
    "assertion.missing": "a part of its credentials is missing",
    "claimSignature.mismatch": "the signature does not fit its credentials",
    "claimSignature.missing": "the signature is missing",
    "signingCredential.revoked": "the signer's certificate was revoked",
}


@dataclass(frozen=True)
class Verification:
    """The verdict on one file.

    ``state``: "signed" (whole, and as it was signed), "altered" (its credentials do not fit it, or are damaged),
    "unsigned". ``synthetic``: the file itself declares machine-made content. ``trusted``: whether the
    signer's root is among those given; None where none were given or there is no signer; ``trust_reason`` in words.
    ``signer``, ``software`` and ``when`` (as the file tells it) are empty where it does not say, and only claims where
    ``state`` is "altered". ``ingredients`` and ``problems`` are lines for the user.
    """

    path: Path
    state: Literal["signed", "altered", "unsigned"]
    synthetic: bool
    signer: str = ""
    trusted: bool | None = None
    trust_reason: str = ""
    software: str = ""
    when: str = ""
    likeness: tuple[Disclosure, ...] = ()
    ingredients: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    sidecar: Path | None = None

    @property
    def signed(self) -> bool:
        """Signed, and not altered since."""
        return self.state == "signed"

    @property
    def altered(self) -> bool:
        """Carries credentials that do not fit it."""
        return self.state == "altered"

    @property
    def exit_code(self) -> int:
        """0 signed, 3 unsigned, 4 altered."""
        return EXIT_CODES[self.state]

    def explain(self) -> list[str]:
        """The verdict in plain words, most important line first."""
        lines = [_HEADLINES[self.state]]
        lines += [f"Problem: {problem}." for problem in self.problems]
        if self.synthetic:
            lines.append("Synthetic: the file declares that it was made by a machine, wholly or in part.")
        elif self.state == "unsigned":
            lines.append("It declares nothing about how it was made, which proves nothing either way.")
        claims = "claims to be " if self.altered else ""
        if self.signer:
            lines.append(f"Signer: {claims}{self.signer}; {self.trust_reason}.")
        if self.software or self.when:
            lines.append(f"Made with: {' on '.join(part for part in (self.software, self.when) if part)}.")
        for item in self.likeness:
            basis = f" ({item.basis})" if item.basis != "not stated" else ""
            lines.append(f"Likeness: {item.state}{basis}.")
        lines += [f"Made from: {ingredient}." for ingredient in self.ingredients]
        if self.sidecar:
            lines.append(f"Credentials read from: {self.sidecar.name}.")
        return lines


_HEADLINES = {
    "signed": "Signed: the file is as it was when it was signed.",
    "altered": "Altered: the file is not as it was when it was signed.",
    "unsigned": "Unsigned: the file carries no credentials.",
}


def verify(path: Path, *, roots: bytes = b"") -> Verification:
    """Check one file. ``roots`` (PEM) are the certificates of signers to trust, such as this installation's own.

    Raises InputError for a missing file and for one that is neither video nor picture.
    """
    container = _sniffed(path)
    synthetic = digital_source_type(path) in SYNTHETIC
    try:
        report, sidecar = _report(path, container, roots)
    except c2pa.C2paError as error:
        return _without_report(path, container, synthetic, error)
    return _verdict(path, report, synthetic, sidecar, has_roots=bool(roots))


def _sniffed(path: Path) -> Container | None:
    try:
        if not path.stat().st_size:
            raise InputError("the file is empty", where=path, mend="Make it again.")
        return sniff(path)
    except OSError as error:
        raise InputError("cannot be read", where=path, mend="Check the path and its rights.") from error


def _sidecar_of(path: Path, container: Container | None) -> Path | None:
    """The credentials beside the file; other programs name them after the stem, which here only Matroska may own."""
    candidates = [sidecar_path(path)]
    if container is Container.MATROSKA:
        candidates.append(path.with_suffix(".c2pa"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _is_elsewhere(error: Exception) -> bool:
    """Whether the credentials lie at a network address; the library has no type of its own for that."""
    return isinstance(error, c2pa.C2paError.RemoteManifest) or str(error).startswith("Remote:")


def _holds_manifest(path: Path) -> bool:
    """Whether the remains of a manifest are in the file, even where nothing leads to them any more."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return any(data.find(remains) >= 0 for remains in _REMAINS)


def _report(path: Path, container: Container | None, roots: bytes) -> tuple[dict[str, Any], Path | None]:
    """The library's report and the sidecar it comes from, if not from the file itself. Raises C2paError."""
    try:
        return _read(path, None, None, roots), None
    except (c2pa.C2paError.ManifestNotFound, c2pa.C2paError.NotSupported):
        sidecar = _sidecar_of(path, container)
        if sidecar is None or container is None:
            raise
        media_type = container.value if container.embeds else SIDECAR_MEDIA_TYPE
        return _read(path, media_type, sidecar.read_bytes(), roots), sidecar


def _read(path: Path, media_type: str | None, credentials: bytes | None, roots: bytes) -> dict[str, Any]:
    with (
        c2pa.Context.from_dict(library_settings(roots)) as context,
        path.open("rb") as file,
        c2pa.Reader(media_type, file, credentials, context) as reader,
    ):
        report: dict[str, Any] = json.loads(reader.json())
    return report


def _without_report(path: Path, container: Container | None, synthetic: bool, error: c2pa.C2paError) -> Verification:
    """The verdict where the library gave up: no credentials, or what is left of damaged ones."""
    if container is None and not isinstance(error, c2pa.C2paError.ManifestNotFound):
        raise InputError(
            "not a video or picture that can be checked", where=path, mend="Give a file that plays or shows."
        ) from error
    if _is_elsewhere(error):
        return Verification(path, "unsigned", synthetic, problems=(_ELSEWHERE,))
    sidecar = _sidecar_of(path, container)
    if sidecar is not None or _holds_manifest(path):
        return Verification(path, "altered", synthetic, problems=(_DAMAGED,), sidecar=sidecar)
    absent = isinstance(error, (c2pa.C2paError.ManifestNotFound, c2pa.C2paError.NotSupported))
    return Verification(path, "unsigned", synthetic, problems=() if absent else (_DAMAGED,))


def _verdict(
    path: Path, report: Mapping[str, Any], synthetic: bool, sidecar: Path | None, *, has_roots: bool
) -> Verification:
    manifests: Mapping[str, Any] = report.get("manifests", {})
    active = manifests.get(report.get("active_manifest", ""), {})
    codes = [entry.get("code", "") for entry in _results(report).get("failure", [])]
    problems = tuple(
        dict.fromkeys(_WORDS.get(code, f"check failed: {code}") for code in codes if code not in _ABOUT_SIGNER)
    )
    signature = active.get("signature_info", {})
    trusted, reason = _trust(codes, has_roots)
    return Verification(
        path=path,
        state="altered" if problems or not active else "signed",
        synthetic=synthetic or any(kind in SYNTHETIC for kind in _source_types(manifests)),
        signer=_plain(signature.get("common_name") or signature.get("issuer") or ""),
        trusted=trusted,
        trust_reason=reason,
        software=_plain(_software(active)),
        when=_plain(signature.get("time") or _last_action_time(active)),
        likeness=_likeness(active),
        ingredients=tuple(_ingredient(item, manifests) for item in active.get("ingredients", [])),
        problems=problems,
        sidecar=sidecar,
    )


def _results(report: Mapping[str, Any]) -> Mapping[str, Any]:
    results: Mapping[str, Any] = report.get("validation_results", {}).get("activeManifest", {})
    return results


def _trust(codes: list[str], has_roots: bool) -> tuple[bool | None, str]:
    expired = "; its certificate has run out since" if "signingCredential.expired" in codes else ""
    if not has_roots:
        return None, f"unknown signer, as there is no list of trusted signers to look it up in{expired}"
    if "signingCredential.untrusted" in codes:
        return False, f"unknown signer, not among the trusted ones{expired}"
    return True, f"among the trusted signers{expired}"


def _assertions(manifest: Mapping[str, Any], label: str) -> Iterator[Mapping[str, Any]]:
    for assertion in manifest.get("assertions", []):
        if str(assertion.get("label", "")).startswith(label) and isinstance(assertion.get("data"), dict):
            yield assertion["data"]


def _actions(manifest: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for data in _assertions(manifest, "c2pa.actions"):
        yield from data.get("actions", [])


def _source_types(manifests: Mapping[str, Any]) -> Iterator[str]:
    """Of the file and of everything it was made from."""
    for manifest in manifests.values():
        for action in _actions(manifest):
            yield str(action.get("digitalSourceType", "")).replace("https://", "http://")


def _software(manifest: Mapping[str, Any]) -> str:
    for info in manifest.get("claim_generator_info", []):
        return " ".join(str(info[name]) for name in ("name", "version") if info.get(name))
    return str(manifest.get("claim_generator", ""))


def _last_action_time(manifest: Mapping[str, Any]) -> str:
    return next((str(action["when"]) for action in reversed(list(_actions(manifest))) if "when" in action), "")


def _likeness(manifest: Mapping[str, Any]) -> tuple[Disclosure, ...]:
    """Only of the words that a Disclosure knows: anyone may write this assertion."""
    found = []
    for data in _assertions(manifest, LIKENESS):
        entries = data.get("likenesses")
        for item in entries if isinstance(entries, list) else []:
            stated = item.get("state") if isinstance(item, dict) else None
            if stated in {"stated", "expired", "not stated"}:
                basis, digest = item.get("basis", "not stated"), item.get("record_sha256", "")
                found.append(Disclosure(stated, _plain(basis), _plain(digest)))
    return tuple(found)


def _ingredient(ingredient: Mapping[str, Any], manifests: Mapping[str, Any]) -> str:
    title = _plain(ingredient.get("title") or "an untitled file")
    own = manifests.get(ingredient.get("active_manifest", ""))
    if own is None:
        return f"{title} (without credentials of its own)"
    signature = own.get("signature_info", {})
    signer = _plain(signature.get("common_name") or signature.get("issuer") or "an unnamed signer")
    failures = _results(ingredient).get("failure", [])
    broken = any(entry.get("code") not in _ABOUT_SIGNER for entry in failures)
    return f"{title} (signed by {signer}{', but altered after that' if broken else ''})"


def _plain(text: object) -> str:
    """Foreign text made fit for one line of a terminal."""
    return "".join(letter for letter in str(text) if letter.isprintable())[:_LONGEST_TEXT]
