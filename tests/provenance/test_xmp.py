from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from recaster.errors import MediaError
from recaster.provenance import xmp
from recaster.provenance.container import Container, boxes, sniff
from recaster.provenance.xmp import COMPOSITE, SOURCE_TYPES, digital_source_type, mark

Maker = Callable[..., Path]
OTHER = (
    b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    b'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    b'Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture">'
    b"<dc:format>kept</dc:format></rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end='w'?>"
)


@pytest.mark.parametrize(
    ("name", "container"),
    [("a.mp4", Container.MP4), ("a.mov", Container.MOV), ("a.jpg", Container.JPEG), ("a.png", Container.PNG)],
)
def test_a_mark_can_be_read_and_leaves_the_picture(
    noise: Maker, frames_of: Callable[[Path], list[np.ndarray]], name: str, container: Container
) -> None:
    source = noise(name)
    target = source.with_name(f"marked {name}")
    assert sniff(source) is container
    assert digital_source_type(source) == ""
    assert mark(source, target, container)
    assert digital_source_type(target) == COMPOSITE
    before, after = frames_of(source), frames_of(target)
    assert len(before) == len(after) > 0
    assert all(np.array_equal(one, two) for one, two in zip(before, after, strict=True))


def test_a_second_mark_adds_nothing(noise: Maker, tmp_path: Path) -> None:
    once, twice = tmp_path / "1.mp4", tmp_path / "2.mp4"
    mark(noise("a.mp4"), once, Container.MP4)
    assert mark(once, twice, Container.MP4)
    assert twice.read_bytes() == once.read_bytes()


def with_packet(source: Path, packet: bytes) -> None:
    """Put a foreign packet where each container has it."""
    data = source.read_bytes()
    if source.suffix == ".mp4":
        content = b"uuid" + xmp._BOX_ID + packet
        source.write_bytes(data + struct.pack(">I", 4 + len(content)) + content)
    elif source.suffix == ".jpg":
        content = b"http://ns.adobe.com/xap/1.0/\x00" + packet
        source.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(content)) + content + data[2:])
    else:
        body = b"iTXtXML:com.adobe.xmp\x00\x01\x00\x00\x00" + zlib.compress(packet)
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        source.write_bytes(data[:33] + chunk + data[33:])


@pytest.mark.parametrize("name", ["a.mp4", "a.jpg", "a.png"])
def test_foreign_metadata_stays_and_the_old_type_goes(noise: Maker, tmp_path: Path, name: str) -> None:
    source, target = noise(name), tmp_path / f"marked {name}"
    with_packet(source, OTHER)
    assert digital_source_type(source) == f"{SOURCE_TYPES}digitalCapture"
    container = sniff(source)
    assert container and mark(source, target, container)
    packet = xmp._read_packet(target)
    assert packet is not None and b"<dc:format>kept</dc:format>" in packet
    assert b"digitalCapture" not in packet
    assert digital_source_type(target) == COMPOSITE
    ElementTree.fromstring(packet)


def test_packets_are_well_formed() -> None:
    for packet in (xmp._merged(None), xmp._merged(OTHER), xmp._merged(b"\xff\xfe<\x00")):
        root = ElementTree.fromstring(packet)
        found = root.iter("{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType")
        assert [element.text for element in found] == [COMPOSITE]


@pytest.mark.parametrize(
    "text",
    [
        b'<x Iptc4xmpExt:DigitalSourceType="%s"/>',
        b"<x p:DigitalSourceType = '%s'/>",
        b"<p:DigitalSourceType>%s</p:DigitalSourceType>",
        b"<p:DigitalSourceType rdf:resource='%s'/>",
    ],
)
def test_every_spelling_is_read_and_replaced(text: bytes) -> None:
    spelled = text % b"http://cv.iptc.org/newscodes/digitalsourcetype/print"
    found = xmp._TERM.search(spelled)
    assert found and found[1].endswith(b"/print")
    assert b"/print" not in xmp._OLD_TERM.sub(b"", spelled)


@given(
    data=st.binary(max_size=300), head=st.sampled_from([b"\xff\xd8\xff\xe1", b"\x89PNG\r\n\x1a\n", b"\0\0\0\x08ftyp"])
)
@settings(max_examples=200, deadline=None)
def test_reading_damaged_files_never_fails(data: bytes, head: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(head + data)
    assert isinstance(digital_source_type(path), str)


def test_damaged_pictures_are_refused(tmp_path: Path) -> None:
    for name, data, container in [
        ("a.jpg", b"\xff\xd8\xff\xe1\xff\xff", Container.JPEG),
        ("a.png", b"\x89PNG\r\n\x1a\n\0\0", Container.PNG),
    ]:
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(MediaError, match="damaged"):
            mark(path, tmp_path / f"marked {name}", container)


def test_an_open_ended_file_is_left_alone(noise: Maker, tmp_path: Path) -> None:
    source, target = tmp_path / "open.mp4", tmp_path / "marked.mp4"
    data = noise("a.mp4").read_bytes()
    source.write_bytes(data + b"\0\0\0\0mdatrest")
    assert not mark(source, target, Container.MP4)
    assert target.read_bytes() == source.read_bytes()


def test_boxes_with_long_sizes_are_walked(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"\0\0\0\x0cftypisom" + struct.pack(">I4sQ", 1, b"mdat", 20) + b"abcd" + b"\0\0\0\x09freeX")
    with path.open("rb") as file:
        assert [(box.kind, box.offset, box.size, box.header) for box in boxes(file)] == [
            (b"ftyp", 0, 12, 8),
            (b"mdat", 12, 20, 16),
            (b"free", 32, 9, 8),
        ]
