"""What is said about each kind of path."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from recaster.errors import InputError, MissingError, RecordError
from recaster.media.pictures import write_picture
from recaster.project.info import describe


def test_a_workspace(finished_film: Path) -> None:
    found = describe(finished_film)
    assert (found["kind"], found["path"]) == ("workspace", finished_film)
    assert found["src"] == {
        "clip": finished_film / "data_src.mp4",
        "likeness": "stated (own face)",
        "faces": 12,
    }
    assert found["dst"]["likeness"] == "stated (written release)"
    assert list(found["models"]) == ["mini"]
    assert found["models"]["mini"]["newest"]["iteration"] == 6
    assert found["options"]["train"]["mini"]["iterations"] == 6
    assert found["result"] == finished_film / "result.mp4"


def test_a_video(finished_film: Path) -> None:
    found = describe(finished_film / "data_dst.mp4")
    assert (found["kind"], found["size"], found["frames"], found["variable rate"]) == ("video", "640 x 360", 12, False)
    assert found["codec"] == "h264, yuv420p, 8 bit"
    assert found["audio"] == ["mp3float 44100 Hz, 2 channels"] or len(found["audio"]) == 1


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    for number in range(2):
        write_picture(tmp_path / f"{number}.png", np.zeros((20, 30, 3), np.uint8))
    found = describe(tmp_path)
    assert (found["kind"], found["size"], found["frames"]) == ("pictures", "30 x 20", 2)


def test_a_faceset_and_the_strangers_in_it(finished_film: Path, tmp_path: Path) -> None:
    folder = tmp_path / "faces"
    shutil.copytree(finished_film / "data_dst" / "aligned", folder)
    (folder / "torn.jpg").write_bytes((folder / "00001_0.jpg").read_bytes()[:300])
    found = describe(folder)
    assert (found["kind"], found["faces"], found["frames"], found["sizes"]) == ("faceset", 12, 12, [256])
    assert found["sources"] == ["data_dst.mp4"]
    assert [line.split(":")[0] for line in found["not faces"]] == ["torn.jpg"]


def test_a_face(finished_film: Path, tmp_path: Path) -> None:
    path = tmp_path / "renamed.jpg"
    shutil.copy(finished_film / "data_dst" / "aligned" / "00004_0.jpg", path)
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    found = describe(path)
    assert (found["kind"], found["frame"], found["size"], found["source"]) == ("face", "00004", 256, "data_dst.mp4")
    assert abs(found["pose"]["yaw"]) < 60
    assert found["score"] > 0.3


def test_a_damaged_face_record(finished_film: Path, tmp_path: Path) -> None:
    data = bytearray((finished_film / "data_dst" / "aligned" / "00004_0.jpg").read_bytes())
    start = data.find(b"\xff\xef")
    data[start + 40 : start + 80] = b"\0" * 40
    (tmp_path / "face.jpg").write_bytes(bytes(data))
    with pytest.raises(RecordError):
        describe(tmp_path / "face.jpg")


def test_a_model_and_a_checkpoint(finished_film: Path) -> None:
    found = describe(finished_film / "model" / "mini")
    assert (found["kind"], found["checkpoints"]) == ("model", ["00000003", "00000006"])
    found = describe(finished_film / "model" / "mini" / "checkpoints" / "00000003")
    assert (found["kind"], found["architecture"], found["iteration"]) == ("checkpoint", "mini", 3)
    assert found["bytes"] > 1_000_000


@pytest.mark.parametrize("state", [b"", b"{", b"[]", b"\xff"])
def test_a_damaged_checkpoint(tmp_path: Path, state: bytes) -> None:
    (tmp_path / "state.json").write_bytes(state)
    with pytest.raises(InputError, match="damaged"):
        describe(tmp_path)


def test_a_workspace_that_lacks_its_clip(film: Path) -> None:
    (film / "data_dst.mp4").unlink()
    with pytest.raises(MissingError, match="no data_dst clip"):
        describe(film)


def test_what_is_nothing_of_ours(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        describe(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no workspace"):
        describe(tmp_path)
    (tmp_path / "notes.txt").write_text("notes")
    with pytest.raises(InputError, match="not a video"):
        describe(tmp_path / "notes.txt")
