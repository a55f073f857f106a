"""Tiny videos and pictures, made on the spot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

WIDTH, HEIGHT = 64, 48
FAST = {"preset": "ultrafast", "g": "5", "bf": "2", "crf": "10"}


@dataclass(frozen=True)
class Maker:
    """Makes test media in ``folder``."""

    folder: Path

    def numbered(self, index: int, width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
        """A smooth picture that tells its index (by a bar that moves) and which way is up (by a red corner)."""
        x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
        image = np.stack([60 + 120 * x, 60 + 120 * y, np.full_like(x, 90)], axis=-1)
        bar = (index * 5) % (width - 4)
        image[height // 2 :, bar : bar + 4] = 220
        image[: height // 4, : width // 4] = (230, 40, 40)
        return image.astype(np.uint8)

    def video(
        self,
        name: str,
        frames: int = 12,
        *,
        codec: str = "libx264",
        pixel_format: str = "yuv420p",
        size: tuple[int, int] = (WIDTH, HEIGHT),
        pts: Sequence[int] | None = None,
        options: dict[str, str] | None = None,
        container: dict[str, str] | None = None,
        rotation: float = 0,
        matrix: int = 2,
        color_range: int = 0,
        sound: Sequence[tuple[str, str]] = (),
        picture: Callable[[int], NDArray[np.uint8]] | None = None,
    ) -> Path:
        """A video at 25 frames/s; ``pts`` in 1/25 s; ``sound`` is one (codec, language) a stream of half a second."""
        path = self.folder / name
        with av.open(str(path), "w", container_options=container or {}) as output:
            stream = output.add_stream(codec, rate=Fraction(25), options=FAST if options is None else options)
            stream.width, stream.height, stream.pix_fmt = *size, pixel_format
            stream.codec_context.colorspace, stream.codec_context.color_range = matrix, color_range
            if rotation:
                stream.set_display_rotation(rotation)
            sounds = [_add_sound(output, *one) for one in sound]
            output.start_encoding()
            for one in sounds:
                _write_tone(output, one)
            for index in range(frames):
                image = picture(index) if picture else self.numbered(index, *size)
                frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(
                    format=pixel_format, dst_colorspace=1 if matrix == 1 else 5, dst_color_range=max(1, color_range)
                )
                frame.pts, frame.time_base = pts[index] if pts else index, Fraction(1, 25)
                output.mux(stream.encode(frame))
            output.mux(stream.encode())
        return path

    def sound(self, name: str, codec: str = "aac") -> Path:
        """Half a second of sound without a picture."""
        path = self.folder / name
        with av.open(str(path), "w") as output:
            _write_tone(output, _add_sound(output, codec, "eng"))
        return path

    def remux(self, source: Path, name: str, *, from_key: int = 0, shift: int = 0) -> Path:
        """Copy the packets from the ``from_key``-th keyframe on, ``shift`` frames of 1/25 s earlier."""
        path = self.folder / name
        with (
            av.open(str(source)) as given,
            av.open(str(path), "w", container_options={"avoid_negative_ts": "disabled"} if shift else {}) as output,
        ):
            stream = given.streams.video[0]
            copy = output.add_stream_from_template(stream)
            key = -1
            for packet in given.demux(stream):
                key += packet.is_keyframe
                if packet.size and key >= from_key:
                    ticks = round(Fraction(shift, 25) / packet.time_base)
                    packet.pts, packet.dts, packet.stream = packet.pts - ticks, packet.dts - ticks, copy
                    output.mux(packet)
        return path

    def cut(self, source: Path, share: float) -> Path:
        """The first ``share`` 0..1 of the file's bytes."""
        path = source.with_name(f"cut_{source.name}")
        data = source.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])
        return path

    def audio_packets(self, path: Path) -> list[list[tuple[bytes, Fraction]]]:
        """Per audio stream, each packet's bytes and time in seconds."""
        with av.open(str(path)) as container:
            packets: dict[int, list[tuple[bytes, Fraction]]] = {s.index: [] for s in container.streams.audio}
            for packet in container.demux(container.streams.audio):
                if packet.size:
                    packets[packet.stream.index].append((bytes(packet), packet.pts * packet.time_base))
        return list(packets.values())


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    """Makes videos and sounds in ``tmp_path``."""
    return Maker(tmp_path)


def _add_sound(output: av.container.OutputContainer, codec: str, language: str) -> av.AudioStream:
    stream = output.add_stream(codec, rate=48000, layout="stereo")
    stream.metadata["language"] = language
    return stream


def _write_tone(output: av.container.OutputContainer, stream: av.AudioStream) -> None:
    size = stream.codec_context.frame_size or 1024
    for start in range(0, 24000, size):
        tone = np.sin(np.arange(start, start + size) * 0.05).astype(np.float32) * 0.3
        frame = av.AudioFrame.from_ndarray(np.stack([tone, tone]), "fltp", "stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        output.mux(stream.encode(frame))
    output.mux(stream.encode())
