from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import av
import c2pa
import pytest
from hypothesis import given, settings, strategies as st

from recaster.errors import InputError
from recaster.provenance import certificate, verify as verify_module
from recaster.provenance.certificate import LEAF_LIFE, Identity, known_roots, local_identity
from recaster.provenance.container import boxes
from recaster.provenance.likeness import Disclosure
from recaster.provenance.manifest import LIKENESS, Recipe, library_settings
from recaster.provenance.sign import sign
from recaster.provenance.verify import EXIT_CODES, verify
from recaster.provenance.xmp import COMPOSITE, SOURCE_TYPES

Maker = Callable[..., Path]
Signer = Callable[..., Path]


@pytest.fixture
def signed(noise: Maker, identity: Identity) -> Signer:
    """Makes a signed clip or picture called ``name``."""

    def make(name: str) -> Path:
        path = noise(name)
        sign(
            path,
            path,
            identity=identity,
            version="0.1.0",
            recipe=Recipe(faceset_sha256="ab" * 32),
            likeness=[Disclosure("stated", "own face", "cd" * 32)],
            when=datetime(2026, 11, 20, tzinfo=UTC),
        )
        return path

    return make


def media_bytes(path: Path) -> tuple[int, int]:
    """First and last byte of the media data."""
    if path.suffix in {".mp4", ".mov"}:
        with path.open("rb") as file:
            box = next(box for box in boxes(file) if box.kind == b"mdat")
        return box.offset + box.header, box.offset + box.size - 1
    data = path.read_bytes()
    start = data.index(b"IDAT") + 4 if path.suffix == ".png" else data.rindex(b"\xff\xda") + 14
    return start, len(data) - 20


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.jpg", "a.png"])
def test_any_changed_media_byte_is_an_alteration(signed: Signer, name: str) -> None:
    path = signed(name)
    whole = path.read_bytes()
    first, last = media_bytes(path)
    chance = random.Random(name)
    for _ in range(20):
        data = bytearray(whole)
        data[chance.randint(first, last)] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        found = verify(path)
        assert found.state == "altered"
        assert found.problems
    path.write_bytes(whole)
    assert verify(path).state == "signed"


def test_the_mark_in_the_metadata_is_signed_too(signed: Signer) -> None:
    path = signed("a.mp4")
    data = path.read_bytes()
    path.write_bytes(data.replace(COMPOSITE.encode(), f"{SOURCE_TYPES}digitalCapture".ljust(len(COMPOSITE)).encode()))
    assert verify(path).altered


