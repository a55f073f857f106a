from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from recaster.errors import MediaError, StorageError, UsageError
from recaster.media.info import probe
from recaster.media.reader import FrameReader
from recaster.media.writer import FrameWriter
from recaster.types import ColorTag

RATE = Fraction(25)


def bars() -> NDArray[np.uint8]:
    """75 % and 100 % colour bars, 16 px wide each."""
    colors = [(b & 4 and 1, b & 2 and 1, b & 1) for b in range(8)]
    row = np.array(colors, bool).repeat(16, 0)
    return np.concatenate([np.tile(row * level, (24, 1, 1)) for level in (191, 255)]).astype(np.uint8)


def write(path: Path, images: list[Any], **options: Any) -> Path:
    height, width = images[0].shape[:2]
    with FrameWriter(path, width=width, height=height, rate=RATE, preset="ultrafast", **options) as writer:
        for image in images:
            writer.write(image)
    return path


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv"])
@pytest.mark.parametrize("codec", ["h264", "h265"])
@pytest.mark.parametrize("matrix", ["bt709", "smpte170m", "bt2020nc"])
def test_color_bars_come_back(tmp_path: Path, name: str, codec: str, matrix: str) -> None:
    tag = ColorTag(matrix, "bt709", "bt709", False)
    path = write(tmp_path / name, [bars()] * 2, color=tag, codec=codec, crf=1)
    with FrameReader(path) as reader:
        assert reader.info.color == tag
        assert reader.info.codec == {"h264": "h264", "h265": "hevc"}[codec]
        image = reader.read(1).image.astype(int)
    assert np.abs(image[12::24, 8::16] - bars()[12::24, 8::16]).max() <= 3


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_full_range_is_kept(tmp_path: Path, codec: str) -> None:
    tag = ColorTag("bt709", "bt709", "bt709", True)
    path = write(tmp_path / "a.mp4", [bars()], color=tag, codec=codec, crf=1)
    with FrameReader(path) as reader:
        assert reader.info.color == tag
        assert np.abs(reader.read(0).image[12::24, 8::16].astype(int) - bars()[12::24, 8::16]).max() <= 3


def test_unknown_colors_are_written_as_bt709(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", [bars()])
    assert probe(path).color == ColorTag("bt709", "bt709", "bt709", False)


@pytest.mark.parametrize(
    ("name", "start"), [("woman_expressions.mp4", 100), ("title_then_man.mov", 120), ("man_smile.mp4", 0)]
)
def test_a_copy_of_a_real_clip_differs_only_by_its_coding(clips: Path, tmp_path: Path, name: str, start: int) -> None:
    copy = tmp_path / f"copy{Path(name).suffix}"
    with FrameReader(clips / name) as reader:
        info = reader.info
        frames = list(reader.frames(start, start + 6))
    with FrameWriter(
        copy,
        width=info.width,
        height=info.height,
        rate=info.rate,
        color=info.color,
        crf=2,
        preset="ultrafast",
        time_base=info.time_base,
    ) as writer:
        for frame in frames:
            writer.write(frame.image, frame.pts - frames[0].pts)
    with FrameReader(copy) as reader:
        assert reader.info.color == info.color
        again = list(reader)
    assert [frame.pts for frame in again] == [frame.pts - frames[0].pts for frame in frames]
    for one, other in zip(again, frames, strict=True):
        error = one.image.astype(int) - other.image
        assert np.abs(error).mean() < 0.6
        assert abs(error.mean()) < 0.1


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv"])
def test_variable_timestamps_are_kept(maker: Any, tmp_path: Path, name: str) -> None:
    base = Fraction(1, 90000)
    ticks = [0, 3003, 7507, 9009, 45045, 45645, 90001]
    with FrameWriter(
        tmp_path / name, width=64, height=48, rate=Fraction(30000, 1001), preset="ultrafast", time_base=base
    ) as writer:
        for number, tick in enumerate(ticks):
            writer.write(maker.numbered(number), tick * base)
    with FrameReader(tmp_path / name) as reader:
        pts = [frame.pts for frame in reader]
        assert reader.info.variable_rate
    tolerance = Fraction(1, 2000) if name == "a.mkv" else 0
    assert all(abs(one - tick * base) <= tolerance for one, tick in zip(pts, ticks, strict=True))


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(25), Fraction(30000, 1001), Fraction(60)])
def test_a_constant_rate_stays_exact(maker: Any, tmp_path: Path, rate: Fraction) -> None:
    with FrameWriter(tmp_path / "a.mp4", width=64, height=48, rate=rate, preset="ultrafast") as writer:
        for number in range(7):
            writer.write(maker.numbered(number))
    info = probe(tmp_path / "a.mp4")
    assert (info.rate, info.duration, info.variable_rate) == (rate, 7 / rate, False)


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv"])
def test_sound_is_copied_bit_for_bit(maker: Any, tmp_path: Path, name: str) -> None:
    source = maker.video("source.mkv", 12, sound=[("aac", "fra"), ("libmp3lame", "jpn")])
    target = write(tmp_path / name, [maker.numbered(i) for i in range(12)], audio_from=source)
    assert [(a.codec, a.language) for a in probe(target).audio] == [("aac", "fra"), ("mp3", "jpn")]
    before, after = maker.audio_packets(source), maker.audio_packets(target)
    assert [[data for data, _ in stream] for stream in before] == [[data for data, _ in stream] for stream in after]
    for one, other in zip(before, after, strict=True):
        assert max(abs(a[1] - b[1]) for a, b in zip(one, other, strict=True)) < Fraction(1, 900)


