from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from recaster.errors import Interrupted, MediaError, UsageError
from recaster.faces.faceset import FaceSet
from recaster.geometry.framing import align
from recaster.media.info import probe
from recaster.media.pictures import read_picture, write_picture
from recaster.media.reader import FrameReader
from recaster.merge.settings import MergeSettings, OutputOptions
from recaster.merge.stream import MergeSummary, merge_clip
from recaster.progress import Recorded
from recaster.swap.identity import IdentitySwapper
from recaster.swap.swapper import Descriptor
from recaster.types import Face, Framing, Landmarks, Pose, SwapOutput

COUNT, WIDTH, HEIGHT = 12, 160, 120
FAST = OutputOptions(crf=1, preset="ultrafast")
PLAIN = MergeSettings(color_transfer="none")
Points = Callable[..., np.ndarray]


class Inverter:
    """Turns a face into its negative; remembers how many crops it got at once."""

    descriptor = Descriptor("inverter", "test", 64, Framing.FULL, learned_mask=False)

    def __init__(self) -> None:
        self.batches: list[int] = []

    def swap(self, crops: np.ndarray) -> SwapOutput:
        self.batches.append(len(crops))
        return SwapOutput(1 - crops)


def make_clip(path: Path, *, sound: bool = False, times: list[Fraction] | None = None) -> Path:
    """A grey clip that brightens by 8 a frame, at 25 frames a second unless ``times`` (seconds) are given."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"crf": "1", "preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.time_base = video.codec_context.time_base = Fraction(1, 1000)
        noise = container.add_stream("aac", rate=48000, layout="mono") if sound else None
        for index in range(COUNT):
            image = np.full((HEIGHT, WIDTH, 3), 60 + 8 * index, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = int((times[index] if times else Fraction(index, 25)) * 1000)
            frame.time_base = Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if noise is not None:
            wave = np.random.default_rng(0).normal(0, 0.1, (1, COUNT * 1920)).astype(np.float32)
            samples = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            samples.sample_rate = 48000
            container.mux(noise.encode(samples))
            container.mux(noise.encode())
    return path


def add_face(faces: FaceSet, frame: str, points: np.ndarray, source: str = "") -> None:
    face = Face(frame, (0, 0, 1, 1), Landmarks(points), Pose(0, 0, 0), align(points, Framing.FULL, 32))
    faces.add(face, np.zeros((32, 32, 3), np.uint8), source=source, source_size=(WIDTH, HEIGHT))


def audio_packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "target.mp4")


@pytest.fixture
def faces(tmp_path: Path, face_points: Points) -> FaceSet:
    """A face in all frames but 1, 5 and 12; frame 8 has two."""
    faceset = FaceSet(tmp_path / "faces")
    for index in range(COUNT):
        if index not in {0, 4, 11}:
            add_face(faceset, f"{index + 1:05d}", face_points(55, 60, 50), "target.mp4")
    add_face(faceset, "00008", face_points(125, 60, 30), "target.mp4")
    return faceset


@pytest.fixture
def merge(clip: Path, faces: FaceSet, tmp_path: Path) -> Callable[..., MergeSummary]:
    def run(**changes: object) -> MergeSummary:
        call = {
            "target": clip,
            "faces": faces,
            "swapper": Inverter(),
            "settings": PLAIN,
            "output": tmp_path / "result.mp4",
            "output_options": FAST,
            **changes,
        }
        return merge_clip(**call)  # type: ignore[arg-type]

    return run


def pictures(path: Path) -> list[np.ndarray]:
    return [frame.image for frame in FrameReader(path)]


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_faces_are_replaced_where_there_are_some(merge: Callable[..., MergeSummary], clip: Path, batch: int) -> None:
    summary = merge(batch=batch)
    assert (summary.frames, summary.faces, summary.frames_without_faces) == (12, 10, 3)
    assert summary.unreadable == () and summary.notes == () and summary.frames_per_second > 0
    for index, (image, before) in enumerate(zip(pictures(summary.output), pictures(clip), strict=True)):
        grey = int(before[0, 0, 0])
        expected = grey if index in {0, 4, 11} else 255 - grey
        assert abs(int(image[60, 55, 1]) - expected) <= 4, f"frame {index}"
        assert np.abs(image[5, 5].astype(int) - before[5, 5]).max() <= 2
        second = image[60, 125, 1]
        assert abs(int(second) - (255 - grey if index == 7 else grey)) <= 4


def test_faces_are_predicted_in_batches(merge: Callable[..., MergeSummary]) -> None:
    swapper = Inverter()
    merge(swapper=swapper, batch=4)
    assert sum(swapper.batches) == 10
    assert max(swapper.batches) == 4 and len(swapper.batches) <= 4


def test_the_batch_size_does_not_change_the_pictures(merge: Callable[..., MergeSummary], tmp_path: Path) -> None:
    outputs = [merge(batch=batch, output=tmp_path / f"out{batch}").output for batch in (1, 5)]
    files = [sorted(folder.iterdir()) for folder in outputs]
    assert [path.name for path in files[0]] == [f"{index + 1:05d}.png" for index in range(COUNT)]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]


def test_frames_without_faces_reach_a_folder_untouched(
    merge: Callable[..., MergeSummary], clip: Path, tmp_path: Path
) -> None:
    merge(output=tmp_path / "pngs")
    before = pictures(clip)
    for index in (0, 4, 11):
        assert np.array_equal(read_picture(tmp_path / "pngs" / f"{index + 1:05d}.png"), before[index])


def test_sound_is_copied_bit_for_bit(merge: Callable[..., MergeSummary], tmp_path: Path) -> None:
    target = make_clip(tmp_path / "with sound.mp4", sound=True)
    summary = merge(target=target)
    assert len(audio_packets(target)) > 10
    assert audio_packets(summary.output) == audio_packets(target)


def test_a_clip_without_sound_stays_without(merge: Callable[..., MergeSummary]) -> None:
    assert probe(merge().output).audio == ()


def test_uneven_timestamps_are_kept_exactly(merge: Callable[..., MergeSummary], tmp_path: Path) -> None:
    times = [Fraction(t, 1000) for t in (0, 33, 71, 104, 200, 233, 240, 300, 431, 500, 777, 800)]
    target = make_clip(tmp_path / "uneven.mp4", times=times)
    summary = merge(target=target)
    assert [frame.pts for frame in FrameReader(summary.output)] == times


def test_color_tags_are_kept(merge: Callable[..., MergeSummary], clip: Path) -> None:
    assert probe(merge().output).color.matrix == probe(clip).color.matrix


def test_any_unicode_path(merge: Callable[..., MergeSummary], tmp_path: Path, clip: Path) -> None:
    target = clip.rename(tmp_path / "Zieläufnahme 目標 🎬.mp4")
    summary = merge(target=target, output=tmp_path / "fertig äöü 完" / "résultat 🎞.mp4")
    assert summary.frames == COUNT and summary.faces == 10
    assert len(FrameReader(summary.output)) == COUNT


def test_a_folder_of_pictures_becomes_a_video(merge: Callable[..., MergeSummary], clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    for frame in FrameReader(clip):
        write_picture(folder / f"{frame.name}.png", frame.image)
    summary = merge(target=folder, output_options=OutputOptions(preset="ultrafast", rate=12.5))
    info = probe(summary.output)
    assert (summary.faces, info.frames, info.rate) == (10, COUNT, Fraction(25, 2))
    assert probe(merge(target=folder).output).rate == 25


def test_interruption_leaves_no_file_and_the_old_result(merge: Callable[..., MergeSummary], tmp_path: Path) -> None:
    class Impatient(Recorded):
        def advance(self, count: int = 1, **figures: float) -> None:
            super().advance(count)
            if self.done == 5:
                raise Interrupted("stopped")

    before = {path.name for path in tmp_path.iterdir()}
    with pytest.raises(Interrupted):
        merge(progress=Impatient())
    assert {path.name for path in tmp_path.iterdir()} == before
    result = tmp_path / "result.mp4"
    result.write_bytes(b"an earlier result")
    with pytest.raises(Interrupted):
        merge(progress=Impatient())
    assert result.read_bytes() == b"an earlier result"
    assert {path.name for path in tmp_path.iterdir()} == before | {"result.mp4"}
    merge()
    assert probe(result).frames == COUNT


def test_a_failing_swapper_leaves_no_file(merge: Callable[..., MergeSummary], tmp_path: Path) -> None:
    class Broken(Inverter):
        def swap(self, crops: np.ndarray) -> SwapOutput:
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        merge(swapper=Broken())
    assert not [path for path in tmp_path.iterdir() if "result" in path.name]


def test_progress_counts_frames(merge: Callable[..., MergeSummary]) -> None:
    progress = Recorded()
    merge(progress=progress)
    assert progress.stages == ["merge"] and progress.done == COUNT


def test_faces_of_other_clips_are_left_out_with_a_note(
    merge: Callable[..., MergeSummary], faces: FaceSet, face_points: Points
) -> None:
    add_face(faces, "00001", face_points(55, 60, 50), "another scene.mp4")
    add_face(faces, "00999", face_points(55, 60, 50), "target.mp4")
    progress = Recorded()
    summary = merge(progress=progress)
    assert summary.faces == 10
    assert len(summary.notes) == 1 and summary.notes[0].startswith("2 faces")
    assert progress.notes == list(summary.notes)


def test_a_renamed_target_keeps_its_faces(merge: Callable[..., MergeSummary], clip: Path, tmp_path: Path) -> None:
    assert merge(target=clip.rename(tmp_path / "renamed.mp4")).faces == 10


def test_a_faceset_without_a_match_is_told(merge: Callable[..., MergeSummary], tmp_path: Path) -> None:
    summary = merge(faces=FaceSet(tmp_path / "nothing"))
    assert (summary.frames, summary.faces, summary.frames_without_faces) == (COUNT, 0, COUNT)
    assert len(summary.notes) == 1 and "no face" in summary.notes[0]


def test_faces_found_in_another_size_are_told(
    merge: Callable[..., MergeSummary], tmp_path: Path, face_points: Points
) -> None:
    faces = FaceSet(tmp_path / "large")
    points = face_points(55, 60, 50)
    face = Face("00002", (0, 0, 1, 1), Landmarks(points), Pose(0, 0, 0), align(points, Framing.FULL, 32))
    faces.add(face, np.zeros((32, 32, 3), np.uint8), source="target.mp4", source_size=(1920, 1080))
    assert "1920 × 1080" in merge(faces=faces).notes[0]


def test_unusable_landmarks_cost_only_their_face(
    merge: Callable[..., MergeSummary], faces: FaceSet, face_points: Points
) -> None:
    alignment = align(face_points(55, 60, 50), Framing.FULL, 32)
    collapsed = Landmarks(np.full((68, 2), 7, np.float32))
    faces.add(Face("00001", (0, 0, 1, 1), collapsed, Pose(0, 0, 0), alignment), np.zeros((32, 32, 3), np.uint8))
    summary = merge()
    assert summary.faces == 10
    assert len(summary.notes) == 1 and "00001_0.jpg" in summary.notes[0]


def test_a_damaged_picture_is_listed_and_the_rest_is_merged(
    merge: Callable[..., MergeSummary], clip: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "frames"
    for frame in FrameReader(clip):
        write_picture(folder / f"{frame.name}.png", frame.image)
    (folder / "00003.png").write_bytes(b"no picture")
    summary = merge(target=folder)
    assert summary.frames == COUNT - 1 and len(summary.unreadable) == 1
    assert "00003" in summary.unreadable[0][0]
    times = [frame.pts * 25 for frame in FrameReader(summary.output)]
    assert times == [0, 1, *range(3, COUNT)]


def test_ten_bit_video_stays_ten_bit(merge: Callable[..., MergeSummary], tmp_path: Path) -> None:
    target = tmp_path / "deep.mp4"
    with av.open(str(target), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p10le"
        for _ in range(3):
            plane = np.tile(np.linspace(0, 65535, WIDTH).astype(np.uint16)[None, :, None], (HEIGHT, 1, 3))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(plane, format="rgb48le")))
        container.mux(stream.encode())
    summary = merge(target=target)
    info = probe(summary.output)
    assert (info.bit_depth, summary.faces) == (10, 2)
    before, after = (next(iter(FrameReader(path, "float32"))).image for path in (target, summary.output))
    assert np.abs(before - after).mean() < 1 / 1000


def test_calls_that_cannot_work(merge: Callable[..., MergeSummary], clip: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="itself"):
        merge(output=clip)
    with pytest.raises(UsageError, match="learned"):
        merge(settings=MergeSettings(mask="learned"))
    with pytest.raises(UsageError, match=r"\.avi"):
        merge(output=tmp_path / "result.avi")
    with pytest.raises(MediaError):
        merge(target=tmp_path / "missing.mp4")


def test_learned_masks_of_the_swapper_are_used(merge: Callable[..., MergeSummary], tmp_path: Path) -> None:
    swapper = IdentitySwapper(64, ellipse=True)
    summary = merge(swapper=swapper, settings=MergeSettings(mask="learned"), output=tmp_path / "same")
    assert summary.faces == 10


def test_a_real_clip_goes_through(
    merge: Callable[..., MergeSummary], clips: Path, tmp_path: Path, face_points: Points
) -> None:
    target = clips / "man_in_car_176x144.mp4"
    faces = FaceSet(tmp_path / "real")
    for index in range(0, 60, 2):
        add_face(faces, f"{index + 1:05d}", face_points(88 + index / 4, 70, 40), target.name)
    summary = merge(target=target, faces=faces, settings=MergeSettings(mode="seamless"), swapper=IdentitySwapper())
    source, result = FrameReader(target), FrameReader(summary.output)
    assert summary.faces == 30 and len(source) == len(result) == summary.frames
    worst = max(np.abs(a.image.astype(int) - b.image).mean() for a, b in zip(source, result, strict=True))
    assert worst < 2
    assert [frame.pts for frame in source] == [frame.pts for frame in result]
