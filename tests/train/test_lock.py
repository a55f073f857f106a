from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from recaster.errors import RecasterError, StorageError
from recaster.train.lock import ModelInUseError, model_lock

HOLDER = """
import sys, time
from pathlib import Path
from recaster.train.lock import model_lock

with model_lock(Path(sys.argv[1]), "trained"):
    print("held", flush=True)
    time.sleep(120)
"""


def hold(folder: Path) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", HOLDER, str(folder)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUTF8": "1"})
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_told_who_holds_it_and_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "Film 新" / "model" / "mini"
    process = hold(folder)
    try:
        with pytest.raises(ModelInUseError) as error, model_lock(folder, "restored"):
            pass
        line = str(error.value)
        assert re.search(rf"mini: the model is being trained by process {process.pid} since \d{{4}}-\d\d-\d\d ", line)
        assert "\n" not in line and error.value.exit_code == 1
        with model_lock(folder.with_name("h64")):
            pass  # another model is free
    finally:
        process.kill()
        process.communicate()
    with model_lock(folder):
        pass


def test_in_one_process_too_there_is_one_writer(tmp_path: Path) -> None:
    found: list[Exception] = []

    def try_it() -> None:
        try:
            with model_lock(tmp_path / "mini"):
                pass
        except RecasterError as error:
            found.append(error)

    with model_lock(tmp_path / "mini"):
        try_it()
        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join()
    assert [type(error) for error in found] == [ModelInUseError] * 2
    try_it()
    assert len(found) == 2


def test_it_is_free_again_after_an_error(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), model_lock(tmp_path / "mini"):
            raise KeyboardInterrupt


def test_two_ways_to_a_folder_lead_to_one_lock(tmp_path: Path) -> None:
    (tmp_path / "mini").mkdir()
    (tmp_path / "way").symlink_to(tmp_path / "mini")
    with model_lock(tmp_path / "mini"), pytest.raises(ModelInUseError), model_lock(tmp_path / "way"):
        pass


def test_the_folder_can_be_renamed_and_deleted_inside(tmp_path: Path) -> None:
    (tmp_path / "mini").mkdir()
    with model_lock(tmp_path / "mini"):
        assert list((tmp_path / "mini").iterdir()) == []
        (tmp_path / "mini").rename(tmp_path / "maxi")
        (tmp_path / "maxi").rmdir()
    assert all(path.name.startswith(".mini.lock") for path in tmp_path.iterdir())


def test_readers_lock_nothing(tmp_path: Path) -> None:
    with model_lock(tmp_path / "mini"), model_lock(tmp_path / "mini", write=False):
        pass
    with model_lock(tmp_path / "other", write=False):
        assert not (tmp_path / ".other.lock").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"doing": "trained"}', "\udcff"])
def test_a_torn_note_of_the_holder_is_no_hindrance(tmp_path: Path, text: str) -> None:
    with model_lock(tmp_path / "mini"):
        (tmp_path / ".mini.lock.json").write_bytes(text.encode(errors="surrogateescape"))
        with pytest.raises(ModelInUseError, match="in use by another process"), model_lock(tmp_path / "mini"):
            pass


def test_where_nothing_may_be_written_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object, **named: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("recaster.train.lock.FileLock.acquire", refuse)
    with pytest.raises(StorageError, match="cannot be written"), model_lock(tmp_path / "mini"):
        pass
