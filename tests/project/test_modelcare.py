"""What can be done with saved models; the models here were never trained."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from recaster.errors import MediaError, MissingError, UsageError
from recaster.media.pictures import write_picture
from recaster.media.reader import FrameReader
from recaster.progress import Recorded
from recaster.project.info import describe
from recaster.project.modelcare import (
    backup_model,
    delete_model,
    exchange_people,
    list_models,
    make_timelapse,
    rename_model,
    restore_model,
)
from recaster.project.models import checked_name, chosen_name
from recaster.project.workspace import Workspace, create_workspace
from recaster.provenance.verify import verify
from recaster.train.checkpoint import BACKUPS, FOLDER, Contents, State, file_of, latest, paths_of, save
from recaster.train.lock import ModelInUseError, model_lock
from recaster.train.options import TrainOptions


def save_model(workspace: Workspace, name: str, iteration: int, *, shared: bool = False, **values: Any) -> Path:
    mark = torch.full((2_000,), float(iteration))
    weights = {"encoder.w": mark, "inter_AB.w": mark} if shared else {"encoder.w": mark, "decoder_src.w": mark + 0.25}
    if not shared:
        weights["decoder_dst.w"] = mark + 0.5
    moments = {f"all/{name}:mean": weight + 1000 for name, weight in weights.items()}
    state = State(
        architecture="mini",
        iteration=iteration,
        seconds=60.0,
        net_options={},
        train_options={"backups": 2},
        random={"feed": {"src": {"position": 1}, "dst": {"position": 2}}},
        numbers={"all": {"steps": iteration}},
        **values,
    )
    return save(workspace.model(name), state, Contents(weights, optimizer=moments))


@pytest.fixture
def shelf(tmp_path: Path, own_settings: Path) -> Workspace:
    """A workspace with the models anna (chosen; iterations 10 and 20) and mini (iteration 5)."""
    for side in ("src", "dst"):
        write_picture(tmp_path / side / "1.png", np.zeros((40, 60, 3), np.uint8))
    workspace = create_workspace(tmp_path / "mein Film № 1", tmp_path / "src", tmp_path / "dst")
    workspace.store("workspace", {"format": 1, "model": "mini", "name": "anna"})
    workspace.store("train.anna", {"seed": 3})
    for iteration in (10, 20):
        save_model(workspace, "anna", iteration)
    save_model(workspace, "mini", 5, shared=True)
    return workspace


def newest(workspace: Workspace, name: str = "anna") -> State:
    found = latest(workspace.model(name))
    assert found is not None
    return found.state


def weight(workspace: Workspace, name: str, kind: str = "weights") -> float:
    found = latest(workspace.model("anna"))
    assert found is not None
    return float(getattr(found.contents(), kind)[name][0])


def test_the_models_at_a_glance(shelf: Workspace) -> None:
    (shelf.folder / "model" / "empty").mkdir()
    backup_model(shelf)
    anna, mini = list_models(shelf)
    assert (anna.name, anna.architecture, anna.iteration, anna.chosen) == ("anna", "mini", 20, True)
    assert (anna.checkpoints, anna.backups) == ((10, 20), (20,))
    assert (mini.name, mini.iteration, mini.chosen, mini.backups) == ("mini", 5, False, ())
    files = {path.stat().st_ino: path.stat().st_size for path in anna.folder.rglob("*") if path.is_file()}
    assert anna.bytes == sum(files.values()) > 60_000


def test_a_damaged_model_is_listed_too(shelf: Workspace) -> None:
    for path in paths_of(shelf.model("mini")):
        (path / "state.json").write_text("{")
    mini = list_models(shelf)[1]
    assert (mini.architecture, mini.iteration, mini.checkpoints) == ("unknown", None, (5,))


def test_a_workspace_without_models(tmp_path: Path, shelf: Workspace) -> None:
    shutil.rmtree(shelf.folder / "model")
    assert list_models(shelf) == []
    for step in (backup_model, restore_model, exchange_people, delete_model, make_timelapse):
        with pytest.raises(MissingError, match=r"anna: there is no saved model.*Saved models here: none"):
            step(shelf)


def test_another_model_is_chosen_by_its_name(shelf: Workspace) -> None:
    assert backup_model(shelf, "mini") == shelf.model("mini") / BACKUPS / "00000005"
    with pytest.raises(MissingError, match=r"bert: there is no saved model.*anna, mini"):
        backup_model(shelf, "bert")


def test_backup_and_the_way_back(shelf: Workspace) -> None:
    made = backup_model(shelf)
    assert made == shelf.model("anna") / BACKUPS / "00000020"
    for iteration in (30, 40):
        save_model(shelf, "anna", iteration)
    done = restore_model(shelf)
    assert (done.iteration, newest(shelf).iteration) == (20, 20)
    assert restore_model(shelf, backup=10).iteration == newest(shelf).iteration == 10


def test_as_many_backups_stay_as_the_model_was_told(shelf: Workspace) -> None:
    for iteration in (30, 40, 50):
        save_model(shelf, "anna", iteration)
        backup_model(shelf)
    assert list_models(shelf)[0].backups == (40, 50)


def test_people_are_exchanged_and_the_model_as_it_was_is_kept(shelf: Workspace) -> None:
    done = exchange_people(shelf)
    assert (weight(shelf, "decoder_src.w"), weight(shelf, "decoder_dst.w"), weight(shelf, "encoder.w")) == (
        20.5,
        20.25,
        20.0,
    )
    assert weight(shelf, "all/decoder_src.w:mean", "optimizer") == 1020.5
    state = newest(shelf)
    assert state.random == {"feed": {"dst": {"position": 1}, "src": {"position": 2}}}
    assert (state.iteration, state.history) == (20, [{"iteration": 20, "exchanged": ["src", "dst"]}])
    assert done.checkpoint == shelf.model("anna") / FOLDER / "00000020"
    assert [path.name for path in done.replaced] == ["00000010.replaced"], "the older one is of the other people"
    assert sorted(path.name for path in done.checkpoint.parent.iterdir()) == ["00000010.replaced", "00000020"]
    restore_model(shelf)
    assert weight(shelf, "decoder_src.w") == 20.25


def test_exchanging_twice_leads_back(shelf: Workspace) -> None:
    for _ in range(2):
        exchange_people(shelf)
    assert weight(shelf, "decoder_src.w") == 20.25
    assert len(newest(shelf).history) == 2


def test_a_model_of_one_shared_decoder_is_left_as_it_is(shelf: Workspace) -> None:
    with pytest.raises(UsageError, match="Exchange the two clips"):
        exchange_people(shelf, "mini")
    assert [path.name for path in shelf.model("mini").iterdir()] == [FOLDER]


def test_a_renamed_model_keeps_its_options(shelf: Workspace) -> None:
    made = rename_model(shelf, "Бела 2")
    assert made == shelf.model("Бела 2") and made.is_dir() and not shelf.model("anna").exists()
    assert chosen_name(shelf) == "Бела 2" and newest(shelf, "Бела 2").iteration == 20
    assert shelf.section("train.Бела 2") == {"seed": 3}
    assert "anna" not in shelf.section("train")
    rename_model(shelf, "other", "mini")
    assert chosen_name(shelf) == "Бела 2"
    assert [model.name for model in list_models(shelf)] == ["other", "Бела 2"]


@pytest.mark.parametrize(
    ("new", "problem"), [("mini", "such a model already"), ("a/b", "cannot be the name"), ("seed", "name of an option")]
)
def test_a_name_that_cannot_be_changes_nothing(shelf: Workspace, new: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        rename_model(shelf, new)
    assert [model.name for model in list_models(shelf)] == ["anna", "mini"]
    assert shelf.section("train.anna") == {"seed": 3}


def test_only_who_is_sure_deletes(shelf: Workspace) -> None:
    with pytest.raises(UsageError, match=r"deletes 2 checkpoints and 0 backups.*for ever.*--yes"):
        delete_model(shelf)
    assert newest(shelf).iteration == 20
    gone = delete_model(shelf, sure=True)
    assert (gone.name, gone.iteration) == ("anna", 20)
    assert not shelf.model("anna").exists()
    assert {path.name for path in (shelf.folder / "model").iterdir()} == {"mini", ".anna.lock"}


def draw_history(workspace: Workspace, name: str = "anna") -> Path:
    place = workspace.model(name) / "preview"
    for step in range(1, 6):
        size = (41, 61) if step > 1 else (80, 90)
        write_picture(place / f"{step * 100:08d}.jpg", np.full((*size, 3), 40 * step, np.uint8))
    write_picture(place / "masks.jpg", np.zeros((8, 8, 3), np.uint8))
    return place


def test_the_time_lapse_shows_the_history_and_is_signed(shelf: Workspace) -> None:
    place = draw_history(shelf)
    (place / "00000300.jpg").write_bytes(b"no picture")
    progress = Recorded()
    made = make_timelapse(shelf, rate=8, progress=progress)
    assert made == shelf.model("anna") / "timelapse.mp4"
    assert len(progress.notes) == 1 and "00000300.jpg" in progress.notes[0]
    with FrameReader(made) as reader:
        assert (reader.info.width, reader.info.height, reader.info.rate) == (62, 42, Fraction(8))
        shades = [float(frame.image[10:30, 10:40].mean()) for frame in reader]
    assert np.abs(np.subtract(shades, [40, 80, 160, 200])).max() < 6
    assert verify(made).state == "signed"
    assert [path.name for path in made.parent.iterdir() if path.suffix == ".mp4"] == ["timelapse.mp4"]
    make_timelapse(shelf)
    assert verify(made).state == "signed"


def test_without_a_history_there_is_no_time_lapse(shelf: Workspace) -> None:
    with pytest.raises(MissingError, match=r"no preview history.*--preview-history"):
        make_timelapse(shelf)
    for path in draw_history(shelf).iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(MediaError):
        make_timelapse(shelf)
    assert not (shelf.model("anna") / "timelapse.mp4").exists()


def test_what_is_in_use_is_not_changed(shelf: Workspace) -> None:
    draw_history(shelf)
    before = sorted(shelf.model("anna").rglob("*"))
    with model_lock(shelf.model("anna")):
        for step in (
            lambda: backup_model(shelf),
            lambda: restore_model(shelf, backup=10),
            lambda: exchange_people(shelf),
            lambda: rename_model(shelf, "bert"),
            lambda: delete_model(shelf, sure=True),
        ):
            with pytest.raises(ModelInUseError, match="being trained by process"):
                step()
        assert len(list_models(shelf)) == 2
        assert describe(shelf.model("anna"))["newest"]["iteration"] == 20
        make_timelapse(shelf)
        backup_model(shelf, "mini")
    (shelf.model("anna") / "timelapse.mp4").unlink()
    assert sorted(shelf.model("anna").rglob("*")) == before
    with model_lock(shelf.model("bert")), pytest.raises(ModelInUseError):
        rename_model(shelf, "bert")


KILLED = """
import os, signal, sys
from pathlib import Path
from recaster.project.modelcare import exchange_people
from recaster.project.workspace import Workspace
from recaster.train import checkpoint

