from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from recaster.errors import UsageError
from recaster.nets.architecture import Batch, Phase, Rule
from recaster.nets.autoencoder import Reconstruction, parameter_count
from recaster.nets.hd_nets import AmpNet, random_channels
from recaster.nets.losses import dssim
from recaster.nets.models.amp import Amp, AmpOptions
from recaster.options import from_mapping
from recaster.types import Framing

MakeBatch = Callable[..., Batch]
SMALL = {"resolution": 64, "ae_dims": 32, "inter_dims": 40, "e_dims": 16, "d_dims": 16, "d_mask_dims": 16}

ENCODER = [
    ((112, 112, 64), 4_864),
    ((112, 112, 64), 73_856),
    ((56, 56, 128), 204_928),
    ((28, 28, 256), 819_456),
    ((14, 14, 512), 3_277_312),
    ((7, 7, 512), 6_554_112),
    ((7, 7, 512), 4_719_616),
    ((256,), 6_422_784),
]
INTER = [((50_176,), 12_895_232)]
DECODER = [
    ((14, 14, 512), 18_876_416),
    ((14, 14, 512), 4_719_616),
    ((28, 28, 512), 9_439_232),
    ((28, 28, 512), 4_719_616),
    ((56, 56, 256), 4_719_616),
    ((56, 56, 256), 1_180_160),
    ((112, 112, 128), 1_180_160),
    ((112, 112, 128), 295_168),
    ((224, 224, 3), 10_764),
    ((14, 14, 176), 6_488_768),
    ((28, 28, 176), 1_115_840),
    ((56, 56, 88), 557_920),
    ((112, 112, 44), 139_568),
    ((224, 224, 22), 34_936),
    ((224, 224, 1), 23),
]


def build(**values: Any) -> AmpNet:
    torch.manual_seed(0)
    net = Amp().build(AmpOptions(**values))
    assert isinstance(net, AmpNet)
    return net


def phases_of(net: AmpNet, options: AmpOptions) -> tuple[dict[str, Phase], nn.ModuleDict]:
    torch.manual_seed(0)
    critics = Amp().critics(options, net)
    return {phase.name: phase for phase in Amp().phases(net, critics, options, random_warp=True)}, critics


def test_layers(layer_rows: Callable[..., Any]) -> None:
    with torch.device("meta"):
        net = build()
    assert layer_rows(net.encoder, 3, 224, 224) == ENCODER
    assert layer_rows(net.inter_src, 256) == layer_rows(net.inter_dst, 256) == INTER
    assert layer_rows(net.decoder, 1024, 7, 7) == DECODER
    parts = (net.encoder, net.inter_src, net.inter_dst, net.decoder)
    assert [parameter_count(part) for part in parts] == [22_076_928, 12_895_232, 12_895_232, 53_477_803]
    assert parameter_count(net) == 101_345_195
    assert (net.resolution, net.framing) == (224, Framing.WHOLE)
    assert net.personal == ("inter_src", "inter_dst")


def test_defaults_are_those_of_the_manual() -> None:
    assert AmpOptions().to_mapping() == {
        "resolution": 224,
        "face_type": "whole",
        "ae_dims": 256,
        "inter_dims": 1024,
        "e_dims": 64,
        "d_dims": 64,
        "d_mask_dims": 0,
        "morph_factor": 0.5,
        "blur_out_mask": False,
        "lr_dropout": "off",
        "gan_power": 0.0,
        "gan_patch_size": 0,
        "gan_dims": 16,
        "clip_gradients": False,
        "frozen_inters": False,
    }
    assert Amp().default_batch_size == 8


