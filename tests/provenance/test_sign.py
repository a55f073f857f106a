from __future__ import annotations

import errno
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import c2pa
import numpy as np
import pytest

from recaster.errors import InputError, MediaError, MissingError, StorageError
from recaster.files import sha256_file
from recaster.provenance import sign as sign_module
from recaster.provenance.certificate import Identity, known_roots
from recaster.provenance.likeness import Disclosure, LikenessRecord, disclose, write_record
from recaster.provenance.manifest import LIKENESS, RECIPE, Recipe
from recaster.provenance.sign import faceset_hash, sidecar_path, sign
from recaster.provenance.verify import verify
from recaster.provenance.xmp import COMPOSITE, digital_source_type

Maker = Callable[..., Path]
FACESET = "ab" * 32
RECIPE_MADE = Recipe(settings_sha256="cd" * 32, faceset_sha256=FACESET, model="h64", iteration=1200)


def active_manifest(path: Path) -> dict[str, Any]:
    with path.open("rb") as file, c2pa.Reader(file) as reader:
        report = json.loads(reader.json())
    found: dict[str, Any] = report["manifests"][report["active_manifest"]]
    return found


def assertion(path: Path, label: str) -> dict[str, Any]:
    return next(item["data"] for item in active_manifest(path)["assertions"] if item["label"] == label)


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.jpg", "a.png", "a.avi"])
def test_signed_files_verify_and_decode_the_same(
    noise: Maker, frames_of: Callable[[Path], list[np.ndarray]], identity: Identity, name: str
) -> None:
    source = noise(name)
    original = source.read_bytes()
    output = source.with_name(f"s {name}")
    summary = sign(source, output, identity=identity, version="0.1.0")
    assert summary.marked == (name != "a.avi") == (digital_source_type(output) == COMPOSITE)
    assert summary.sidecar is None and summary.notes == () and summary.signer == identity.name
    assert verify(output).state == "signed"
    assert source.read_bytes() == original
    before, after = frames_of(source), frames_of(output)
    assert len(before) == len(after) > 0
    assert all(np.array_equal(one, two) for one, two in zip(before, after, strict=True))


def test_a_long_clip_keeps_its_chunk_offsets(
    noise: Maker, frames_of: Callable[[Path], list[np.ndarray]], identity: Identity
) -> None:
    source = noise("long.mp4", frames=60)
    output = source.with_name("signed.mp4")
    sign(source, output, identity=identity, version="0.1.0")
    assert all(np.array_equal(*pair) for pair in zip(frames_of(source), frames_of(output), strict=True))


@pytest.mark.parametrize("name", ["a.mkv", "a.webm"])
def test_matroska_gets_a_sidecar(noise: Maker, identity: Identity, tmp_path: Path, name: str) -> None:
    source = noise(name)
    output = tmp_path / "out" / f"ä {name}"
    summary = sign(source, output, identity=identity, version="0.1.0", parent=source, recipe=RECIPE_MADE)
    assert summary.sidecar == sidecar_path(output)
    assert "must stay beside" in summary.notes[0] and ".mp4" in summary.notes[0]
    assert output.read_bytes() == source.read_bytes()
    assert verify(output).state == "signed"
    assert verify(output).sidecar == summary.sidecar
    sign(output, output, identity=identity, version="0.1.0")
    assert verify(output).state == "signed"
    output.write_bytes(output.read_bytes()[:-1] + b"x")
    assert verify(output).state == "altered"


def test_the_manifest_tells_the_recipe(noise: Maker, identity: Identity, tmp_path: Path) -> None:
    target, source, output = noise("target.mov"), noise("made.mp4"), tmp_path / "signed.mp4"
    when = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
    told = [Disclosure("stated", "own face", "ef" * 32), Disclosure("expired", "written release", "01" * 32)]
    sign(
        source,
        output,
        identity=identity,
        version="9.8",
        parent=target,
        recipe=RECIPE_MADE,
        likeness=told,
        title="A title",
        when=when,
    )
    made = active_manifest(output)
    assert made["title"] == "A title"
    assert made["claim_generator_info"][0]["name"] == "Recaster"
    assert made["claim_generator_info"][0]["version"] == "9.8"
    assert "thumbnail" not in made
    assert assertion(output, RECIPE) == {
        "settings_sha256": "cd" * 32,
        "faceset_sha256": FACESET,
        "model": "h64",
        "iteration": 1200,
        "target_sha256": sha256_file(target),
    }
    assert assertion(output, LIKENESS)["likenesses"] == [
        {"state": "stated", "basis": "own face", "record_sha256": "ef" * 32},
        {"state": "expired", "basis": "written release", "record_sha256": "01" * 32},
    ]
    opened, edited = assertion(output, "c2pa.actions.v2")["actions"]
    assert (opened["action"], edited["action"]) == ("c2pa.opened", "c2pa.edited")
    assert edited["digitalSourceType"] == COMPOSITE
    assert edited["when"] == "2026-11-20T09:30:00Z"
    roles = {item["relationship"]: item for item in made["ingredients"]}
    assert roles["parentOf"]["instance_id"] == f"urn:sha256:{sha256_file(target)}"
    assert roles["componentOf"]["instance_id"] == f"urn:sha256:{FACESET}"
    labels = {item["label"] for item in roles.values()}
    named = [action["parameters"]["ingredients"][0]["url"].rsplit("/", 1)[1] for action in (opened, edited)]
    assert set(named) == labels
    assert named[0] == roles["parentOf"]["label"]