rename, left = Path.rename, int(sys.argv[2])

def killed(self, target):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)

Path.rename = killed
exchange_people(Workspace.open(Path(sys.argv[1])))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kills with a signal")
@pytest.mark.parametrize("renamings", [0, 1, 2])
def test_killed_half_way_an_exchange_loses_nothing(shelf: Workspace, renamings: int) -> None:
    words = [sys.executable, "-c", KILLED, str(shelf.folder), str(renamings)]
    done = subprocess.run(words, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    assert done.returncode == -9
    assert newest(shelf).iteration == (10 if renamings == 1 else 20)
    assert restore_model(shelf).iteration == 20
    assert weight(shelf, "decoder_src.w") == 20.25
    assert weight(shelf, "decoder_dst.w") == 20.5


def test_the_name_of_a_run(shelf: Workspace) -> None:
    assert chosen_name(shelf) == "anna"
    assert chosen_name(shelf, "bert") == "bert"
    shelf.store("workspace", {"model": "h64"})
    assert chosen_name(shelf) == "h64"
    shelf.store("workspace", {"name": "../other"})
    with pytest.raises(UsageError, match="cannot be the name"):
        chosen_name(shelf)


@pytest.mark.parametrize("name", ["a", "anna 2", "Бела", "अन्ना", "é", "l'été", "名前_1-b", "a" * 200, "conny", "2x"])
def test_names_that_can_be(name: str) -> None:
    assert checked_name(name) == name


WRONG = ["", ".", "..", "a/b", "a\\b", "a.b", " a", "a ", "-a", "a\n", "a\0", "CON", "lpt1", "a:b", "é" * 101, "\ud800"]


@pytest.mark.parametrize("name", [*WRONG, "batch_size", "name of a person\u2028"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(UsageError) as error:
        checked_name(name)
    assert "\n" not in str(error.value) and str(error.value).isprintable()


@given(st.text(max_size=12))
def test_every_name_is_a_folder_and_a_table(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    try:
        checked_name(name)
    except UsageError:
        return
    assert name not in TrainOptions.model_fields
    place = tmp_path_factory.mktemp("names")
    workspace = Workspace(place)
    workspace.settings_file.write_text("")
    workspace.model(name).mkdir(parents=True)
    with model_lock(workspace.model(name)):
        workspace.store(f"train.{name}", {"seed": 7})
    assert workspace.section(f"train.{name}") == {"seed": 7}
    assert workspace.section("train") == {name: {"seed": 7}}
    assert name in {path.name for path in (place / "model").iterdir()}


def test_info_tells_what_a_model_has_been_through(shelf: Workspace) -> None:
    save_model(shelf, "anna", 30, rate=0.25, rollbacks=2, pretrained=True, execution={"precision": "bf16"})
    backup_model(shelf)
    found = describe(shelf.model("anna"))
    assert (found["checkpoints"], found["backups"]) == (["00000010", "00000020", "00000030"], ["00000030"])
    assert (found["newest"]["learning rate"], found["newest"]["pretraining"]) == ("times 0.25 after 2 rollbacks", True)
    assert (found["newest"]["averaged"], found["newest"]["execution"]) == (False, {"precision": "bf16"})
    assert describe(found["newest"]["path"].parent / "00000010")["learning rate"] == "as chosen"
    assert (found["newest"]["path"] / file_of("weights")).is_file()
