"""The IPTC digital source type inside an XMP packet: the plain mark that many programs read without C2PA.

Where the packet lies: XMP specification part 3 (a ``uuid`` box in MP4 and MOV, an APP1 segment in JPEG, an ``iTXt``
chunk in PNG). What it says: IPTC Photo Metadata Standard, property Digital Source Type. Metadata that is already in a
packet stays; only an older digital source type is replaced.
"""

from __future__ import annotations

import re
import shutil
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from recaster.errors import MediaError
from recaster.provenance.container import Box, Container, boxes, sniff

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
COMPOSITE = f"{SOURCE_TYPES}compositeWithTrainedAlgorithmicMedia"
"""A real recording with parts made by a trained model: what a replaced face is."""

SYNTHETIC = frozenset(
    SOURCE_TYPES + term
    for term in (
        "compositeWithTrainedAlgorithmicMedia",
        "trainedAlgorithmicMedia",
        "algorithmicMedia",
        "compositeSynthetic",
    )
)
"""The terms that declare a picture to be made by a machine, wholly or in part."""

_BOX_ID = bytes.fromhex("BE7ACFCB97A942E89C71999491E3AFAC")
_JPEG_ID = b"http://ns.adobe.com/xap/1.0/\x00"
_PNG_ID = b"XML:com.adobe.xmp\x00"
_PNG_HEAD = 8
_LARGEST_PACKET = 16 << 20
_LARGEST_SEGMENT = 65533

_DESCRIPTION = (
    '<rdf:Description rdf:about="" xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" '
    'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">'
    f"<Iptc4xmpExt:DigitalSourceType>{COMPOSITE}</Iptc4xmpExt:DigitalSourceType></rdf:Description>"
).encode()
_PACKET = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    + _DESCRIPTION
    + b'</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)
_TERM = re.compile(rb"DigitalSourceType(?:\s*=\s*[\"']|\s+rdf:resource\s*=\s*[\"']|\s*>)\s*([^\s\"'<]+)")
_OLD_TERM = re.compile(
    rb"<(\w+:DigitalSourceType)\b[^>]*?(?:/>|>[^<]*</\1\s*>)|\s\w+:DigitalSourceType\s*=\s*(?:\"[^\"]*\"|'[^']*')"
)


def mark(source: Path, target: Path, container: Container) -> bool:
    """Copy ``source`` to ``target`` with the digital source type in its XMP; the media itself stays as it is.

    False where the container has no place for it: then ``target`` is a plain copy. Raises MediaError for a damaged
    picture, OSError from the disk.
    """
    if digital_source_type(source) == COMPOSITE:
        shutil.copyfile(source, target)
        return True
    if container.boxed:
        return _mark_boxes(source, target)
    if container is Container.JPEG:
        return _mark_jpeg(source, target)
    if container is Container.PNG:
        return _mark_png(source, target)
    shutil.copyfile(source, target)
    return False


def digital_source_type(path: Path) -> str:
    """The IPTC term's address in the file's XMP; empty where there is none. Never fails on a damaged file."""
    packet = _read_packet(path)
    found = _TERM.search(packet or b"")
    return found[1].decode("utf-8", "replace") if found else ""


def _read_packet(path: Path) -> bytes | None:
    container = sniff(path)
    if container is None or not (container.boxed or container in {Container.JPEG, Container.PNG}):
        return None
    if container.boxed:
        return next((packet for _, packet in _packet_boxes(path)), None)
    data = path.read_bytes()
    parts = _jpeg_segments(data) if container is Container.JPEG else _png_chunks(data)
    packet_of = _jpeg_packet if container is Container.JPEG else _png_packet
    packets = (packet_of(data[start:stop]) for start, stop in parts)
    return next((packet for packet in packets if packet is not None), None)


def _merged(packet: bytes | None) -> bytes:
    """The packet with our digital source type in it and no other; a new one where there is none in UTF-8."""
    cleaned = _OLD_TERM.sub(b"", packet or b"")
    place = cleaned.rfind(b"</rdf:RDF>")
    return cleaned[:place] + _DESCRIPTION + cleaned[place:] if place >= 0 else _PACKET


