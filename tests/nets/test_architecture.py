"""The contract that every architecture keeps."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from recaster.errors import UsageError
from recaster.nets.architecture import Architecture, Batch, Phase, find_architecture, load_all, weights_of
from recaster.nets.autoencoder import FaceNet, parameter_count
from recaster.options import Options, is_fixed
from recaster.train.options import TrainOptions

MakeBatch = Callable[..., Batch]
LIGHTER: dict[str, dict[str, Any]] = {
    "h64": {"light": True},
    "h128": {"light": True},
    "sae": {"resolution": 64, "ae_dims": 32, "e_ch_dims": 21, "d_ch_dims": 10},
    "saehd": {"resolution": 64, "ae_dims": 32, "e_dims": 16, "d_dims": 16},
    "amp": {"resolution": 64, "ae_dims": 32, "inter_dims": 32, "e_dims": 16, "d_dims": 16},
}
"""Options that spare memory and time where the default model is big."""
BIG = {"h64", "h128", "df", "liaef128", "quick96"}
"""Those that are slow to compute on a CPU even so."""
NAMES = load_all().names()


@pytest.fixture(params=NAMES)
def architecture(request: pytest.FixtureRequest) -> Architecture:
    return find_architecture(request.param)


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.slow) if name in BIG else name for name in NAMES])
def computed(request: pytest.FixtureRequest) -> Architecture:
    """The same, those that take long in slow tests only."""
    return find_architecture(request.param)


def lighter(architecture: Architecture) -> Options:
    return architecture.options(**LIGHTER.get(architecture.name, {}))


def built(architecture: Architecture) -> FaceNet:
    torch.manual_seed(1)
    return architecture.build(lighter(architecture))


def without_memory(architecture: Architecture) -> FaceNet:
    with torch.device("meta"):
        return architecture.build(architecture.options())


def all_phases(architecture: Architecture, options: Options, net: FaceNet) -> tuple[Phase, ...]:
    critics = architecture.critics(options, net)
    return tuple(architecture.phases(net, critics, options, random_warp=True))


def test_describes_itself(architecture: Architecture) -> None:
    assert find_architecture(architecture.name) is architecture
    assert (architecture.__doc__ or "").strip()
    assert all(field.description for field in architecture.options.model_fields.values())
    assert architecture.default_batch_size >= 1
    assert architecture.usual_iterations >= 1000
    options = architecture.options()
    low, high = architecture.needs(options).scale
    assert 0.5 < low <= high < 2
    assert type(architecture.pretraining(options)) is architecture.options


def test_no_option_is_one_of_the_trainings(architecture: Architecture) -> None:
    assert not set(architecture.options.model_fields) & set(TrainOptions.model_fields)


def test_pretraining_is_the_same_network(architecture: Architecture) -> None:
    """Options that are chosen only once stay what they are, so that the weights fit afterwards."""
    options = lighter(architecture)
    before = architecture.pretraining(options)
    fixed = {name for name, field in architecture.options.model_fields.items() if is_fixed(field)}
    assert all(getattr(before, name) == getattr(options, name) for name in fixed)


def test_shapes(architecture: Architecture) -> None:
    net = without_memory(architecture)
    side = net.resolution
    src, dst = (torch.empty(count, 3, side, side, device="meta") for count in (1, 2))
    out = net.reconstruct(src, dst)
    rgb, mask, mask_dst = net.swap(dst)
    assert out.src_rgb.shape == src.shape
    assert out.dst_rgb.shape == rgb.shape == dst.shape
    for values, count in ((out.src_mask, 1), (out.dst_mask, 2), (mask, 2), (mask_dst, 2)):
        assert values is None or values.shape == (count, 1, side, side)
    assert (mask is None) == (out.src_mask is None) == (out.dst_mask is None)


def test_personal_parts_are_there(architecture: Architecture) -> None:
    net = without_memory(architecture)
    assert set(net.personal) <= {name for name, _ in net.named_children()}


def test_phases_move_the_weights_of_the_net_and_of_the_critics(architecture: Architecture) -> None:
    options, net = architecture.options(), without_memory(architecture)
    with torch.device("meta"):
        critics = architecture.critics(options, net)
    phases = architecture.phases(net, critics, options, random_warp=True)
    known = {**weights_of(critics), **weights_of(net)}
    assert len({phase.name for phase in phases}) == len(phases)
    for phase in phases:
        assert phase.weights
        assert all(known[name] is weight for name, weight in phase.weights.items())
        assert phase.rule.learning_rate > 0
        factors = [phase.rule.factor(iteration, progress) for iteration, progress in ((0, None), (0, 0.0), (99, 1.0))]
        assert factors[:2] == [1, 1] and 0 <= factors[2] <= 1
    moved = {name for phase in phases for name in phase.weights}
    assert moved == set(known)


def test_values_are_those_of_pictures_and_a_swap_is_not_its_input(computed: Architecture) -> None:
    net = built(computed)
    src, dst = torch.rand(2, 2, 3, net.resolution, net.resolution, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        out = net.reconstruct(src, dst)
        rgb, mask, mask_dst = net.swap(dst)
    for values in (out.src_rgb, out.src_mask, out.dst_rgb, out.dst_mask, rgb, mask, mask_dst):
        if values is not None:
            assert values.dtype == torch.float32
            assert 0 <= values.min() <= values.max() <= 1
    assert (rgb - dst).abs().mean() > 0.05
    assert not torch.equal(rgb, out.dst_rgb)
    torch.testing.assert_close(mask_dst, out.dst_mask)


def test_loss_falls_on_a_fixed_batch(
    computed: Architecture, make_batch: MakeBatch, train_on: Callable[..., list[float]]
) -> None:
    options, net = lighter(computed), built(computed)
    rate = None if computed.name in BIG else 5e-4
    totals = train_on(computed, net, options, make_batch(net.resolution, 1), 10, rate)
    assert max(totals[-2:]) < 0.95 * totals[0]


def test_losses_are_scalars_and_both_people_are_reported(computed: Architecture, make_batch: MakeBatch) -> None:
    options, net = lighter(computed), built(computed)
    batch, reported = make_batch(net.resolution, 1), []
    for phase in all_phases(computed, options, net):
        losses = phase.losses(batch, 0.0)
        assert losses.total.shape == () and losses.total.requires_grad
        for person in ("src", "dst"):
            value = getattr(losses, person)
            if value is not None:
                assert value.shape == () and not value.requires_grad
                reported.append(person)
    assert sorted(reported) == ["dst", "src"]


def test_losses_are_computed_in_full_precision_under_autocast(computed: Architecture, make_batch: MakeBatch) -> None:
    options, net = lighter(computed), built(computed)
    batch = make_batch(net.resolution, 1)
    for phase in all_phases(computed, options, net):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            assert phase.losses(batch, 0.0).total.dtype == torch.float32


def test_same_seed_same_weights(computed: Architecture) -> None:
    again = built(computed).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in built(computed).state_dict().items())


def test_weights_lie_in_memory_as_their_shape_says(computed: Architecture) -> None:
    assert all(value.is_contiguous() for value in built(computed).state_dict().values())


def test_defaults_are_bigger_than_what_is_tested(architecture: Architecture) -> None:
    """So that the lighter options still say what they said."""
    if architecture.name in LIGHTER:
        with torch.device("meta"):
            light = architecture.build(lighter(architecture))
        assert parameter_count(light) < parameter_count(without_memory(architecture)) / 2


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"unknown architecture 'h65'\. Choose one of: .*h64.*mini"):
        find_architecture("h65")


def test_listing_options_does_not_import_torch() -> None:
    code = (
        "import sys; from recaster.nets.architecture import load_all; a = load_all();"
        "[a.get(n).options.model_json_schema() for n in a]; print('torch' in sys.modules, 'cv2' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]