def test_without_a_target_the_clip_is_created(noise: Maker, identity: Identity, tmp_path: Path) -> None:
    output = tmp_path / "signed.png"
    sign(noise("a.png"), output, identity=identity, version="0.1.0")
    created, _ = assertion(output, "c2pa.actions.v2")["actions"]
    assert created["action"] == "c2pa.created" and created["digitalSourceType"] == COMPOSITE
    assert active_manifest(output).get("ingredients", []) == []
    assert verify(output).likeness == (Disclosure("not stated"),)


def test_credentials_of_the_target_are_kept(noise: Maker, identity: Identity, tmp_path: Path) -> None:
    first, second = tmp_path / "first.mp4", tmp_path / "second.mp4"
    sign(noise("a.mp4"), first, identity=identity, version="0.1.0", title="First title")
    sign(noise("b.mp4"), second, identity=identity, version="0.1.0", parent=first)
    found = verify(second)
    assert found.signed
    assert found.ingredients == (f"Target clip (signed by {identity.name})",)
    with second.open("rb") as file, c2pa.Reader(file) as reader:
        titles = {item.get("title") for item in json.loads(reader.json())["manifests"].values()}
    assert titles == {"First title", "Recaster output"}


def test_a_signed_source_becomes_its_own_parent(noise: Maker, identity: Identity, tmp_path: Path) -> None:
    path = tmp_path / "again.mp4"
    sign(noise("a.mp4"), path, identity=identity, version="0.1.0")
    sign(path, path, identity=identity, version="0.1.0")
    assert verify(path).ingredients == (f"Target clip (signed by {identity.name})",)
    other = sign(path, path, identity=identity, version="0.1.0", parent=noise("b.mp4"))
    assert "replaced" in other.notes[0]
    assert verify(path).ingredients == ("Target clip (without credentials of its own)",)


def test_an_altered_target_is_told(noise: Maker, identity: Identity, tmp_path: Path) -> None:
    first, second = tmp_path / "first.mp4", tmp_path / "second.mp4"
    sign(noise("a.mp4"), first, identity=identity, version="0.1.0")
    data = bytearray(first.read_bytes())
    data[data.index(b"mdat") + 100] ^= 1
    first.write_bytes(data)
    sign(noise("b.mp4"), second, identity=identity, version="0.1.0", parent=first)
    found = verify(second)
    assert found.signed
    assert "but altered after that" in found.ingredients[0]


@pytest.mark.parametrize("content", ["cut", "unknown"])
def test_a_target_that_cannot_be_read_goes_in_by_hash(
    noise: Maker, identity: Identity, tmp_path: Path, content: str
) -> None:
    target = noise("target.mp4")
    sign(target, target, identity=identity, version="0.1.0")
    target.write_bytes(target.read_bytes()[:500] if content == "cut" else b"G" * 400)
    output = tmp_path / "signed.mp4"
    summary = sign(noise("a.mp4"), output, identity=identity, version="0.1.0", parent=target)
    assert bool(summary.notes) == (content == "cut")
    assert verify(output).signed
    assert assertion(output, RECIPE) == {"target_sha256": sha256_file(target)}


def test_no_personal_data_is_in_the_file(noise: Maker, identity: Identity, tmp_path: Path) -> None:
    record = write_record(
        tmp_path / "people" / "Ida Exemplar.toml",
        LikenessRecord(person="Ida Exemplar", basis="written release", scope="Winterfilm", notes="agent Brisk"),
    )
    target = noise("Ida Exemplar take 3.mp4")
    for name in ("out.mp4", "out.jpg", "out.png"):
        output = tmp_path / f"signed {name}"
        told = [disclose(record, date(2026, 11, 20))]
        sign(noise(name), output, identity=identity, version="0.1.0", parent=target, likeness=told)
        data = output.read_bytes()
        assert record.content_hash.encode() in data
        for secret in ("Ida", "Exemplar", "Winterfilm", "Brisk", record.salt, tmp_path.name):
            assert secret.encode() not in data
            assert secret.encode("utf-16-be") not in data


