"""The contract that every architecture keeps."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable

import pytest
import torch

from recaster.errors import UsageError
from recaster.nets.architecture import Architecture, Batch, find_architecture, load_all
from recaster.nets.autoencoder import FaceNet
from recaster.options import Options

MakeBatch = Callable[..., Batch]
LIGHTER = {"h64": {"light": True}}
"""Options that spare memory where the default model is big."""


@pytest.fixture(params=load_all().names())
def architecture(request: pytest.FixtureRequest) -> Architecture:
    return find_architecture(request.param)


@pytest.fixture
def options(architecture: Architecture) -> Options:
    return architecture.options(**LIGHTER.get(architecture.name, {}))


@pytest.fixture
def net(architecture: Architecture, options: Options) -> FaceNet:
    torch.manual_seed(1)
    return architecture.build(options)


def test_describes_itself(architecture: Architecture) -> None:
    defaults = architecture.options()
    assert all(field.description for field in architecture.options.model_fields.values())
    assert architecture.default_batch_size >= 1
    assert architecture.usual_iterations >= 1000
    rates = [architecture.learning_rate(defaults, progress) for progress in (None, 0, 0.5, 1)]
    assert all(rate > 0 for rate in rates)
    assert rates[3] <= rates[2] <= max(rates)


def test_forward_shapes_and_ranges(net: FaceNet) -> None:
    side = net.resolution
    generator = torch.Generator().manual_seed(0)
    src, dst = (torch.rand(count, 3, side, side, generator=generator) for count in (1, 2))
    with torch.no_grad():
        out = net.reconstruct(src, dst)
        rgb, mask, mask_dst = net.swap(dst)
    assert out.src_rgb.shape == src.shape
    assert out.dst_rgb.shape == rgb.shape == dst.shape
    assert out.src_mask.shape == (1, 1, side, side)
    assert out.dst_mask.shape == (2, 1, side, side)
    for values in (out.src_rgb, out.src_mask, out.dst_rgb, out.dst_mask, rgb, mask, mask_dst):
        if values is not None:
            assert values.dtype == torch.float32
            assert 0 <= values.min() <= values.max() <= 1
    for values in (mask, mask_dst):
        assert values is None or values.shape == (2, 1, side, side)


def test_loss_falls_on_a_fixed_batch(
    architecture: Architecture, options: Options, net: FaceNet, make_batch: MakeBatch
) -> None:
    batch = make_batch(net.resolution, 1)
    optimizer = architecture.optimizer(net, options)
    totals = []
    for _ in range(15):
        optimizer.zero_grad()
        losses = architecture.losses(net, batch, options, progress=0.0)
        losses.total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        totals.append(losses.total.item())
        assert losses.src.shape == losses.dst.shape == losses.total.shape == ()
        assert not losses.src.requires_grad and not losses.dst.requires_grad
    assert max(totals[-3:]) < 0.97 * min(totals[:3])


def test_learning_rate_is_the_optimizers_at_the_start(
    architecture: Architecture, options: Options, net: FaceNet
) -> None:
    optimizer = architecture.optimizer(net, options)
    assert {group["lr"] for group in optimizer.param_groups} == {architecture.learning_rate(options, 0.0)}
    held = sum(weight.numel() for group in optimizer.param_groups for weight in group["params"])
    assert held == sum(weight.numel() for weight in net.parameters())


def test_each_person_teaches_the_encoder_and_only_its_own_decoder(net: FaceNet, make_batch: MakeBatch) -> None:
    batch = make_batch(net.resolution, 1)
    for person, other in (("src", "dst"), ("dst", "src")):
        net.zero_grad()
        out = net.reconstruct(batch.warped_src, batch.warped_dst)
        (getattr(out, f"{person}_rgb").sum() + getattr(out, f"{person}_mask").sum()).backward()
        assert touched(net.get_submodule("encoder").parameters())
        assert touched(net.get_submodule(f"decoder_{person}").parameters())
        assert not touched(net.get_submodule(f"decoder_{other}").parameters())


def touched(weights: Iterable[torch.Tensor]) -> bool:
    return any(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in weights)


def test_swap_is_the_source_decoder_on_the_target(net: FaceNet, make_batch: MakeBatch) -> None:
    batch = make_batch(net.resolution, 1)
    with torch.no_grad():
        rgb, mask, mask_dst = net.swap(batch.warped_dst)
        as_src = net.reconstruct(batch.warped_dst, batch.warped_dst)
    torch.testing.assert_close(rgb, as_src.src_rgb)
    torch.testing.assert_close(mask, as_src.src_mask)
    torch.testing.assert_close(mask_dst, as_src.dst_mask)


def test_same_seed_same_weights(architecture: Architecture, options: Options, net: FaceNet) -> None:
    torch.manual_seed(1)
    again = architecture.build(options).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in net.state_dict().items())


def test_weights_lie_in_memory_as_their_shape_says(net: FaceNet) -> None:
    assert all(value.is_contiguous() for value in net.state_dict().values())


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