@given(seed=st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_changes_anywhere_give_a_verdict(
    seed: int, identity: Identity, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """In the manifest, in boxes' headers, in padding: never a crash, and never "unsigned"."""
    path = tmp_path_factory.getbasetemp() / "anywhere.mp4"
    whole = path.with_suffix(".whole")
    if not whole.exists():
        with av.open(str(path), "w") as output:
            stream = output.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
            output.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
            output.mux(stream.encode(None))
        sign(path, whole, identity=identity, version="0.1.0")
    data = bytearray(whole.read_bytes())
    chance = random.Random(seed)
    data[chance.randrange(12, len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    assert verify(path).state in {"signed", "altered"}


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.jpg", "a.png"])
@pytest.mark.parametrize("tail", [b"x", b"\0" * 100, b"\xff\xd9" * 9])
def test_appended_bytes_are_an_alteration(signed: Signer, name: str, tail: bytes) -> None:
    path = signed(name)
    path.write_bytes(path.read_bytes() + tail)
    assert verify(path).altered


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.jpg", "a.png"])
@pytest.mark.parametrize("share", [0.999, 0.7, 0.4])
def test_a_cut_file_is_altered(signed: Signer, name: str, share: float) -> None:
    path = signed(name)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    found = verify(path)
    assert found.altered
    assert found.exit_code == 4
    assert found.explain()[0].startswith("Altered")


def test_a_cut_file_that_was_never_signed_is_unsigned_and_damaged(noise: Maker) -> None:
    path = noise("a.mp4")
    path.write_bytes(path.read_bytes()[:-9])
    found = verify(path)
    assert found.state == "unsigned"
    assert "cut short" in " ".join(found.explain())


def test_a_new_encoding_is_unsigned(signed: Signer, tmp_path: Path) -> None:
    path, again = signed("a.mp4"), tmp_path / "again.mp4"
    with av.open(str(path)) as source, av.open(str(again), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for frame in source.decode(video=0):
            frame.pts = None
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    found = verify(again)
    assert (found.state, found.exit_code, found.synthetic) == ("unsigned", 3, False)
    assert "proves nothing" in " ".join(found.explain())


def test_a_stripped_manifest_leaves_the_mark(signed: Signer) -> None:
    path = signed("a.png")
    data = path.read_bytes()
    start = data.index(b"caBX") - 4
    length = int.from_bytes(data[start : start + 4], "big")
    path.write_bytes(data[:start] + data[start + 12 + length :])
    found = verify(path)
    assert found.state == "unsigned"
    assert found.synthetic
    assert "Synthetic" in " ".join(found.explain())


def test_a_broken_manifest_header_is_not_taken_for_none(signed: Signer) -> None:
    path = signed("a.mp4")
    data = path.read_bytes()
    path.write_bytes(data.replace(bytes.fromhex("d8fec3d61b0e483c92975828877ec481"), b"\0" * 16, 1))
    assert verify(path).altered


def test_the_report_in_full(signed: Signer, identity: Identity, identity_folder: Path) -> None:
    path = signed("a.mov")
    found = verify(path)
    assert found.signed and not found.altered and found.synthetic
    assert found.exit_code == EXIT_CODES["signed"] == 0
    assert found.signer == identity.name
    assert found.trusted is None and "no list" in found.trust_reason
    assert found.software == "Recaster 0.1.0"
    assert found.when == "2026-11-20T00:00:00Z"
    assert found.likeness == (Disclosure("stated", "own face", "cd" * 32),)
    lines = found.explain()
    assert lines[0] == "Signed: the file is as it was when it was signed."
    assert "Likeness: stated (own face)." in lines
    assert all("\n" not in line for line in lines)
    assert verify(path, roots=known_roots(identity_folder)).trusted is True


def test_a_strangers_signature_is_whole_but_unknown(signed: Signer, tmp_path: Path) -> None:
    local_identity(tmp_path / "mine")
    found = verify(signed("a.jpg"), roots=known_roots(tmp_path / "mine"))
    assert found.state == "signed"
    assert found.trusted is False
    assert "unknown signer" in found.trust_reason


def test_an_expired_certificate_is_no_alteration(noise: Maker, tmp_path: Path) -> None:
    ends = datetime.now(UTC) + timedelta(seconds=3)
    path = noise("a.jpg")
    # Made as if two years ago, through the private maker: local_identity would renew so late a leaf.
    certificate._make_generation(tmp_path / "id" / "0001", None, ends - LEAF_LIFE)
    sign(path, path, identity=certificate._read_local(tmp_path / "id" / "0001"), version="0.1.0")
    time.sleep(max(0.0, (ends - datetime.now(UTC)).total_seconds()) + 1)
    found = verify(path)
    assert found.state == "signed"
    assert "run out" in found.trust_reason
    data = bytearray(path.read_bytes())
    data[-30] ^= 1
    path.write_bytes(data)
    assert verify(path).altered


def test_other_programs_credentials_are_read(noise: Maker, identity: Identity, tmp_path: Path) -> None:
    """Another generator, odd words in it, a likeness assertion that is not ours."""
    path = tmp_path / "foreign.jpg"
    actions = [{"action": "c2pa.created", "digitalSourceType": f"{SOURCE_TYPES}trainedAlgorithmicMedia"}]
    definition = {
        "claim_generator_info": [{"name": "Other\x1b[31m program"}],
        "title": "x",
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": actions}},
            {"label": LIKENESS, "data": {"likenesses": ["?", {"state": "blessed"}]}},
        ],
    }
    info = c2pa.C2paSignerInfo(identity.algorithm, identity.chain, identity.key, None)
    with (
        c2pa.Signer.from_info(info) as signer,
        c2pa.Context.from_dict(library_settings()) as context,
        c2pa.Builder(definition, context) as builder,
        noise("a.jpg").open("rb") as source,
        path.open("w+b") as output,
    ):
        builder.sign(signer, "image/jpeg", source, output)
    found = verify(path)
    assert found.signed and found.synthetic
    assert found.software == "Other[31m program"
    assert found.likeness == ()


def test_credentials_on_the_network_are_not_fetched(noise: Maker, identity: Identity, tmp_path: Path) -> None:
    path = tmp_path / "remote.jpg"
    definition = {
        "claim_generator_info": [{"name": "Other"}],
        "assertions": [
            {
                "label": "c2pa.actions.v2",
                "data": {"actions": [{"action": "c2pa.created", "digitalSourceType": COMPOSITE}]},
            }
        ],
    }
    info = c2pa.C2paSignerInfo(identity.algorithm, identity.chain, identity.key, None)
    with (
        c2pa.Signer.from_info(info) as signer,
        c2pa.Context.from_dict(library_settings()) as context,
        c2pa.Builder(definition, context) as builder,
        noise("a.jpg").open("rb") as source,
        path.open("w+b") as output,
    ):
        builder.set_no_embed()
        builder.set_remote_url("http://127.0.0.1:9/none.c2pa")
        builder.sign(signer, "image/jpeg", source, output)
    found = verify(path)
    assert found.state == "unsigned"
    assert "not fetched" in found.problems[0]


def test_a_torn_sidecar_is_an_alteration(signed: Signer) -> None:
    path = signed("a.mkv")
    sidecar = path.with_name("a.mkv.c2pa")
    assert verify(path).signed
    renamed = sidecar.rename(path.with_name("a.c2pa"))
    assert verify(path).sidecar == renamed
    renamed.write_bytes(renamed.read_bytes()[:200])
    assert verify(path).altered
    renamed.unlink()
    assert verify(path).state == "unsigned"


def test_what_is_no_media_is_an_input_error(tmp_path: Path) -> None:
    text, empty = tmp_path / "a.mp4", tmp_path / "b.mp4"
    text.write_text("words and words and words", encoding="utf-8")
    empty.write_bytes(b"")
    for path, words in (
        (text, "not a video"),
        (empty, "empty"),
        (tmp_path / "c.mp4", "cannot be read"),
        (tmp_path, "cannot be read"),
    ):
        with pytest.raises(InputError, match=words):
            verify(path)


def test_every_state_has_an_exit_code_and_a_headline() -> None:
    assert set(EXIT_CODES) == set(verify_module._HEADLINES) == {"signed", "unsigned", "altered"}
    assert len(set(EXIT_CODES.values())) == 3