@pytest.mark.parametrize("name", ["plain.mp4", "Zoë 映画 (final) ✨.mp4", "Ω.jpg"])
def test_any_path_works(noise: Maker, identity: Identity, tmp_path: Path, name: str) -> None:
    source = noise(name)
    output = tmp_path / "døssier with space" / name
    sign(source, output, identity=identity, version="0.1.0", parent=source)
    assert verify(output).signed
    assert [path.name for path in output.parent.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a.mp4", "a.png"])
def test_a_full_disk_leaves_nothing(
    noise: Maker, identity: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    class FullDisk(sign_module.OutputFile):
        def __init__(self, file: Any) -> None:
            super().__init__(file)
            self._file = self
            self.written = 0

        def write(self, data: bytes) -> int:
            self.error = OSError(errno.ENOSPC, "No space left on device")
            raise self.error

    output = tmp_path / "out" / name
    output.parent.mkdir()
    output.write_bytes(b"older")
    monkeypatch.setattr(sign_module, "OutputFile", FullDisk)
    with pytest.raises(StorageError, match="disk is full"):
        sign(noise(name), output, identity=identity, version="0.1.0")
    assert [path.name for path in output.parent.iterdir()] == [name]
    assert output.read_bytes() == b"older"


def test_the_stream_remembers_the_disks_refusal(tmp_path: Path) -> None:
    class Refusing:
        read = seek = tell = staticmethod(lambda *_: 0)

        def write(self, data: bytes) -> int:
            raise OSError(errno.ENOSPC, "full")

        flush = write

    stream = sign_module.OutputFile(Refusing())  # type: ignore[arg-type]
    with pytest.raises(OSError, match="full"):
        stream.write(b"x")
    assert stream.error is not None and stream.error.errno == errno.ENOSPC


def test_what_cannot_be_signed_is_refused(noise: Maker, identity: Identity, tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("no film", encoding="utf-8")
    output = tmp_path / "out.mp4"
    with pytest.raises(InputError, match="not a kind of file"):
        sign(text, output, identity=identity, version="0.1.0")
    with pytest.raises(InputError, match="cannot be read"):
        sign(tmp_path / "none.mp4", output, identity=identity, version="0.1.0")
    with pytest.raises(InputError, match="cannot be read"):
        sign(noise("a.mp4"), output, identity=identity, version="0.1.0", parent=tmp_path / "none.mov")
    for name, keep in (("b.mp4", -1), ("b.mov", 300), ("b.jpg", 300), ("b.png", 300)):
        cut = noise(name)
        cut.write_bytes(cut.read_bytes()[:keep])
        with pytest.raises(MediaError, match=r"cannot be signed|cut short"):
            sign(cut, output, identity=identity, version="0.1.0")
    assert not output.exists()


def test_a_certificate_that_cannot_sign_is_named(noise: Maker, identity: Identity, identity_folder: Path) -> None:
    source = noise("a.jpg")
    root_key = (identity_folder / "0001" / "root-key.pem").read_bytes()
    root = replace(identity, chain=known_roots(identity_folder), key=root_key)
    with pytest.raises(InputError, match=r"the certificate cannot sign .*self-signed"):
        sign(source, source.with_name("out.jpg"), identity=root, version="0.1.0")
    assert not source.with_name("out.jpg").exists()


def test_a_full_temporary_folder_is_the_disks_fault() -> None:
    error = sign_module._refusal(Path("a.mp4"), c2pa.C2paError.Io("Io: No space left on device (os error 28)"))
    assert isinstance(error, StorageError) and "temporary files" in error.mend


def test_the_faceset_hash_is_of_the_pictures_alone(noise: Maker, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, names in ((one, "ab"), (two, "yx")):
        folder.mkdir()
        for name, content in zip(names, (b"1", b"2"), strict=True):
            (folder / f"{name}.jpg").write_bytes(content)
    (two / "cache.bin").write_bytes(b"anything")
    assert faceset_hash(one) == faceset_hash(two)
    (two / "x.jpg").write_bytes(b"3")
    assert faceset_hash(one) != faceset_hash(two)
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(MissingError, match="no face pictures"):
            faceset_hash(folder)