def _packet_boxes(path: Path) -> Iterator[tuple[Box, bytes]]:
    with path.open("rb") as file:
        for box in boxes(file):
            if box.kind != b"uuid" or box.size - box.header > _LARGEST_PACKET:
                continue
            file.seek(box.offset + box.header)
            content = file.read(box.size - box.header)
            if content.startswith(_BOX_ID):
                yield box, content[len(_BOX_ID) :]


def _mark_boxes(source: Path, target: Path) -> bool:
    """Append a box: nothing before it moves, so that every chunk offset in ``moov`` still holds."""
    old = list(_packet_boxes(source))
    shutil.copyfile(source, target)
    with target.open("r+b") as file:
        found = list(boxes(file))
        end = file.seek(0, 2)
        if not found or found[-1].open_ended or found[-1].offset + found[-1].size != end:
            return False
        for box, _ in old:
            file.seek(box.offset + 4)
            file.write(b"free")
        content = _BOX_ID + _merged(old[0][1] if old else None)
        file.seek(end)
        file.write(struct.pack(">I4s", 8 + len(content), b"uuid") + content)
    return True


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Start and stop of the marker segments before the first scan."""
    offset = 2
    while offset + 4 <= len(data) and data[offset] == 0xFF and data[offset + 1] != 0xDA:
        stop = offset + 2 + int.from_bytes(data[offset + 2 : offset + 4], "big")
        if stop > len(data):
            return
        yield offset, stop
        offset = stop


def _jpeg_packet(segment: bytes) -> bytes | None:
    return segment[4 + len(_JPEG_ID) :] if segment[1] == 0xE1 and segment[4:].startswith(_JPEG_ID) else None


def _mark_jpeg(source: Path, target: Path) -> bool:
    data = source.read_bytes()
    segments = list(_jpeg_segments(data))
    if not segments:
        raise MediaError("the picture is damaged or cut short", where=source, mend="Write it again, then sign it.")
    old = [(span, packet) for span in segments if (packet := _jpeg_packet(data[slice(*span)])) is not None]
    # JFIF and Exif want to be first, the packet follows them.
    leading = [stop for start, stop in segments if data[start + 1] == 0xE0 or data[start + 4 : start + 8] == b"Exif"]
    start, stop = old[0][0] if old else (max(leading, default=2),) * 2
    content = _JPEG_ID + _merged(old[0][1] if old else None)
    if 2 + len(content) > _LARGEST_SEGMENT:
        shutil.copyfile(source, target)
        return False
    segment = b"\xff\xe1" + struct.pack(">H", 2 + len(content)) + content
    target.write_bytes(data[:start] + segment + data[stop:])
    return True


def _png_chunks(data: bytes) -> Iterator[tuple[int, int]]:
    """Start and stop of the chunks: 4 bytes length, 4 type, content, 4 checksum."""
    offset = _PNG_HEAD
    while offset + 12 <= len(data):
        stop = offset + 12 + int.from_bytes(data[offset : offset + 4], "big")
        if stop > len(data):
            return
        yield offset, stop
        offset = stop


def _png_packet(chunk: bytes) -> bytes | None:
    content = chunk[8:-4]
    if chunk[4:8] != b"iTXt" or not content.startswith(_PNG_ID):
        return None
    packed = content[len(_PNG_ID)] if len(content) > len(_PNG_ID) else 0
    fields = content[len(_PNG_ID) + 2 :].split(b"\x00", 2)  # language, translated keyword, text
    if len(fields) < 3:
        return None
    if not packed:
        return fields[2]
    try:
        return zlib.decompressobj().decompress(fields[2], _LARGEST_PACKET)
    except zlib.error:
        return None


def _mark_png(source: Path, target: Path) -> bool:
    data = source.read_bytes()
    chunks = list(_png_chunks(data))
    if not chunks:
        raise MediaError("the picture is damaged or cut short", where=source, mend="Write it again, then sign it.")
    old = [(span, packet) for span in chunks if (packet := _png_packet(data[slice(*span)])) is not None]
    start, stop = old[0][0] if old else (chunks[0][1],) * 2
    body = b"iTXt" + _PNG_ID + b"\x00\x00\x00\x00" + _merged(old[0][1] if old else None)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    target.write_bytes(data[:start] + chunk + data[stop:])
    return True