@pytest.mark.parametrize(
    ("name", "low", "high", "step"),
    [
        ("resolution", 64, 640, 1),
        ("ae_dims", 32, 1024, 1),
        ("inter_dims", 32, 2048, 1),
        ("e_dims", 16, 256, 1),
        ("d_dims", 16, 256, 1),
        ("d_mask_dims", 16, 256, 1),
        ("morph_factor", 0.1, 0.5, 0.01),
        ("gan_power", 0, 5, 0.1),
        ("gan_patch_size", 3, 640, 1),
        ("gan_dims", 4, 512, 1),
    ],
)
def test_ranges(name: str, low: float, high: float, step: float) -> None:
    for value in (low, high):
        assert getattr(from_mapping(AmpOptions, {name: value}), name) == value
    for value in (low - step, high + step):
        with pytest.raises(UsageError, match=f"option '{name}'"):
            from_mapping(AmpOptions, {name: value})


@pytest.mark.parametrize(("name", "framing"), [("f", "full"), ("wf", "whole"), ("head", "head"), ("full", "full")])
def test_face_types(name: str, framing: str) -> None:
    assert build(**SMALL, face_type=name).framing == framing


@pytest.mark.parametrize("name", ["h", "half", "mf", "mid-full", "face"])
def test_face_types_that_are_too_narrow(name: str) -> None:
    with pytest.raises(UsageError, match=r"face_type.*full/whole/head"):
        from_mapping(AmpOptions, {"face_type": name})


def test_resolution_is_rounded_down_to_what_can_be_halved() -> None:
    assert build(**{**SMALL, "resolution": 95}).resolution == 64


@pytest.mark.parametrize(
    ("channels", "share", "ones"), [(1024, 0.5, 512), (40, 0.1, 4), (33, 0.5, 16), (100, 0.29, 28), (32, 1.0, 32)]
)
def test_random_channels_have_the_exact_count(channels: int, share: float, ones: int) -> None:
    torch.manual_seed(0)
    chosen = random_channels(16, channels, share, torch.device("cpu"))
    assert chosen.shape == (16, channels, 1, 1)
    assert chosen.sum((1, 2, 3)).tolist() == [ones] * 16


def test_random_channels_are_drawn_anew_for_each_sample_from_the_global_generator() -> None:
    torch.manual_seed(5)
    first, second = (random_channels(200, 40, 0.25, torch.device("cpu")) for _ in range(2))
    torch.manual_seed(5)
    assert torch.equal(random_channels(200, 40, 0.25, torch.device("cpu")), first)
    assert not torch.equal(first, second)
    often = first.float().mean(0)
    assert 0.1 < often.min() <= often.max() < 0.4


class Marked(AmpNet):
    """Its inters fill their channels with 1 (source) or 0 (destination); its decoder hands the code on."""

    def __init__(self, channels: int = 40) -> None:
        def inter(value: float) -> nn.Module:
            layer = nn.Linear(3 * 64 * 64, channels)
            nn.init.zeros_(layer.weight)
            nn.init.constant_(layer.bias, value)
            return nn.Sequential(layer, nn.Unflatten(1, (channels, 1, 1)))

        class Hand(nn.Module):
            mask = nn.Identity()

            def forward(self, code: Tensor) -> tuple[Tensor, Tensor]:
                return code, code

        super().__init__(64, Framing.WHOLE, nn.Flatten(), inter(1.0), inter(0.0), Hand())  # type: ignore[arg-type]


@pytest.mark.parametrize(("morph", "first"), [(1.0, 40), (0.5, 20), (0.26, 10), (0.0, 0)])
def test_a_swap_takes_the_first_channels_of_the_source(morph: float, first: int) -> None:
    net, picture = Marked(), torch.rand(2, 3, 64, 64)
    net.morph = morph
    code, _, own = net.swap(picture)
    assert code[0].flatten().tolist() == [1.0] * first + [0.0] * (40 - first)
    assert not own.any()
    out = net.reconstruct(picture, picture)
    assert torch.equal(out.src_rgb, code) and not out.dst_rgb.any()


def test_training_mixes_the_sources_channels_at_random() -> None:
    torch.manual_seed(0)
    out = Marked().reconstruct_mixed(torch.rand(3, 3, 64, 64), torch.rand(2, 3, 64, 64), 0.3)
    assert out.src_rgb.sum((1, 2, 3)).tolist() == [12.0] * 3
    assert not torch.equal(out.src_rgb[0], out.src_rgb[1])
    assert not out.dst_rgb.any()


