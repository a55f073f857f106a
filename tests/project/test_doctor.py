"""What works on this machine, each thing tried."""

from __future__ import annotations

from pathlib import Path

import pytest

from recaster.errors import MissingError
from recaster.perception import weights
from recaster.project import doctor


def checks(folder: Path) -> dict[str, doctor.Check]:
    return {check.name: check for check in doctor.examine(folder)}


def test_all_that_is_needed_works_here(tmp_path: Path) -> None:
    found = checks(tmp_path / "identity")
    assert [name for name, check in found.items() if check.needed] == [
        "python",
        "networks",
        "detection",
        "h264",
        "h265",
        "signing",
    ]
    assert {name for name, check in found.items() if check.needed and not check.works} == set()
    assert "blazeface" in found["networks"].detail
    assert list((tmp_path / "identity").iterdir())


def test_what_does_not_work_comes_with_its_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Path:
        raise MissingError("not\ninstalled", where=name)

    monkeypatch.setattr(weights, "weight_path", missing)
    (tmp_path / "identity").write_text("a file stands in the way")
    found = checks(tmp_path / "identity")
    assert {name for name, check in found.items() if check.needed and not check.works} == {
        "networks",
        "detection",
        "signing",
    }
    assert all(check.mend and "\n" not in check.detail for check in found.values() if not check.works)
    assert found["h264"].works


@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("broken"), ImportError("absent"), ValueError("odd")])
def test_a_check_never_raises(error: Exception) -> None:
    def attempt() -> str:
        raise error

    assert doctor._try("thing", attempt, "mend it") == doctor.Check("thing", False, str(error), "mend it")
