from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor, nn

from recaster.errors import CheckpointError, MissingError, UsageError
from recaster.nets.architecture import find_architecture
from recaster.nets.autoencoder import FaceNet
from recaster.options import Options
from recaster.train.backup import make_backup
from recaster.train.checkpoint import STATE, Contents, State, save
from recaster.train.surgery import exchange, exchange_state, frozen_names, other_person, take_weights


def state_of(iteration: int = 5, **values: Any) -> State:
    basis = {"architecture": "tiny-test", "seconds": 1.0, "net_options": {}, "train_options": {}, "random": {}}
    return State(**{**basis, "iteration": iteration, **values})


@pytest.fixture
def net(tiny: str, tiny_options: type[Options]) -> FaceNet:
    torch.manual_seed(1)
    return find_architecture(tiny).build(tiny_options(width=4))


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("decoder_src.up.weight", "decoder_dst.up.weight"),
        ("decoder_mask_dst.0.bias", "decoder_mask_src.0.bias"),
        ("decoder_srcm.0.bias", "decoder_dstm.0.bias"),
        ("inter_src.dense", "inter_dst.dense"),
        ("src", "dst"),
        ("src/encoder.0.weight:mean", "dst/encoder.0.weight:mean"),
        ("all/decoder_dst.up.weight:square", "all/decoder_src.up.weight:square"),
        ("encoder.to_src.weight", "encoder.to_src.weight"),
        ("inter_AB.weight", "inter_AB.weight"),
        ("mysrc.weight", "mysrc.weight"),
        ("", ""),
    ],
)
def test_names_of_the_other_person(name: str, other: str) -> None:
    assert other_person(name) == other


NAMES = st.lists(st.sampled_from(["src", "dst", "_", ".", "/", ":", "m", "decoder", "名"]), max_size=9).map("".join)


@given(NAMES | st.text())
def test_exchanging_a_name_twice_changes_nothing(name: str) -> None:
    other = other_person(name)
    assert other_person(other) == name
    assert len(other) == len(name)
    assert [part.partition(".")[2] for part in other.split("/")] == [part.partition(".")[2] for part in name.split("/")]


@given(st.sets(NAMES))
def test_no_two_names_become_one(names: set[str]) -> None:
    assert len({other_person(name) for name in names}) == len(names)


def of_two_people(net: FaceNet, **parts: dict[str, Tensor]) -> Contents:
    weights = net.state_dict()
    moments = {f"{phase}/{name}:mean": torch.randn(2) for phase in ("src", "dst") for name in weights}
    return Contents(weights, optimizer=moments, **parts)


def test_people_are_exchanged_in_weights_average_and_moments(net: FaceNet) -> None:
    average = {name: value + 1 for name, value in net.state_dict().items()}
    before = of_two_people(net, average=average)
    after = exchange(before)
    for name, weight in net.state_dict().items():
        other = name.replace("_src", "_x").replace("_dst", "_src").replace("_x", "_dst")
        assert torch.equal(after.weights[other], weight)
        assert torch.equal(after.average[other], weight + 1)
        assert torch.equal(after.optimizer[f"dst/{other}:mean"], before.optimizer[f"src/{name}:mean"])
    again = exchange(after)
    assert all(torch.equal(again.weights[name], before.weights[name]) for name in before.weights)
    assert again.optimizer.keys() == before.optimizer.keys()


def test_the_exchanged_net_swaps_the_other_way(net: FaceNet) -> None:
    crops = torch.rand(2, 3, 32, 32)
    net.eval()
    before = net.reconstruct(crops, crops)
    net.load_state_dict(exchange(Contents(deepcopy(net.state_dict()))).weights)
    after = net.reconstruct(crops, crops)
    assert not torch.equal(before.src_rgb, before.dst_rgb)
    assert torch.equal(after.src_rgb, before.dst_rgb) and torch.equal(after.dst_rgb, before.src_rgb)


def test_critics_begin_anew_and_so_do_their_moments(net: FaceNet) -> None:
    before = of_two_people(net, critics={"gan.0.weight": torch.ones(2)})
    assert isinstance(before.optimizer, dict)
    before.optimizer["gan/gan.0.weight:mean"] = torch.ones(2)
    after = exchange(before)
    assert not after.critics
    assert not any("gan" in name for name in after.optimizer) and len(after.optimizer) == len(before.optimizer) - 1


def test_a_model_without_a_person_s_own_parts_is_not_touched() -> None:
    shared = {"encoder.weight": torch.ones(2), "inter_AB.weight": torch.ones(2), "inter_B.weight": torch.ones(2)}
    with pytest.raises(UsageError, match=r"nothing to exchange.*Exchange the two clips.*go on training"):
        exchange(Contents(shared))


@pytest.mark.parametrize("other", [{}, {"decoder_dst.weight": torch.ones(3)}])
def test_parts_that_do_not_fit_each_other_are_not_exchanged(other: dict[str, Tensor]) -> None:
    with pytest.raises(UsageError, match="cannot be exchanged"):
        exchange(Contents({"decoder_src.weight": torch.ones(2), **other}))