def test_a_swap_goes_all_the_way_by_default() -> None:
    assert build(**SMALL).morph == 1.0


class Painted(AmpNet):
    """Gives fixed pictures, so that the losses are known; notes the share of the source's channels it was asked for."""

    def __init__(self, resolution: int) -> None:
        super().__init__(resolution, Framing.WHOLE, *[nn.Identity()] * 4)  # type: ignore[arg-type]
        generator = torch.Generator().manual_seed(7)
        pictures = [torch.rand(2, c, resolution, resolution, generator=generator) for c in (3, 1, 3, 1)]
        self.out = Reconstruction(*pictures)
        self.share = 0.0

    def reconstruct_mixed(self, src: Tensor, dst: Tensor, share: float) -> Reconstruction:
        self.share = share
        return self.out


def in_float64(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().double().numpy() for tensor in tensors]


def with_features(batch: Batch) -> Batch:
    return replace(batch, features_src=batch.mask_src * 0.5, features_dst=batch.mask_dst * batch.mask_src)


@pytest.mark.parametrize("values", [{}, {"blur_out_mask": True}, {"gan_power": 0.1}])
@pytest.mark.parametrize("resolution", [64, 256])
def test_loss_values(resolution: int, values: dict[str, Any], make_batch: MakeBatch, reference: Any) -> None:
    net, batch = Painted(resolution), with_features(make_batch(resolution))
    options = AmpOptions(**{**SMALL, "resolution": resolution, **values, "morph_factor": 0.3})
    phases, critics = phases_of(net, options)
    losses = phases["generator"].losses(batch, 0.0)
    expected, judged = [], 0.0
    for person in ("src", "dst"):
        target, mask, features = in_float64(*(getattr(batch, f"{k}_{person}") for k in ("target", "mask", "features")))
        rgb, learned = in_float64(getattr(net.out, f"{person}_rgb"), getattr(net.out, f"{person}_mask"))
        if options.blur_out_mask:
            target = reference.blur_out(target, mask)
        soft = reference.soft(mask)
        expected.append(reference.face(rgb, learned, target, mask, soft, features, two_scales=True).mean())
        if options.gan_power:
            critic = critics["patch"].double()
            real, made = ([*map(in_float64, critic(torch.from_numpy(image * soft)))] for image in (target, rgb))
            critic.float()
            for (a,), (b,) in zip(real, made, strict=True):
                expected.append(0.1 * reference.cross_entropy(b, real=True).mean())
                judged += (reference.cross_entropy(a, real=True) + reference.cross_entropy(b, real=False)).mean() / 2
    around, wanted = rgb * (1 - soft), target * (1 - soft)
    expected.append((0.1 * reference.squares(around, wanted) + 1e-6 * reference.variation(around)).mean())
    assert losses.src is not None and losses.dst is not None
    people = [expected[0], expected[3 if options.gan_power else 1]]
    np.testing.assert_allclose([losses.src, losses.dst, losses.total.detach()], [*people, sum(expected)], rtol=1e-4)
    assert net.share == 0.3
    if options.gan_power:
        losses = phases["patch_critic"].losses(batch, 0.0)
        assert losses.total.item() == pytest.approx(judged, rel=1e-4)


def test_what_learns_from_what(make_batch: MakeBatch) -> None:
    """The source's code is made by both inters, the destination's by its own."""
    net, batch = build(**SMALL), make_batch(64)
    out = net.reconstruct_mixed(batch.warped_src, batch.warped_dst, 0.5)
    names, weights = zip(*net.named_parameters(), strict=True)
    for picture, parts in (
        (out.src_rgb, {"encoder", "inter_src", "inter_dst", "decoder"}),
        (out.dst_rgb, {"encoder", "inter_dst", "decoder"}),
    ):
        found = torch.autograd.grad(picture.sum(), weights, allow_unused=True, retain_graph=True)
        touched = {n.split(".")[0] for n, g in zip(names, found, strict=True) if g is not None and g.abs().sum() > 0}
        assert touched == parts