@pytest.mark.parametrize("name", ["woman_expressions.mp4", "man_smile.mp4", "man_then_title.mov"])
def test_the_sound_of_real_clips_keeps_bytes_and_times(clips: Path, maker: Any, tmp_path: Path, name: str) -> None:
    target = write(tmp_path / "a.mp4", [maker.numbered(0)] * 3, audio_from=clips / name)
    before, after = maker.audio_packets(clips / name), maker.audio_packets(target)
    assert before == after
    assert len(before) == 1


def test_sound_of_a_stream_that_starts_late_moves_with_the_picture(maker: Any, tmp_path: Path) -> None:
    source = maker.video("source.ts", 12, sound=[("aac", "eng")])
    with (
        FrameReader(source) as reader,
        FrameWriter(
            tmp_path / "a.mkv", width=64, height=48, rate=RATE, preset="ultrafast", audio_from=source
        ) as writer,
    ):
        start = reader.info.start
        for frame in reader:
            writer.write(frame.image, frame.pts)
    given, copied = maker.audio_packets(source)[0], maker.audio_packets(tmp_path / "a.mkv")[0]
    assert start > 0
    assert abs((given[0][1] - start) - copied[0][1]) < Fraction(1, 500)


def test_a_source_without_sound_is_no_fault(maker: Any, tmp_path: Path) -> None:
    source = maker.video("silent.mp4", 3)
    assert probe(write(tmp_path / "a.mp4", [maker.numbered(0)], audio_from=source)).audio == ()


def test_sound_that_the_container_cannot_hold(maker: Any, tmp_path: Path) -> None:
    source = maker.sound("song.mkv", "wavpack")
    with pytest.raises(MediaError, match=r"\.mkv") as caught:
        write(tmp_path / "a.mp4", [maker.numbered(0)], audio_from=source)
    assert "wavpack" in str(caught.value)
    assert not list(tmp_path.glob("*a.*mp4*"))
    assert probe(write(tmp_path / "a.mkv", [maker.numbered(0)], audio_from=source)).audio[0].codec == "wavpack"


@pytest.mark.parametrize("size", [(63, 48), (64, 47), (33, 31)])
@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_odd_sizes_stay_exact(maker: Any, tmp_path: Path, size: tuple[int, int], codec: str) -> None:
    image = maker.numbered(3, *size)
    path = write(tmp_path / "a.mp4", [image], codec=codec, crf=1)
    with FrameReader(path) as reader:
        assert (reader.info.width, reader.info.height) == size
        assert np.abs(reader.read(0).image.astype(int) - image).mean() < 2
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        assert (frame.width, frame.height) == size
        assert frame.format.name == "yuv444p"


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_ten_bits(tmp_path: Path, codec: str) -> None:
    ramp = np.linspace(0.2, 0.4, 256, dtype=np.float32)
    image = np.repeat(np.tile(ramp, (64, 1))[..., None], 3, axis=2)
    path = write(tmp_path / "a.mp4", [image] * 2, codec=codec, bit_depth=10, crf=1)
    with FrameReader(path, "float32") as reader:
        assert reader.info.bit_depth == 10
        read = reader.read(1).image
    assert np.abs(read - image).mean() < 0.5 / 876
    assert len(np.unique(read[32, :, 1])) > 120