def test_what_belongs_to_the_people_in_the_state_is_exchanged_too() -> None:
    feed = {"src": {"position": 1}, "dst": {"position": 2}, "augmentation": "AA=="}
    numbers = {"src": {"steps": 3}, "dst": {"steps": 4}, "all": {"steps": 5}}
    before = state_of(random={"feed": feed, "torch": "AA=="}, numbers=numbers, history=[{"iteration": 1}])
    after = exchange_state(before)
    assert after.random == {"feed": {**feed, "src": feed["dst"], "dst": feed["src"]}, "torch": "AA=="}
    assert after.numbers == {"src": {"steps": 4}, "dst": {"steps": 3}, "all": {"steps": 5}}
    assert after.history == [{"iteration": 1}, {"iteration": 5, "exchanged": ["src", "dst"]}]
    assert msgspec.structs.replace(exchange_state(after), history=before.history) == before


def test_weights_are_taken_where_they_fit_and_the_rest_is_named(
    tmp_path: Path, net: FaceNet, tiny: str, tiny_options: type[Options]
) -> None:
    weights = net.state_dict()
    kept = {name: value for name, value in weights.items() if not name.startswith("decoder_dst.")}
    kept["decoder_src.up.bias"] = torch.ones(9)
    kept["gone.weight"] = torch.ones(1)
    save(tmp_path, state_of(7), Contents(kept))
    other = find_architecture(tiny).build(tiny_options(width=4))
    own = {name: value.clone() for name, value in other.state_dict().items()}
    report = take_weights(other, tmp_path)
    for name, value in other.state_dict().items():
        fits = name in kept and kept[name].shape == value.shape
        assert torch.equal(value, kept[name] if fits else own[name]), name
    sizes = {name: value.numel() for name, value in weights.items()}
    lost = {name for name in weights if name.startswith("decoder_dst.") or name == "decoder_src.up.bias"}
    assert (report.taken, report.total) == (
        sum(sizes.values()) - sum(sizes[name] for name in lost),
        sum(sizes.values()),
    )
    assert set(report.fresh) == {"decoder_src", "decoder_dst"}
    assert report.fresh["decoder_dst"][0] == 0
    line = report.line()
    assert f"{report.taken:,} of {report.total:,} weights were taken from {tmp_path}" in line
    assert "decoder_dst (all" in line and "decoder_src (4 of" in line
    assert all(weight.requires_grad for weight in other.parameters())


def test_the_averaged_weights_are_taken_first(tmp_path: Path, net: FaceNet) -> None:
    average = {name: torch.full_like(value, 3.0) for name, value in net.state_dict().items()}
    path = save(tmp_path, state_of(7), Contents(net.state_dict(), average=average))
    report = take_weights(net, make_backup(tmp_path, path, 1))
    assert report.taken == report.total and report.fresh == {}
    assert "fresh" not in report.line()
    assert all(bool((value == 3).all()) for value in net.state_dict().values())


def test_taking_nothing_is_a_mistake(tmp_path: Path, net: FaceNet) -> None:
    save(tmp_path, state_of(7), Contents({"encoder.0.weight": torch.ones(3), "x": torch.ones(2)}))
    with pytest.raises(UsageError, match=r"no weight of this model \(tiny-test\) fits"):
        take_weights(net, tmp_path)
    with pytest.raises(MissingError, match="no trained model to take weights from"):
        take_weights(net, tmp_path / "nowhere")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / STATE).write_text("{")
    with pytest.raises(CheckpointError, match="damaged"):
        take_weights(net, tmp_path / "torn")


def test_frozen_parts_are_named_by_their_weights(net: FaceNet) -> None:
    assert frozen_names(net, ()) == set()
    assert frozen_names(net, ("encoder",)) == {"encoder.0.weight", "encoder.0.bias"}
    both = frozen_names(net, ("decoder_src", "decoder_dst"))
    assert both == {name for name, _ in net.named_parameters()} - frozen_names(net, ("encoder",))


@pytest.mark.parametrize("part", ["encodr", "encoder.0", "", "decoder"])
def test_a_part_that_is_not_there_cannot_be_frozen(net: FaceNet, part: str) -> None:
    with pytest.raises(UsageError, match="known: encoder, decoder_src, decoder_dst"):
        frozen_names(net, ("encoder", part))


def test_not_everything_can_be_frozen(net: FaceNet) -> None:
    with pytest.raises(UsageError, match="nothing is left to learn"):
        frozen_names(net, ("encoder", "decoder_src", "decoder_dst"))


def test_parts_without_weights_are_no_parts() -> None:
    net = nn.ModuleDict({"blur": nn.AvgPool2d(2), "encoder": nn.Linear(2, 2), "decoder": nn.Linear(2, 2)})
    with pytest.raises(UsageError, match=r"known: encoder, decoder$"):
        frozen_names(net, ("blur",))
