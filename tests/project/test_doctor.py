"""What works on this machine, each thing tried."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

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
        "device cpu",
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


def test_a_device_is_listed_with_all_that_was_tried_on_it() -> None:
    check = doctor._device("cpu")
    assert check.works and check.needed and "GB free" in check.detail
    assert [attempt.name for attempt in check.tried] == [
        "matrix product, float32",
        "matrix product, bfloat16",
        "convolution and gradients",
        "pinned copy",
        "compiler",
    ]
    assert all(attempt.works for attempt in check.tried[:3])
    assert "GFLOP/s" in check.tried[0].detail


def test_a_device_that_is_there_and_cannot_compute_is_listed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "found_devices", lambda: ["cuda:7", "cpu"])
    found = checks(tmp_path)
    broken = found["device cuda:7"]
    assert not broken.works and not broken.needed and "torch" in broken.mend
    assert not any(attempt.works for attempt in broken.tried[:4])
    assert all(attempt.detail and "\n" not in attempt.detail for attempt in broken.tried if not attempt.works)
    assert not found["accelerator"].works and found["device cpu"].works


def test_a_wrong_result_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    right = torch.Tensor.to
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *where, **how: 2 * right(tensor, *where, **how))
    attempt = doctor._attempt("product", partial(doctor._product, "float32"), torch.device("cpu"))
    assert attempt == doctor.Attempt("product", False, "the product is wrong")


@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("broken"), ImportError("absent"), ValueError("odd")])
def test_a_check_never_raises(error: Exception) -> None:
    def attempt() -> str:
        raise error

    assert doctor._try("thing", attempt, "mend it") == doctor.Check("thing", False, str(error), "mend it")
