"""Sign a finished clip or picture: a C2PA manifest and the IPTC digital source type, without any network.

Signing comes last. Whatever writes the file again afterwards, even without touching a pixel, breaks or drops the
signature.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import c2pa

from recaster.errors import InputError, MediaError, MissingError, RecasterError, StorageError
from recaster.files import atomic_path, list_pictures, sha256_file, write_bytes
from recaster.provenance.certificate import Identity
from recaster.provenance.container import Container, is_whole, sniff
from recaster.provenance.likeness import Disclosure
from recaster.provenance.manifest import Recipe, library_settings, manifest, target_ingredient
from recaster.provenance.xmp import mark

SIDECAR_MEDIA_TYPE = "application/c2pa"
UNKNOWN_MEDIA_TYPE = "application/octet-stream"


@dataclass(frozen=True)
class SignSummary:
    """What was signed. ``sidecar`` is the file that holds the signature where the container cannot.

    ``marked`` tells whether the digital source type is in the file's XMP too. ``notes`` are lines for the user.
    """

    output: Path
    sidecar: Path | None
    signer: str
    marked: bool
    notes: tuple[str, ...]


class OutputFile:
    """The stream the C2PA library writes to; it keeps the disk's error, which the library would drop."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None
        self.read = file.read
        self.seek = file.seek
        self.tell = file.tell

    def write(self, data: bytes) -> int:
        """Write, and remember a refusal."""
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        """Flush, and remember a refusal."""
        try:
            self._file.flush()
        except OSError as error:
            self.error = error
            raise


def sidecar_path(path: Path) -> Path:
    """Where the signature of a file lies that cannot hold it: ``film.mkv.c2pa`` beside ``film.mkv``."""
    return path.with_name(f"{path.name}.c2pa")


def faceset_hash(folder: Path) -> str:
    """Hex SHA-256 over the sorted hashes of a folder's pictures: names and order do not matter, every byte does.

    Raises MissingError for a folder without pictures.
    """
    digests = sorted(sha256_file(path) for path in list_pictures(folder)) if folder.is_dir() else []
    if not digests:
        raise MissingError("no face pictures to hash", where=folder, mend="Extract faces into this folder first.")
    return hashlib.sha256("\n".join(digests).encode("ascii")).hexdigest()


def sign(
    source: Path,
    output: Path,
    *,
    identity: Identity,
    version: str,
    recipe: Recipe | None = None,
    parent: Path | None = None,
    likeness: Sequence[Disclosure] = (),
    title: str = "Recaster output",
    when: datetime | None = None,
) -> SignSummary:
    """Write ``source`` to ``output`` (which may be the same path), marked and signed; ``source`` is not changed.

    ``parent`` is the target clip: its own credentials, if it has any, are kept inside. ``title`` is public, so keep
    names out of it. A Matroska or WebM file cannot hold a signature and gets a file beside it. Raises InputError or
    MediaError for a source that cannot be read, StorageError from the disk; then nothing half-made is left behind.
    """
    container = _readable(source)
    if container is None:
        raise InputError(
            "not a kind of file that can be signed",
            where=source,
            mend="Use .mp4, .mov, .avi, .mkv, .webm, .jpg or .png.",
        )
    if container.boxed and not is_whole(source):
        raise _damaged(source, "it is damaged or cut short")
    notes: list[str] = []
    if has_credentials(source):
        if parent is None:
            parent = source
        elif parent.resolve() != source.resolve():
            notes.append("The source had credentials of its own. They were replaced, as another clip is its parent.")
    target = _target(parent, notes) if parent else None
    definition = manifest(
        version=version,
        title=title,
        recipe=recipe or Recipe(),
        likeness=likeness,
        target_sha256=target.sha256 if target else "",
        file_sha256="" if container.embeds else sha256_file(source),
        when=when or datetime.now(UTC),
    )
    job = _Job(source, definition, target, identity)
    if container.embeds:
        marked = _sign_inside(job, output, container)
        sidecar = None
    else:
        marked = False
        sidecar = _sign_beside(job, output)
        notes.append(
            f"Matroska and WebM cannot hold a signature: it is in {sidecar.name}, which must stay beside the file. "
            "Write .mp4 or .mov to have it inside."
        )
    return SignSummary(output, sidecar, identity.name, marked, tuple(notes))