def test_the_critic_teaches_nobody_but_itself(make_batch: MakeBatch) -> None:
    net = build(**SMALL)
    phases, critics = phases_of(net, AmpOptions(**SMALL, gan_power=1.0))
    phases["patch_critic"].losses(with_features(make_batch(64)), 0.0).total.backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is None for weight in net.parameters())
    assert all(weight.grad is not None for weight in critics.parameters())
    assert list(phases) == ["generator", "patch_critic"]


@pytest.mark.parametrize("frozen", [False, True])
def test_inters_learn_unless_they_are_frozen(frozen: bool) -> None:
    (phase,) = phases_of(build(**SMALL), AmpOptions(**SMALL, frozen_inters=frozen))[0].values()
    inters = {"inter_src", "inter_dst"} if not frozen else set()
    assert {name.split(".")[0] for name in phase.weights} == {"encoder", "decoder"} | inters


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({}, {"kind": "adabelief", "betas": (0.9, 0.999), "keep": 1.0, "cosine_period": 0, "clip": 0.0}),
        ({"lr_dropout": "on"}, {"keep": 0.3, "cosine_period": 500, "draw_on_host": False}),
        ({"lr_dropout": "cpu"}, {"keep": 0.3, "cosine_period": 500, "draw_on_host": True}),
        ({"clip_gradients": True}, {"clip": 1.0}),
    ],
)
def test_rules(values: dict[str, Any], rule: dict[str, Any]) -> None:
    for phase in phases_of(build(**SMALL), AmpOptions(**SMALL, gan_power=1.0, **values))[0].values():
        assert (phase.rule.learning_rate, phase.rule.eps) == (5e-5, 1e-6)
        assert {name: getattr(phase.rule, name) for name in rule} == rule


def test_samples_vary_widely_and_show_eyes_and_mouth() -> None:
    needs = Amp().needs(AmpOptions())
    assert needs.features and needs.scale == pytest.approx((0.8696, 1.15), abs=1e-4)


def test_pretraining_leaves_out_the_end_of_a_training() -> None:
    options = AmpOptions(gan_power=0.1, lr_dropout="on", morph_factor=0.3)
    assert Amp().pretraining(options) == AmpOptions(morph_factor=0.3)


def test_a_swap_lies_between_the_two_people_and_is_not_its_input(make_batch: MakeBatch) -> None:
    net, picture = build(**SMALL), make_batch(64).warped_dst
    drawn = []
    with torch.no_grad():
        for morph in (0.0, 0.25, 0.5, 1.0):
            net.morph = morph
            rgb, _, mask_dst = net.swap(picture)
            drawn.append(rgb)
            assert (rgb - picture).abs().mean() > 0.05
        own = net.reconstruct(picture, picture)
    torch.testing.assert_close(drawn[0], own.dst_rgb)
    torch.testing.assert_close(mask_dst, own.dst_mask)
    steps = [(rgb - drawn[0]).abs().mean().item() for rgb in drawn]
    assert steps == sorted(steps) and steps[1] > 0


@pytest.mark.slow
@pytest.mark.parametrize("frozen", [False, True])
def test_sixteen_real_faces_are_learned(
    frozen: bool, real_batch: Callable[..., Batch], overfit: Callable[..., tuple[float, float]]
) -> None:
    values = {**SMALL, "ae_dims": 64, "inter_dims": 64}
    net, batch = build(**values), real_batch(64, Framing.FULL)
    phase = phases_of(net, AmpOptions(**values, frozen_inters=frozen))[0]["generator"]
    assert max(overfit(net, replace(phase, rule=Rule()), batch, 6e-4)) < 0.05
    with torch.no_grad():
        swap, _, _ = net.swap(batch.warped_dst)
    assert (dssim(swap * batch.mask_dst, batch.target_dst * batch.mask_dst) > 0.05).all()
