"""``recast model`` on models that were never trained."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recaster.media.pictures import write_picture
from recaster.project.workspace import create_workspace
from recaster.train.checkpoint import FOLDER, Contents, State, paths_of, save
from recaster.train.lock import model_lock

Recast = Callable[..., Any]


@pytest.fixture
def shelf(tmp_path: Path, own_settings: Path) -> Path:
    """A workspace with the model anna of iterations 10 and 20, and a picture of its training."""
    for side in ("src", "dst"):
        write_picture(tmp_path / side / "1.png", np.zeros((40, 60, 3), np.uint8))
    workspace = create_workspace(tmp_path / "mein Film № 1", tmp_path / "src", tmp_path / "dst")
    workspace.store("workspace", {"format": 1, "model": "mini", "name": "anna"})
    weights = {"decoder_src.w": torch.zeros(900), "decoder_dst.w": torch.ones(900)}
    for iteration in (10, 20):
        state = State(
            architecture="mini", iteration=iteration, seconds=1.0, net_options={}, train_options={}, random={}
        )
        save(workspace.model("anna"), state, Contents(weights))
    write_picture(workspace.model("anna") / "preview" / "00000010.jpg", np.zeros((40, 60, 3), np.uint8))
    return workspace.folder


def test_list(recast: Recast, shelf: Path) -> None:
    said = recast("model", "list", shelf)
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("* anna: mini, iteration 20, 0 MB, checkpoints: 10, 20, backups: none")
    (model,) = recast("model", "list", shelf, "--json").json["models"]
    assert (model["name"], model["iteration"], model["checkpoints"], model["backups"]) == ("anna", 20, [10, 20], [])
    assert model["bytes"] > 10_000 and model["folder"] == str(shelf / "model" / "anna")
    assert recast("model", "list", shelf, "--name", "bert").out == "no saved models\n"


def test_backup_and_restore(recast: Recast, shelf: Path) -> None:
    folder = shelf / "model" / "anna"
    said = recast("model", "backup", shelf)
    assert (said.code, said.out) == (0, f"backup: {folder / 'backups' / '00000020'}\n")
    said = recast("model", "restore", shelf, "--backup", 10)
    assert said.code == 0
    assert said.out.splitlines() == [
        f"restored iteration 10 from {folder / FOLDER / '00000010'}",
        f"newest checkpoint: {folder / FOLDER / '00000010'}",
        f"set aside: {folder / FOLDER / '00000020.replaced'}",
    ]
    found = recast("model", "restore", shelf, "--json").json
    assert (found["iteration"], found["replaced"]) == (20, [])
    assert found["checkpoint"] == str(paths_of(folder)[-1])


def test_exchange(recast: Recast, shelf: Path) -> None:
    said = recast("model", "exchange", shelf)
    assert said.code == 0
    assert said.out.splitlines()[-1].startswith("Now exchange the clips too")
    assert set(recast("model", "exchange", shelf, "--json").json) == {"checkpoint", "backup", "replaced"}


def test_rename_and_delete(recast: Recast, shelf: Path) -> None:
    said = recast("model", "rename", shelf, "Бела", "--json")
    assert (said.code, said.json) == (0, {"folder": str(shelf / "model" / "Бела"), "name": "Бела"})
    said = recast("model", "delete", shelf)
    assert (said.code, "Say --yes to do it" in said.problem) == (2, True)
    said = recast("model", "delete", shelf, "--name", "Бела", "--yes", "--json")
    assert (said.code, said.json["deleted"]) == (0, "Бела")
    said = recast("model", "backup", shelf)
    assert (said.code, "there is no saved model" in said.problem) == (1, True)


def test_timelapse(recast: Recast, shelf: Path) -> None:
    said = recast("model", "timelapse", shelf, "--rate", 5, "--json")
    assert (said.code, said.json) == (0, {"timelapse": str(shelf / "model" / "anna" / "timelapse.mp4")})
    assert recast("verify", said.json["timelapse"]).code == 0
    assert recast("model", "timelapse", shelf).out.startswith("time-lapse: ")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("", "ACTION requires an argument"),
        ("list", "WORKSPACE requires an argument"),
        ("dance @", '"dance" for ACTION. Choose from: "list", "backup"'),
        ("rename @", "rename needs the new name"),
        ("rename @ a.b", "'a.b' cannot be the name of a model"),
        ("list @ --yes", "list takes no --yes"),
        ("list @ new", "list takes no NEW"),
        ("backup @ --backup 3", "backup takes no --backup"),
        ("restore @ --backup 3", "no backup or checkpoint of iteration 3. There are: 10, 20"),
        ("restore @ --rate 3", "restore takes no --rate"),
        ("timelapse @ --rate 0", "for --rate. Must be >= 1"),
        ("backup @ --name ../anna", "'../anna' cannot be the name of a model"),
    ],
)
def test_a_mistake_in_the_call_changes_nothing(recast: Recast, shelf: Path, words: str, problem: str) -> None:
    before = sorted(shelf.rglob("*"))
    said = recast("model", *(str(shelf) if word == "@" else word for word in words.split()))
    assert (said.code, said.out) == (2, "")
    assert problem in said.problem
    assert [path for path in sorted(shelf.rglob("*")) if ".lock" not in path.name] == before


def test_what_is_being_trained_is_left_alone(recast: Recast, shelf: Path) -> None:
    with model_lock(shelf / "model" / "anna"):
        began = time.monotonic()
        said = recast("model", "backup", shelf, "--json")
        assert time.monotonic() - began < 5
        assert (said.code, "anna: the model is being trained by process" in said.problem) == (1, True)
        assert said.json["exit_code"] == 1
        assert recast("model", "list", shelf).code == recast("info", shelf / "model" / "anna").code == 0


@pytest.mark.parametrize("action", ["list", "backup", "restore", "exchange", "rename", "delete", "timelapse"])
def test_a_folder_that_is_no_workspace(recast: Recast, tmp_path: Path, action: str) -> None:
    said = recast("model", action, tmp_path)
    assert (said.code, "not a workspace" in said.problem) == (1, True)
    assert list(tmp_path.iterdir()) == []
