from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from recaster.errors import CheckpointError, MissingError, StorageError, UsageError
from recaster.progress import Recorded
from recaster.train.backup import backups, make_backup, restore_backup
from recaster.train.checkpoint import (
    BACKUPS,
    FOLDER,
    STATE,
    Contents,
    DamagedError,
    State,
    file_of,
    latest,
    open_checkpoint,
    paths_of,
    prune,
    save,
)

WEIGHTS = file_of("weights")


def saved(folder: Path, iteration: int, mark: float = 0.0) -> Path:
    state = State(
        architecture="tiny-test",
        iteration=iteration,
        seconds=mark,
        net_options={},
        train_options={},
        random={},
    )
    return save(folder, state, Contents({"weight": torch.full((50,), iteration + mark)}))


def numbers(folder: Path, place: str = FOLDER) -> list[int]:
    return [int(path.name) for path in paths_of(folder, place)]


def newest(folder: Path) -> tuple[int, float]:
    found = latest(folder)
    assert found is not None
    return found.state.iteration, float(found.contents().weights["weight"][0])


def flip_bit(path: Path) -> None:
    """Damage one name of a file only, as a new file: backups and checkpoints may share theirs."""
    data = bytearray(path.read_bytes())
    data[-3] ^= 4
    path.unlink()
    path.write_bytes(data)


def no_links(*arguments: Any, **named: Any) -> None:
    raise OSError(errno.EPERM, "no links here")


@pytest.mark.parametrize("links", [True, False])
def test_a_backup_outlives_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    folder = tmp_path / "Modell № 1"
    made = make_backup(folder, saved(folder, 10), 5)
    assert made == folder / BACKUPS / "00000010"
    assert (made / WEIGHTS).samefile(folder / FOLDER / "00000010" / WEIGHTS) == links
    for iteration in (20, 30):
        saved(folder, iteration)
    prune(folder, 1, 0)
    assert numbers(folder) == [30]
    found = open_checkpoint(made)
    assert found.state.iteration == 10 and float(found.contents().weights["weight"][0]) == 10


def test_the_newest_stay(tmp_path: Path) -> None:
    for iteration in (10, 20, 30, 40):
        make_backup(tmp_path, saved(tmp_path, iteration), 3)
    assert numbers(tmp_path, BACKUPS) == [20, 30, 40]
    make_backup(tmp_path, tmp_path / FOLDER / "00000010", 2)  # an older one, after going back
    assert numbers(tmp_path, BACKUPS) == [10, 40]
    make_backup(tmp_path, tmp_path / FOLDER / "00000020", 1)
    assert numbers(tmp_path, BACKUPS) == [20]


def test_a_second_backup_of_the_same_is_the_same(tmp_path: Path) -> None:
    path = saved(tmp_path, 10)
    first = make_backup(tmp_path, path, 3)
    before = (first / STATE).stat()
    assert make_backup(tmp_path, path, 3) == first
    assert (first / STATE).stat() == before
    (tmp_path / BACKUPS / ".00000010.part").mkdir()
    saved(tmp_path, 10, 0.5)
    assert make_backup(tmp_path, path, 3) == first
    assert open_checkpoint(first).state.seconds == 0.5
    assert [path.name for path in (tmp_path / BACKUPS).iterdir()] == ["00000010"]


def test_a_damaged_backup_is_made_again(tmp_path: Path) -> None:
    path = saved(tmp_path, 10)
    flip_bit(make_backup(tmp_path, path, 3) / WEIGHTS)
    open_checkpoint(make_backup(tmp_path, path, 3))


def test_a_full_disk_leaves_no_half_of_a_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes()[:9])
        raise OSError(errno.ENOSPC, "No space left on device")

    make_backup(tmp_path, saved(tmp_path, 10), 1)
    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(StorageError, match="the disk is full"):
        make_backup(tmp_path, saved(tmp_path, 20), 1)
    assert [path.name for path in (tmp_path / BACKUPS).iterdir()] == ["00000010"]
    shutil.rmtree(tmp_path / FOLDER / "00000010")
    with pytest.raises(StorageError, match="the disk is full"):
        restore_backup(tmp_path, 10)
    assert newest(tmp_path) == (20, 20)


