"""The steps of a job on two real clips: each does its work once, again where something changed, and nothing else."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import c2pa
import numpy as np
import pytest

from recaster.errors import MissingError, UsageError
from recaster.faces.faceset import FaceSet
from recaster.files import sha256_file
from recaster.media.pictures import write_picture
from recaster.media.reader import FrameReader
from recaster.media.writer import FrameWriter
from recaster.nets.architecture import find_architecture
from recaster.progress import Recorded
from recaster.project import steps
from recaster.project.models import chosen_model
from recaster.project.workspace import Workspace, create_workspace
from recaster.provenance.certificate import known_roots
from recaster.provenance.verify import verify
from recaster.train.checkpoint import paths_of


def times(folder: Path) -> dict[str, int]:
    return {p.relative_to(folder).as_posix(): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def manifest_of(path: Path) -> dict[str, Any]:
    with c2pa.Reader(str(path)) as reader:
        report = json.loads(reader.json())
    manifest: dict[str, Any] = report["manifests"][report["active_manifest"]]
    return manifest


def assertion(path: Path, label: str) -> dict[str, Any]:
    (found,) = (item["data"] for item in manifest_of(path)["assertions"] if item["label"] == label)
    return dict(found)


@contextmanager
def nothing_changes(folder: Path) -> Iterator[None]:
    before = times(folder)
    yield
    assert times(folder) == before


def test_everything_done_is_done_once(film: Path) -> None:
    with nothing_changes(film):
        report = steps.run(Workspace.open(film), "mini")
    assert (report.src.skipped, report.dst.skipped, report.train.trained) == (True, True, 0)
    assert report.merge.skipped
    assert report.src.faces == report.dst.faces == 12


def test_single_steps_do_nothing_twice(film: Path) -> None:
    place = Workspace.open(film)
    with nothing_changes(film):
        assert steps.extract(place, "dst").skipped
        assert steps.train(place, "mini").trained == 0
        assert steps.merge(place, "mini").skipped


def test_a_workspace_that_was_moved_goes_on(film: Path, tmp_path: Path) -> None:
    moved = film.rename(tmp_path / "nach dem Umzug – 引越し")
    with nothing_changes(moved):
        assert steps.run(Workspace.open(moved), "mini").merge.skipped
    (moved / "result.mp4").unlink()
    assert steps.merge(Workspace.open(moved), "mini").merge is not None
    assert verify(moved / "result.mp4").signed


def test_nothing_made_names_a_place_on_this_machine(film: Path, finished_film: Path) -> None:
    for path in film.rglob("*"):
        if path.is_file():
            assert str(finished_film.parent).encode() not in path.read_bytes(), path


def test_the_result_is_the_target_with_sound_and_signed(film: Path, own_settings: Path) -> None:
    result = film / "result.mp4"
    with FrameReader(result) as after, FrameReader(film / "data_dst.mp4") as before:
        assert len(after) == len(before) == 12
        assert [a.codec for a in after.info.audio] == [a.codec for a in before.info.audio] == ["mp3"]
        assert [f.pts for f in after] == [f.pts for f in before]
        face = FaceSet(film / "data_dst" / "aligned").faces[0].record.box
        x, y = int(face[0] + face[2]) // 2, int(face[1] + face[3]) // 2
        new, old = after.read(0).image, before.read(0).image
    assert np.abs(new[y - 20 : y + 20, x - 20 : x + 20].astype(int) - old[y - 20 : y + 20, x - 20 : x + 20]).mean() > 4
    assert np.abs(new[:20, :20].astype(int) - old[:20, :20]).mean() < 4
    found = verify(result, roots=known_roots(steps.default_identity_folder()))
    assert (found.state, found.synthetic, found.trusted) == ("signed", True, True)
    assert [(item.state, item.basis) for item in found.likeness] == [
        ("stated", "own face"),
        ("stated", "written release"),
    ]
    assert steps.default_identity_folder().is_relative_to(own_settings)


def test_the_manifest_names_the_target_as_parent_and_the_faceset_by_hash(film: Path) -> None:
    manifest = manifest_of(film / "result.mp4")
    related = {item["relationship"]: item for item in manifest["ingredients"]}
    target = sha256_file(film / "data_dst.mp4")
    assert related["parentOf"]["instance_id"] == f"urn:sha256:{target}"
    recipe = assertion(film / "result.mp4", "org.recaster.recipe")
    assert related["componentOf"]["instance_id"] == f"urn:sha256:{recipe['faceset_sha256']}"
    assert (recipe["model"], recipe["iteration"], recipe["target_sha256"]) == ("mini", 6, target)
    for person in ("Ana", "男の人", "data_dst", "mein Film"):
        assert person not in json.dumps(manifest, ensure_ascii=False)


def test_a_missing_basis_is_said_on_every_run_and_signed_as_not_stated(film: Path) -> None:
    shutil.rmtree(film / "people")
    place, noted = Workspace.open(film), Recorded()
    assert not steps.merge(place, "mini", progress=noted).skipped
    assert {item["state"] for item in assertion(film / "result.mp4", "org.recaster.likeness")["likenesses"]} == {
        "not stated"
    }
    assert [item.state for item in verify(film / "result.mp4").likeness] == ["not stated"] * 2
    again = [Recorded() for _ in range(4)]
    steps.extract(place, "src", progress=again[0])
    steps.extract(place, "dst", progress=again[1])
    steps.train(place, "mini", progress=again[2])
    steps.merge(place, "mini", progress=again[3])
    for progress, sides in zip(
        [noted, *again], [("src", "dst"), ("src",), ("dst",), *[("src", "dst")] * 2], strict=True
    ):
        said = [note for note in progress.notes if "not stated" in note]
        assert [f"the {side} person" in note for side, note in zip(sides, said, strict=True)] == [True] * len(sides)


def test_a_changed_option_renders_again_and_is_remembered(film: Path) -> None:
    place = Workspace.open(film)
    first = sha256_file(film / "result.mp4")
    assert steps.merge(place, "mini", {"mask": "hull", "erode": 60}).merge is not None
    assert sha256_file(film / "result.mp4") != first
    assert place.section("merge") == {"mask": "hull", "erode": 60}
    assert place.section("output") == {"preset": "ultrafast"}
    assert steps.merge(place, "mini").skipped
    assert not steps.merge(place, "mini", None, {"crf": 30}).skipped
    assert not steps.merge(place, "mini", {"erode": 0}).skipped


def test_a_result_that_was_changed_or_deleted_is_made_again(film: Path) -> None:
    place, result = Workspace.open(film), film / "result.mp4"
    with result.open("ab") as file:
        file.write(b"more")
    assert not steps.merge(place, "mini").skipped
    assert verify(result).signed
    result.unlink()
    assert not steps.merge(place, "mini").skipped
    (film / ".recaster" / "merge.json").write_text("torn", encoding="utf-8")
    assert not steps.merge(place, "mini").skipped


def test_deleted_faces_stay_deleted_and_render_again(film: Path) -> None:
    place = Workspace.open(film)
    (film / "data_dst" / "aligned" / "00003_0.jpg").unlink()
    report = steps.run(place, "mini")
    assert report.dst.skipped
    assert report.merge.merge is not None
    assert (report.merge.merge.faces, report.merge.merge.frames_without_faces) == (11, 1)
    assert not (film / "data_dst" / "aligned" / "00003_0.jpg").exists()


def test_a_changed_target_is_extracted_and_rendered_again(film: Path) -> None:
    place, target = Workspace.open(film), film / "data_dst.mp4"
    with FrameReader(target) as reader:
        frames = [frame.image for frame in reader.frames(0, 4)]
        size = {"width": reader.info.width, "height": reader.info.height, "rate": reader.info.rate}
    target.unlink()
    with FrameWriter(target, **size, preset="ultrafast") as writer:
        for image in frames:
            writer.write(image)
    noted = Recorded()
    report = steps.run(place, "mini", progress=noted)
    assert (report.dst.frames, report.dst.faces, report.dst.skipped, report.src.skipped) == (4, 4, False, True)
    assert len(FaceSet(film / "data_dst" / "aligned")) == 4
    assert len(list((film / "data_dst" / "aligned_trash").rglob("*.jpg"))) == 12
    assert any("aligned_trash" in note for note in noted.notes)
    assert report.merge.merge is not None
    assert report.merge.merge.frames == 4
    with FrameReader(film / "result.mp4") as reader:
        assert (len(reader), reader.info.audio) == (4, ())


def test_run_draws_the_sheet_of_the_result_it_has(film: Path) -> None:
    place, picture = Workspace.open(film), film / "contact_sheet.jpg"
    first = picture.read_bytes()
    steps.merge(place, "mini", {"mask": "hull"})
    assert picture.read_bytes() == first
    steps.run(place, "mini")
    assert picture.read_bytes() != first
    picture.unlink()
    steps.run(place, "mini")
    assert verify(picture).signed


def test_training_goes_on_and_the_new_model_is_rendered(film: Path) -> None:
    place = Workspace.open(film)
    report = steps.run(place, "mini", {"iterations": 8})
    assert (report.train.iterations, report.train.trained) == (8, 2)
    assert report.merge.merge is not None
    assert assertion(film / "result.mp4", "org.recaster.recipe")["iteration"] == 8
    assert place.section("train.mini")["iterations"] == 8


def test_an_option_that_cannot_change_is_not_remembered(film: Path) -> None:
    place = Workspace.open(film)
    before = place.settings_file.read_bytes()
    with pytest.raises(UsageError, match="resolution was 64 when the model was made and cannot be 96 now"):
        steps.train(place, "mini", {"iterations": 9}, {"resolution": 96})
    assert place.settings_file.read_bytes() == before


@pytest.mark.parametrize("table", ["train", "train.mini"])
def test_a_command_in_a_workspace_is_not_run(film: Path, table: str) -> None:
    place = Workspace.open(film)
    place.store(table, {"every": 1, "run": "touch owned"}, known={"every", "run"})
    with pytest.raises(UsageError, match=rf"\[{table}\]: a command is not taken from a file.*--run"):
        steps.train(place, "mini", {"iterations": 9})


def test_a_given_command_is_not_remembered(film: Path) -> None:
    place = Workspace.open(film)
    steps.train(place, "mini", {"iterations": 6, "every": 5, "run": sys.executable})
    assert place.section("train.mini")["every"] == 5 and "run" not in place.section("train.mini")


def test_two_runs_live_side_by_side(film: Path) -> None:
    place = Workspace.open(film)
    quick = {"iterations": 2, "batch_size": 1, "preview_every": 0, "threads": 1}
    second = steps.train(place, "mini", quick, {"resolution": 80}, name="second")
    assert second.checkpoint.parent.parent == place.model("second")
    assert steps.train(place, name="mini").trained == 0, "the first one is as it was"
    assert steps.train(place, name="second").trained == 0, "and the name alone finds its model and options"
    assert place.section("train.second")["resolution"] == 80 and "resolution" not in place.section("train.mini")


def test_the_model_of_the_workspace_is_remembered(film: Path) -> None:
    place = Workspace.open(film)
    assert chosen_model(place) == "mini"
    assert chosen_model(place, "h64") == "h64"
    with pytest.raises(UsageError, match=r"unknown architecture 'h65'.*h64, .*mini"):
        chosen_model(place, "h65")
    with pytest.raises(UsageError, match="unknown architecture"):
        steps.train(place, "h65")


def test_a_step_without_faces_says_what_to_run(film: Path) -> None:
    place = Workspace.open(film)
    for path in FaceSet(film / "data_src" / "aligned").faces:
        path.path.unlink()
    with pytest.raises(MissingError, match=r"there are no src faces.*recast extract .* src") as caught:
        steps.train(place, "mini", {"iterations": 9})
    assert caught.value.where == str(film / "data_src" / "aligned")
    with pytest.raises(MissingError, match="src"):
        steps.merge(place, "mini")
    with pytest.raises(MissingError, match="src"):
        steps.sheet(place)
    assert verify(film / "result.mp4").signed
    assert len(paths_of(film / "model" / "mini")) == 2


def test_merging_without_a_model_says_what_to_run(film: Path) -> None:
    place = Workspace.open(film)
    with pytest.raises(MissingError, match=r"no trained model.*recast train"):
        steps.merge(place, "h64")
    assert verify(film / "result.mp4").signed


def test_the_result_never_replaces_what_it_is_made_of(film: Path, tmp_path: Path) -> None:
    place = Workspace.open(film)
    linked = tmp_path / "my own.mp4"
    linked.hardlink_to(film / "data_dst.mp4")
    with nothing_changes(tmp_path):
        for output in (film / "data_dst.mp4", linked, film / "data_src.mp4"):
            with pytest.raises(UsageError, match="would replace data_"):
                steps.merge(place, "mini", output=output)
        for name in ("result", "result.avi", "result.jpg"):
            with pytest.raises(UsageError, match=r"cannot be a video.*\.mp4, \.mov, \.mkv"):
                steps.merge(place, "mini", output=tmp_path / name)


@pytest.mark.parametrize("name", ["neuer Ordner/Ergebnis – 結果.mov", "Ergebnis.mkv"])
def test_the_result_may_lie_anywhere(film: Path, tmp_path: Path, name: str) -> None:
    place, output = Workspace.open(film), tmp_path / name
    report = steps.merge(place, "mini", output=output)
    assert report.output == output
    assert report.merge is not None
    assert report.merge.output == output
    assert verify(output).signed
    assert steps.merge(place, "mini", output=output).skipped
    assert not list((film / ".recaster").glob("unsigned*"))


def test_a_failed_signature_leaves_the_old_result(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **named: object) -> None:
        raise MissingError("no certificate")

    monkeypatch.setattr(steps, "sign", refuse)
    before = sha256_file(film / "result.mp4")
    with pytest.raises(MissingError):
        steps.merge(Workspace.open(film), "mini", {"erode": 7})
    assert sha256_file(film / "result.mp4") == before
    assert not list((film / ".recaster").glob("*unsigned*"))


def test_run_stops_at_the_first_clip_without_a_face(film: Path) -> None:
    place = Workspace.open(film)
    (film / "data_src.mp4").unlink()
    shutil.rmtree(film / "data_dst" / "aligned")
    with FrameWriter(film / "data_src.mp4", width=320, height=240, rate=25, preset="ultrafast") as writer:
        writer.write(np.full((240, 320, 3), 90, np.uint8))
    with pytest.raises(MissingError, match="there are no src faces"):
        steps.run(place, "mini")
    assert not (film / "data_dst" / "aligned").exists()
    assert len(list((film / "data_src" / "aligned_trash").rglob("*.jpg"))) == 12


def test_a_folder_of_pictures_with_an_unreadable_one(film: Path, tmp_path: Path, own_settings: Path) -> None:
    """The others are replaced; the sheet shows the frames that belong together though the result lacks one."""
    frames = tmp_path / "frames of the target"
    with FrameReader(film / "data_dst.mp4") as reader:
        for frame in reader.frames(0, 5):
            write_picture(frames / f"shot_{frame.name}.png", frame.image)
    (frames / "shot_00002.png").write_bytes((frames / "shot_00002.png").read_bytes()[:500])
    place = create_workspace(tmp_path / "from pictures", film / "data_src.mp4", frames)
    shutil.copytree(film / "data_src" / "aligned", place.aligned("src"), dirs_exist_ok=True)
    shutil.copytree(film / "model", place.folder / "model", dirs_exist_ok=True)
    found = steps.extract(place, "dst", {"detector": "fast", "size": 256})
    assert (found.frames, found.faces, [name for name, _ in found.unreadable]) == (5, 4, ["shot_00002"])
    report = steps.merge(place, "mini", None, {"preset": "ultrafast", "rate": 12.5})
    assert report.merge is not None
    assert (report.merge.frames, report.merge.faces, len(report.merge.unreadable)) == (4, 4, 1)
    with FrameReader(report.output) as reader:
        assert [float(frame.pts) for frame in reader] == [0.0, 0.16, 0.24, 0.32]
    assert verify(steps.sheet(place)).signed


def test_a_report_tells_what_was_merged(film: Path) -> None:
    report = steps.merge(Workspace.open(film), "mini", {"erode": 5})
    assert report.merge is not None
    assert report.signature is not None
    assert replace(report.merge, seconds=0.0, frames_per_second=0.0).output == report.signature.output == report.output
    assert (report.merge.frames, report.merge.faces, report.merge.unreadable) == (12, 12, ())


def test_run_without_a_target_trains_as_long_as_the_model_usually_takes(
    film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, asked = Workspace.open(film), {}
    place.store("train", {"mini": {"batch_size": 2}})
    train = steps.train

    def short(workspace: Workspace, model: str, given: dict[str, Any], *more: Any, **named: Any) -> Any:
        asked.update(given)
        return train(workspace, model, {"iterations": 6}, *more, **named)

    monkeypatch.setattr(steps, "train", short)
    steps.run(place, "mini")
    assert asked == {"iterations": find_architecture("mini").usual_iterations}