@pytest.mark.parametrize("frames", [1, 2, 3, 4])
@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_very_short_videos(maker: Any, tmp_path: Path, codec: str, frames: int) -> None:
    images = [maker.numbered(number) for number in range(frames)]
    for attempt in range(3):
        with FrameReader(write(tmp_path / f"{attempt}.mp4", images, codec=codec)) as reader:
            assert [frame.pts for frame in reader] == [number / RATE for number in range(frames)]
            assert reader.info.duration == frames / RATE


def test_index_comes_first_and_quicktime_knows_the_tag(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", [bars()] * 3, codec="h265")
    data = path.read_bytes()
    assert data.find(b"moov") < data.find(b"mdat")
    assert b"hvc1" in data
    assert b"colr" in data


def test_pixel_aspect_is_kept(maker: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", [maker.numbered(0)], pixel_aspect=Fraction(128, 117))
    assert probe(path).pixel_aspect == Fraction(128, 117)


def test_nothing_is_left_after_an_error(maker: Any, tmp_path: Path) -> None:
    path = tmp_path / "ü a.mp4"
    path.write_bytes(b"the old one")
    with pytest.raises(RuntimeError, match="stop"), FrameWriter(path, width=64, height=48, rate=RATE) as writer:
        writer.write(maker.numbered(0))
        assert (tmp_path / ".ü a.part.mp4").exists()
        raise RuntimeError("stop")
    assert [file.name for file in tmp_path.iterdir()] == ["ü a.mp4"]
    assert path.read_bytes() == b"the old one"


def test_a_video_without_frames_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no frame"), FrameWriter(tmp_path / "a.mp4", width=64, height=48, rate=RATE):
        pass
    assert not list(tmp_path.iterdir())


def test_wrong_calls_are_refused(maker: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.webm"):
        FrameWriter(tmp_path / "a.webm", width=64, height=48, rate=RATE)
    with pytest.raises(UsageError, match="av2"):
        FrameWriter(tmp_path / "a.mp4", width=64, height=48, rate=RATE, codec="av2")  # type: ignore[arg-type]
    with (
        pytest.raises(ValueError, match="shape"),
        FrameWriter(tmp_path / "a.mp4", width=64, height=48, rate=RATE) as writer,
    ):
        writer.write(maker.numbered(0, 32, 32))
    with (
        pytest.raises(ValueError, match="not after"),
        FrameWriter(tmp_path / "a.mp4", width=64, height=48, rate=RATE) as writer,
    ):
        writer.write(maker.numbered(0), Fraction(1))
        writer.write(maker.numbered(0), Fraction(1))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("moment", ["write", "close"])
def test_a_full_disk_is_a_storage_error(
    maker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    full = av.error.OSError(errno.ENOSPC, "No space left on device", "x")
    path = tmp_path / "a.mp4"
    with (
        pytest.raises(StorageError, match="disk is full"),
        FrameWriter(path, width=64, height=48, rate=RATE, preset="ultrafast") as writer,
    ):
        writer.write(maker.numbered(0))

        class FullDisk:
            def mux(self, packet: object) -> None:
                if moment == "write":
                    raise full

            def close(self) -> None:
                raise full

        real = writer._container
        monkeypatch.setattr(writer, "_container", FullDisk())
        real.close()
        for number in range(1, 90):
            writer.write(maker.numbered(number))
    assert not list(tmp_path.iterdir())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 40 KiB, where this machine lets us mount one."""
    if sys.platform != "linux":
        pytest.skip("a small disk is mounted the Linux way")
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", str(folder)], capture_output=True, check=False
        )
    except OSError:
        pytest.skip("no mount command")
    if done.returncode:
        pytest.skip(f"may not mount a small disk: {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
@pytest.mark.parametrize("frames", [4, 40])
def test_a_disk_that_fills_up(small_disk: Path, name: str, frames: int) -> None:
    noise = [np.random.default_rng(n).integers(0, 255, (96, 128, 3)).astype(np.uint8) for n in range(frames)]
    with pytest.raises(StorageError, match="disk is full"):
        write(small_disk / name, noise, crf=1)
    assert not list(small_disk.iterdir())