def test_the_newest_backup_becomes_the_newest_checkpoint(tmp_path: Path) -> None:
    for iteration in (10, 20):
        make_backup(tmp_path, saved(tmp_path, iteration), 9)
    shutil.rmtree(tmp_path / FOLDER / "00000020")
    for iteration in (30, 40):
        saved(tmp_path, iteration)
    done = restore_backup(tmp_path)
    assert (done.iteration, done.source) == (20, tmp_path / BACKUPS / "00000020")
    assert done.checkpoint == tmp_path / FOLDER / "00000020"
    assert [path.name for path in done.replaced] == ["00000030.replaced", "00000040.replaced"]
    assert all(path.is_dir() for path in done.replaced)
    assert numbers(tmp_path) == [10, 20]
    assert numbers(tmp_path, BACKUPS) == [10, 20]
    assert newest(tmp_path) == (20, 20)
    again = restore_backup(tmp_path)
    assert (again.iteration, again.replaced) == (20, ())


def test_any_backup_or_checkpoint_can_be_gone_back_to(tmp_path: Path) -> None:
    make_backup(tmp_path, saved(tmp_path, 10), 9)
    shutil.rmtree(tmp_path / FOLDER / "00000010")
    for iteration in (20, 30):
        saved(tmp_path, iteration)
    done = restore_backup(tmp_path, 20)
    assert (done.iteration, done.source) == (20, tmp_path / FOLDER / "00000020")
    assert restore_backup(tmp_path, 10).iteration == 10
    assert newest(tmp_path) == (10, 10) and numbers(tmp_path) == [10]
    with pytest.raises(UsageError, match=r"no backup or checkpoint of iteration 20.*There are: 10"):
        restore_backup(tmp_path, 20)


def test_a_backup_goes_before_a_checkpoint_of_its_iteration(tmp_path: Path) -> None:
    make_backup(tmp_path, saved(tmp_path, 10), 9)
    saved(tmp_path, 10, 0.5)
    done = restore_backup(tmp_path, 10)
    assert newest(tmp_path) == (10, 10)
    assert [path.name for path in done.replaced] == ["00000010.replaced"]
    assert open_checkpoint(done.replaced[0]).state.seconds == 0.5


def test_a_damaged_checkpoint_is_mended_from_its_backup(tmp_path: Path) -> None:
    path = saved(tmp_path, 10)
    make_backup(tmp_path, path, 9)
    flip_bit(path / WEIGHTS)
    assert restore_backup(tmp_path).replaced == (tmp_path / FOLDER / "00000010.replaced",)
    assert newest(tmp_path) == (10, 10)


def test_damaged_backups_are_passed_over_with_a_note_or_refused(tmp_path: Path) -> None:
    for iteration in (10, 20):
        make_backup(tmp_path, saved(tmp_path, iteration), 9)
    shutil.rmtree(tmp_path / FOLDER)
    flip_bit(backups(tmp_path)[-1] / WEIGHTS)
    with pytest.raises(DamagedError, match="00000020"):
        restore_backup(tmp_path, 20)
    progress = Recorded()
    assert restore_backup(tmp_path, progress=progress).iteration == 10
    assert len(progress.notes) == 1 and "00000020: the backup is damaged" in progress.notes[0]


def test_of_two_of_an_iteration_the_sound_one_is_taken(tmp_path: Path) -> None:
    make_backup(tmp_path, saved(tmp_path, 10), 9)
    flip_bit(backups(tmp_path)[0] / WEIGHTS)
    saved(tmp_path, 20)
    assert restore_backup(tmp_path, 10).source == tmp_path / FOLDER / "00000010"
    assert newest(tmp_path) == (10, 10)


def test_without_backups_it_says_how_to_make_some(tmp_path: Path) -> None:
    saved(tmp_path, 10)
    with pytest.raises(MissingError, match=r"there is no backup.*recast model backup"):
        restore_backup(tmp_path)


def test_killed_half_way_it_can_be_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_backup(tmp_path, saved(tmp_path, 10), 9)
    shutil.rmtree(tmp_path / FOLDER)
    for iteration in (20, 30, 40):
        saved(tmp_path, iteration)
    rename = Path.rename
    left = 1

    def killed(self: Path, target: Path) -> Path:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        restore_backup(tmp_path)
    monkeypatch.undo()
    assert newest(tmp_path) == (40, 40), "until it is done, the model is what it was"
    restore_backup(tmp_path)
    assert newest(tmp_path) == (10, 10)
    assert numbers(tmp_path) == [10]


def test_a_newer_format_is_told_apart_from_damage(tmp_path: Path) -> None:
    made = make_backup(tmp_path, saved(tmp_path, 10), 9)
    (made / STATE).write_text('{"format": 99}')
    with pytest.raises(CheckpointError, match="newer than"):
        restore_backup(tmp_path)