def has_credentials(path: Path) -> bool:
    """Whether the file holds a C2PA manifest, sound or not."""
    with c2pa.Context.from_dict(library_settings()) as context, path.open("rb") as file:
        try:
            with c2pa.Reader(None, file, None, context):
                return True
        except c2pa.C2paError:
            return False


@dataclass(frozen=True)
class _Target:
    path: Path
    sha256: str
    media_type: str


@dataclass(frozen=True)
class _Job:
    source: Path
    definition: dict[str, Any]
    target: _Target | None
    identity: Identity


def _readable(path: Path) -> Container | None:
    try:
        return sniff(path)
    except OSError as error:
        raise InputError("cannot be read", where=path, mend="Check the path and its rights.") from error


def _target(path: Path, notes: list[str]) -> _Target:
    """The parent as an ingredient: with its credentials, or by its hash alone where the library cannot read it."""
    container = _readable(path)
    media_type = container.value if container else UNKNOWN_MEDIA_TYPE
    target = _Target(path, sha256_file(path), media_type)
    if container is not None:
        try:
            with c2pa.Context.from_dict(library_settings()) as context, c2pa.Builder({}, context) as builder:
                _add_target(builder, target)
        except c2pa.C2paError:
            notes.append("The target clip is damaged or cut short, so it is named in the signature by its hash only.")
            return replace(target, media_type=UNKNOWN_MEDIA_TYPE)
    return target


def _sign_inside(job: _Job, output: Path, container: Container) -> bool:
    with atomic_path(output) as part:
        staged = part.with_name(f"{part.name}.marked")
        try:
            marked = mark(job.source, staged, container)
            with staged.open("rb") as source, part.open("w+b") as file:
                destination = OutputFile(file)
                try:
                    _run_builder(job, container.value, source, destination)
                except c2pa.C2paError as error:
                    if destination.error is not None:
                        raise destination.error from error
                    raise _refusal(job.source, error) from error
        finally:
            with suppress(OSError):
                staged.unlink(missing_ok=True)
    return marked


def _sign_beside(job: _Job, output: Path) -> Path:
    sidecar = sidecar_path(output)
    if output.resolve() != job.source.resolve():
        sidecar.unlink(missing_ok=True)  # an older one would call the new file altered
        with atomic_path(output) as part:
            shutil.copyfile(job.source, part)
    try:
        with job.source.open("rb") as source:
            credentials = _run_builder(job, SIDECAR_MEDIA_TYPE, source, None)
    except c2pa.C2paError as error:
        raise _refusal(job.source, error) from error
    write_bytes(sidecar, credentials)
    return sidecar


def _run_builder(job: _Job, media_type: str, source: BinaryIO, destination: OutputFile | None) -> bytes:
    """Sign from stream to stream and give the manifest; without a destination the manifest is all there is."""
    info = c2pa.C2paSignerInfo(job.identity.algorithm, job.identity.chain, job.identity.key, None)
    with (
        c2pa.Signer.from_info(info) as signer,
        c2pa.Context.from_dict(library_settings()) as context,
        c2pa.Builder(job.definition, context) as builder,
    ):
        if job.target is not None:
            _add_target(builder, job.target)
        if destination is None:
            builder.set_no_embed()
        credentials: bytes = builder.sign(signer, media_type, source, destination)
    return credentials


def _add_target(builder: c2pa.Builder, target: _Target) -> None:
    ingredient = target_ingredient(target.sha256)
    if target.media_type == UNKNOWN_MEDIA_TYPE:
        builder.add_ingredient(ingredient, target.media_type, BytesIO())
        return
    with target.path.open("rb") as file:
        builder.add_ingredient(ingredient, target.media_type, file)


def _refusal(path: Path, error: c2pa.C2paError) -> RecasterError:
    if isinstance(error, c2pa.C2paError.Io) and "os error" in str(error):
        # Above half a gigabyte the library works through a file in the system's temporary folder.
        return StorageError(
            f"cannot be signed ({error})",
            where=path,
            mend="Free some space in the system's folder for temporary files: it needs the size of the clip.",
        )
    if isinstance(error, c2pa.C2paError.Signature):
        return InputError(
            f"the certificate cannot sign ({error})",
            where=path,
            mend="Check the computer's clock, and that the certificate meets the C2PA profile.",
        )
    return _damaged(path, str(error))


def _damaged(path: Path, reason: str) -> MediaError:
    return MediaError(
        f"cannot be signed ({reason})", where=path, mend="Check that it plays to its end, write it again, then sign it."
    )
